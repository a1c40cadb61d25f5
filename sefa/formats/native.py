"""Our own layout: canonical names in a .safetensors file, the configuration in its metadata.

The metadata entry "sefa" is JSON: {"version": 1, "family": ..., and the family's configuration}.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file

from sefa.errors import CheckpointError, show
from sefa.formats.checkpoint import Checkpoint, Found
from sefa.formats.containers import METADATA

DESCRIPTION = "this project's .safetensors"
VERSION = 1
CONFIG = "sefa"  # the metadata entry


def recognises(found: Found) -> bool:
    """By its configuration; without one, by names that no other layout has."""
    return CONFIG in found.beside.get(METADATA, {}) or {"w_avg", "synthesis.const"} <= set(
        found.tensors
    )


def translate(found: Found) -> Checkpoint:
    """Nothing to rename; the configuration is checked. Without one, the family's defaults."""
    text = found.beside.get(METADATA, {}).get(CONFIG)
    if text is None:
        return Checkpoint(found.tensors, {"family": "stylegan2"})
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or "family" not in config:
        raise CheckpointError("its configuration (metadata 'sefa') is not JSON with a family.")
    if config.get("version") != VERSION:
        raise CheckpointError(
            f"its configuration has version {show(config.get('version'), 20)} where {VERSION} "
            "was expected, so it may need a newer release of this program."
        )
    return Checkpoint(found.tensors, config)


def write(checkpoint: Checkpoint, path: str | Path, facts: Mapping[str, str] | None = None) -> None:
    """Writes a checkpoint in our layout; `facts` are metadata entries besides the checkpoint's."""
    config = {"version": VERSION, **checkpoint.config}
    metadata = {**checkpoint.facts, **(facts or {}), CONFIG: json.dumps(config)}
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.state_dict.items()}
    save_file(tensors, path, metadata)
