"""Pickles as NVIDIA's training codes write them, from PyTorch and from TensorFlow, for tests.

    module = nvidia_module(state_dict, {"": {"z_dim": 8}, "mapping.fc0": {"lr_multiplier": 0.01}})
    data = nvidia_pickle({"G": None, "D": None, "G_ema": module}, protocol=4)

    synthesis = tf_network("G_synthesis", {"4x4/Const/const": array})
    data = tf_pickle(tf_network("Gs", {"dlatent_avg": w}, {"synthesis": synthesis}, resolution=16))

Nothing of NVIDIA's is needed: modules of their names exist while a pickle is written, and never
while one is read.
"""

import pickle
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

SOURCE = "raise RuntimeError('the source text in a pickle must never be run')\n" * 20


class PersistentModule:
    """An object of a class under NVIDIA's @persistent_class, with what torch keeps in a module."""

    def __init__(self, class_name: str, **attributes: Any):
        self.class_name = class_name
        self.state: dict[str, Any] = {**nn.Module().__dict__, **attributes}

    def __reduce__(self):
        meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": self.class_name,
            "state": self.state,
        }
        return _reconstruct_persistent_obj, (meta,)


def _reconstruct_persistent_obj(meta):
    raise AssertionError("NVIDIA's loader was called")


class EasyDict(dict):
    """`dnnlib.util.EasyDict`."""


class Network:
    """`dnnlib.tflib.network.Network`; its attributes are what is pickled."""


FAKES = {  # module -> what it holds
    "torch_utils": (),
    "torch_utils.persistence": (_reconstruct_persistent_obj,),
    "dnnlib": (),
    "dnnlib.util": (EasyDict,),
    "dnnlib.tflib": (),
    "dnnlib.tflib.network": (Network,),
}


@contextmanager
def nvidia_names():
    """Pickles written inside name the classes above as those of NVIDIA's packages."""
    before = {name: sys.modules.get(name) for name in FAKES}
    ours = {thing: thing.__module__ for things in FAKES.values() for thing in things}
    try:
        for name, things in FAKES.items():
            sys.modules[name] = ModuleType(name)
            for thing in things:
                thing.__module__ = name
                setattr(sys.modules[name], thing.__name__, thing)
        yield
    finally:
        for thing, module in ours.items():
            thing.__module__ = module
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def nvidia_module(
    state_dict: Mapping[str, Tensor],
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
    class_name: str = "Generator",
    buffers: tuple[str, ...] = (
        "resample_filter", "noise_const", "w_avg", "magnitude_ema", "up_filter", "down_filter",
        "transform", "freqs", "phases",
    ),
) -> PersistentModule:  # fmt: skip
    """The tree of modules that has this state dict; dots in a name lead from module to module.

    attributes: plain ones by the module's path, "" the outermost; "__class__" names its class.
    buffers: last parts of the names that are buffers; all else are parameters.
    """
    root = PersistentModule(class_name)
    modules = {"": root}

    def module_at(path: str) -> PersistentModule:
        if path not in modules:
            above, _, name = path.rpartition(".")
            modules[path] = PersistentModule("Layer")
            module_at(above).state["_modules"][name] = modules[path]
        return modules[path]

    for name, tensor in state_dict.items():
        path, _, last = name.rpartition(".")
        state = module_at(path).state
        if last in buffers:
            state["_buffers"][last] = tensor
        else:
            state["_parameters"][last] = nn.Parameter(tensor, requires_grad=False)
    for path, own in (attributes or {}).items():
        module = module_at(path)
        module.class_name = own.get("__class__", module.class_name)
        module.state.update({key: value for key, value in own.items() if key != "__class__"})
    return root


def nvidia_pickle(content: Any, protocol: int = 4) -> bytes:
    """A pickle of anything that holds modules as above, under NVIDIA's names."""
    with nvidia_names():
        return pickle.dumps(content, protocol)


def tf_network(
    name: str,
    variables: Mapping[str, np.ndarray],
    components: Mapping[str, Network] | None = None,
    version: int = 4,
    **static_kwargs: Any,
) -> Network:
    """A TensorFlow network; `variables` are its own, without those of its components."""
    network = Network()
    network.__dict__.update(
        version=version,
        name=name,
        static_kwargs=EasyDict(static_kwargs),
        components=EasyDict(components or {}),
        build_module_src=SOURCE,
        build_func_name=name,
        variables=list(variables.items()),
    )
    return network


def tf_pickle(generator: Network, protocol: int = 4) -> bytes:
    """The pickle (G, D, Gs) with a generator and little else: G has its variables halved."""
    other = tf_network("G", {"lod": np.float32(0)})
    discriminator = tf_network("D", {"16x16/FromRGB/weight": np.zeros((1, 1, 3, 4), np.float32)})
    with nvidia_names():
        return pickle.dumps((other, discriminator, generator), protocol)


# --- StyleGAN2, from our names (tests.helpers.tiny_state_dict) to theirs ------------------------------


def nvidia_stylegan2(
    state: Mapping[str, Tensor], class_name: str = "Generator"
) -> PersistentModule:
    """Canonical weights of a StyleGAN2 (skip, without labels) as NVIDIA's G_ema, with its facts."""
    renamed: dict[str, Tensor] = {}
    attributes: dict[str, dict[str, Any]] = {}
    for name, tensor in state.items():
        renamed[nvidia_name(name)] = tensor[0] if name == "synthesis.const" else tensor
    for name, tensor in renamed.items():
        path, _, part = name.rpartition(".")
        if part != "weight":
            continue
        last = path.rpartition(".")[2]
        if last.startswith("fc") or last == "affine":
            lr = 0.01 if last.startswith("fc") else 1.0
            attributes[path] = {
                "__class__": "FullyConnectedLayer",
                "activation": "lrelu" if lr < 1 else "linear",
                "weight_gain": np.float64(lr / tensor.shape[1] ** 0.5),
                "bias_gain": lr,
            }
        elif last.startswith("conv"):
            attributes[path] = {
                "__class__": "SynthesisLayer", "activation": "lrelu", "act_gain": np.sqrt(2.0),
                "conv_clamp": None, "use_noise": True, "padding": 1,
                "up": 2 if last == "conv0" else 1,
            }  # fmt: skip
        else:
            attributes[path] = {"__class__": "ToRGBLayer", "conv_clamp": None}
            attributes[path.rpartition(".")[0]] = {
                "__class__": "SynthesisBlock",
                "architecture": "skip",
            }
    attributes["mapping"] = {"__class__": "MappingNetwork"}
    attributes["synthesis"] = {"__class__": "SynthesisNetwork"}
    return nvidia_module(renamed, attributes, class_name)


def nvidia_name(name: str) -> str:
    """NVIDIA's name for one of ours: "synthesis.conv1.weight" is "synthesis.b8.conv0.weight"."""
    if name == "w_avg":
        return "mapping.w_avg"
    if name == "synthesis.const":
        return "synthesis.b4.const"
    module, _, part = name.removeprefix("synthesis.").partition(".")
    if module.startswith("conv"):
        i = int(module[4:])
        return f"synthesis.b{4 << (i + 1) // 2}.conv{1 - i % 2}.{part}"
    if module.startswith("to_rgb"):
        return f"synthesis.b{4 << int(module[6:])}.torgb.{part}"
    return name.replace("dense", "fc")


def tf_stylegan2(state: Mapping[str, Tensor], resolution: int) -> Network:
    """Canonical weights of a StyleGAN2 (skip, without labels) as the TensorFlow Gs."""
    variables: dict[str, dict[str, np.ndarray]] = {"": {}, "mapping": {}, "synthesis": {}}
    for name, tensor in state.items():
        module, _, part = nvidia_name(name).partition(".")[2].partition(".")
        if module == "w_avg":
            component, module, part = "", "dlatent_avg", ""
        elif module.startswith("fc"):
            component, module = "mapping", module.replace("fc", "Dense")
            tensor = tensor.T if tensor.ndim == 2 else tensor
        elif part == "const":
            component, module, part = "synthesis", "4x4/Const", "const"
        else:
            component = "synthesis"
            block, layer = module[1:], part.partition(".")[0]
            part = part.partition(".")[2].replace("affine.", "mod_")
            if part == "noise_const":
                module, part = f"noise{name.split('.')[1][4:]}", ""
                tensor = tensor[None, None]
            else:
                names = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB"}
                convolution = "Conv" if (block, layer) == ("4", "conv1") else names[layer]
                module = f"{block}x{block}/{convolution}"
            if part == "mod_weight":
                tensor = tensor.T
            elif part == "mod_bias":
                tensor = tensor - 1.0
            elif part == "weight":
                tensor = tensor.flip(2, 3) if layer == "conv0" else tensor
                tensor = tensor.permute(2, 3, 1, 0)
        array = tensor.numpy() if tensor.ndim else np.float32(tensor.item())
        variables[component][f"{module}/{part}" if part else module] = array
    components = {
        name: tf_network(f"G_{name}", variables[name]) for name in ("synthesis", "mapping")
    }
    kwargs = {"resolution": resolution, "num_channels": 3, "architecture": "skip"}
    return tf_network("Gs", variables[""], components, **kwargs)
