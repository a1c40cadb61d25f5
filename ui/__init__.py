"""What the page is made of: the engine behind it and the gallery in it."""
