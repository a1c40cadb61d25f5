"""How much memory there is for loaded models."""

import os
import warnings
from pathlib import Path

import torch
from torch import nn

SHARE = 0.5  # of the memory of the machine, or of a GPU: the rest is for what is drawn
# What a container may use, as the versions 2 and 1 of Linux's control groups say it.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
UNKNOWN = 8 * 1024**3  # bytes, where the machine does not say


def weights_limit(device: torch.device) -> int:
    """Bytes that the loaded models on a device may take together: half of its memory.

    SEFA_MODEL_MEMORY, in MB, says otherwise.
    """
    text = os.environ.get("SEFA_MODEL_MEMORY", "").strip()
    if text:
        try:
            megabytes = float(text)
            if 0 <= megabytes < 1e9:
                return int(megabytes * 1e6)
        except ValueError:
            pass
        warnings.warn(f"SEFA_MODEL_MEMORY={text[:100]!r} is no number of megabytes.")
    if device.type == "cuda":
        return int(SHARE * torch.cuda.get_device_properties(device).total_memory)
    return int(SHARE * machine_memory())


def machine_memory(limits: tuple[str, ...] = LIMITS) -> int:
    """Bytes that this process may use: the machine's, or its container's where that is less."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):
        found = [UNKNOWN]
    for path in limits:
        try:
            found.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # there is none, or it says "max"
            continue
    return min(found)


def weight_bytes(module: nn.Module) -> int:
    """Bytes of a network's parameters and buffers; what two share is counted once."""
    storages = {}
    for tensor in (*module.parameters(), *module.buffers()):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr() or id(storage)] = storage.nbytes()
    return sum(storages.values())
