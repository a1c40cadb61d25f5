"""What every child of `tests.killed` needs, imported once."""

import torch

import checkpoints  # noqa: F401
import sefa.convert
import sefa.measurements  # noqa: F401

torch.set_num_threads(1)
