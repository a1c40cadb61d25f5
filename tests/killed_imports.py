"""What every child of `tests.killed` needs, imported once."""

import httpx2  # noqa: F401
import huggingface_hub.file_download
import huggingface_hub.hf_api  # noqa: F401
import torch

import checkpoints  # noqa: F401
import sefa.convert
import sefa.measurements  # noqa: F401

torch.set_num_threads(1)
