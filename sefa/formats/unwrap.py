"""Finding the generator's weights among what training codes put into one file."""

from collections.abc import Mapping

from torch import Tensor

from sefa.errors import CheckpointError
from sefa.formats.checkpoint import Found

# EMA weights first: they are what papers show, whatever else lies beside them.
EMA_NAMES = ("generator_smooth", "G_ema", "g_ema")
RAW_NAMES = ("generator", "G", "g", "state_dict", "params_ema")
MAX_NAME = 200


def unwrap(content: Mapping) -> Found:
    """The generator in `content`, its weights without a "module." prefix.

    Tried in order: EMA names, the same in "models" (genforce's runner), raw names, the dict itself.
    """
    models = content.get("models")
    models = models if isinstance(models, Mapping) else {}
    candidates = [
        *((content, name) for name in EMA_NAMES),
        *((models, name) for name in (*EMA_NAMES, "generator")),
        *((content, name) for name in RAW_NAMES),
    ]
    for place, name in candidates:
        if isinstance(place.get(name), Mapping):
            return Found(tensors_of(place[name]), beside=content)
    if "discriminator" in content or "discriminator" in models:
        raise CheckpointError("only a discriminator is in this file, and no generator.")
    return Found(tensors_of(content), beside=content)


def tensors_of(state_dict: Mapping) -> dict[str, Tensor]:
    """The tensors of a state dict by name; refuses one that holds none."""
    tensors: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        if isinstance(key, str) and isinstance(value, Tensor):
            name = key.removeprefix("module.")
            if len(name) > MAX_NAME or not name.isprintable():
                raise CheckpointError(f"it has a weight with the odd name {name[:40]!r}.")
            if name in tensors:
                raise CheckpointError(f"the weight {name} occurs twice.")
            tensors[name] = value
    if not tensors:
        names = ", ".join(str(name)[:40] for name in list(state_dict)[:5])
        raise CheckpointError(
            f"no generator weights are in this file (found: {names or 'nothing'})."
        )
    return tensors
