"""The model that ships with the Space: its training images, its training, its weights."""
