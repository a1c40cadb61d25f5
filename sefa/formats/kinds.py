"""What a file of weights is that is not read here: told by the names of its weights.

Only messages depend on it. One row a kind: its name, and patterns that all must be found at the
start of some weight's name, or after a dot or slash in it (what lies around the weights is put before
their names: "GAN.GE.blocks.0.to_style1.weight"). The first row that fits is taken.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor

from sefa.formats.arrays import StoredArray, StoredTensor
from sefa.formats.network_pickles import Module, Network
from sefa.formats.pickles import shown

MAX_NAMES = 1500
MAX_LOOKED_AT = 30_000
MAX_DEPTH = 6

KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # --- GANs ---
    ("a StyleGAN-XL generator", (r"mapping\.embed_proj\.", r"synthesis\.L0_")),
    ("an EG3D generator of 3D scenes", (r"backbone\.synthesis\.b\d+\.", r"decoder\.net\.")),
    ("a StyleGAN2 of lucidrains/stylegan2-pytorch", (r"G?E?\.?blocks\.\d+\.to_style1\.",)),
    ("a SWAGAN, StyleGAN2 on wavelets", (r"to_rgbs\.\d+\.(iwt|dwt)\.",)),
    ("a StyleGAN of rosinality/style-based-gan-pytorch", (r"progression\.\d+\.conv1?\d?\.",)),
    ("a PGGAN of rosinality/progressive-gan-pytorch", (r"progression_\d+\.",)),
    ("a PGGAN of facebookresearch/pytorch_GAN_zoo", (r"(scaleLayers|formatLayer|toRGBLayers)\.",)),
    ("a lightweight GAN of lucidrains", (r"initial_conv\.", r"D_aug\.")),
    ("a FastGAN generator", (r"feat_8\.\d", r"se_64\.")),
    ("a GANformer generator", (r"synthesis\.b\d+\.conv\d\.transformer\.",)),
    ("a face restorer (GFPGAN), not a generator", (r"stylegan_decoder",)),
    ("an encoder for StyleGAN2 (pSp or e4e), which holds its generator as a part",
     (r"encoder\.(input_layer|body)\.", r"decoder\.(style|convs)\.")),
    ("a BigGAN of ajbrock/BigGAN-PyTorch", (r"blocks\.0\.0\.(conv1|bn1)\.", r"output_layer\.")),
    ("a translator between images (CycleGAN)", (r"model\.\d+\.conv_block\.\d",)),
    ("a translator between images (pix2pix)", (r"model\.model\.1\.model\.",)),
    ("an upscaler of images (ESRGAN)", (r"(RRDB_trunk|body\.\d+\.rdb1|model\.1\.sub\.0\.RDB1)\b",)),
    # --- discriminators ---
    ("only a discriminator, of an NVIDIA StyleGAN", (r"b\d+\.fromrgb\.",)),
    ("only a discriminator, of a TensorFlow StyleGAN", (r"\d+x\d+/FromRGB",)),
    ("only a discriminator, of rosinality's StyleGAN2", (r"final_conv\.0\.", r"final_linear\.0\.")),
    ("only a discriminator, of genforce's", (r"input0\.(conv\.)?weight$", r"layer0\.")),
    ("only a discriminator, of a BigGAN", (r"blocks\.0\.0\.conv1\.", r"linear\.(weight|u0)$")),
    # --- diffusion ---
    ("a LoRA, changes to another model", (r".*(lora_down|lora_up|lora_A|lora_B)\b",)),
    ("a Stable Diffusion checkpoint", (r"model\.diffusion_model\.",)),
    ("a ControlNet of a diffusion model", (r"(controlnet_cond_embedding|control_model)\.",)),
    ("the UNet of a diffusion model",
     (r"(down_blocks|input_blocks)\.\d+\.", r"(time_embedding|time_embed|time_proj|time_emb)\b")),
    ("a diffusion model", (r"(downs|denoise_fn\.downs)\.\d+\.", r"(ups|denoise_fn\.ups)\.\d+\.")),
    ("a diffusion transformer", (r"(double_blocks\.0|joint_blocks\.0|transformer_blocks\.0)\.",)),
    ("a diffusion transformer (DiT)", (r"blocks\.0\.adaLN_modulation\.",)),
    ("a diffusion model", (r"(sqrt_)?(alphas_cumprod|one_minus_alphas_cumprod)$",)),
    ("the VAE of a diffusion model or a VQGAN",
     (r"encoder\.(down_blocks|down)\.\d", r"decoder\.(up_blocks|up)\.\d")),
    # --- other networks ---
    ("a CLIP model", (r"(text_model\.encoder\.layers|visual\.transformer\.resblocks)\.",)),
    ("a language model",
     (r"(layers\.\d+\.(self_attn|attention)|h\.\d+\.(attn|mlp)|layer\.\d+\.(attention|Self\w+))\.",)),
    ("a vision transformer", (r"patch_embed\.proj\.", r"(blocks|layers)\.\d+\.")),
    ("an image classifier (a ResNet)", (r"layer1\.0\.(conv|bn)1\.", r"layer4\.")),
    ("an image classifier", (r"features\.\d", r"classifier\.")),
    ("an image classifier (an Inception network)", (r"Mixed_[5-7][a-e]\.",)),
    ("an image classifier (an EfficientNet)", (r"(_conv_stem|conv_stem)\.", r"_?blocks\.\d")),
    ("an object detector", (r"(backbone\.body|rpn\.head|model\.\d+\.(anchors|m\.0\.conv))\b",)),
)  # fmt: skip

COMPILED = tuple(
    (kind, tuple(re.compile(rf"(?:^|[./]){pattern}", re.MULTILINE) for pattern in patterns))
    for kind, patterns in KINDS
)
CLASSES = {
    "SuperresGenerator": "a StyleGAN-XL generator",
    "TriPlaneGenerator": "an EG3D generator of 3D scenes",
    "Discriminator": "only a discriminator, of an NVIDIA StyleGAN",
    "EDMPrecond": "a diffusion model (EDM)",
}


def kind_of(names: Collection[str], class_name: object = None) -> str | None:
    """What weights of these names are, as in "this is ..."; None where the table has no row."""
    if isinstance(class_name, str) and class_name in CLASSES:
        return CLASSES[class_name]
    text = "\n".join(list(names)[:MAX_NAMES])
    for kind, patterns in COMPILED:
        if all(pattern.search(text) for pattern in patterns):
            return kind
    return None


def weight_names(content: Any) -> list[str]:
    """Names of weights anywhere in what a file holds, with the names of what they lie in."""
    return list(_names(content, "", MAX_DEPTH, [MAX_LOOKED_AT, MAX_NAMES]))


def _names(value: Any, path: str, depth: int, rest: list[int]) -> Iterator[str]:
    """rest: [values that may still be looked at, names that may still be given]."""
    if isinstance(value, (Tensor, StoredTensor, StoredArray)):
        rest[1] -= 1
        yield path
        return
    if isinstance(value, (Module, Network)):
        value = value.state
    if not isinstance(value, Mapping) or depth == 0:
        return
    for name, inner in value.items():
        rest[0] -= 1
        if min(rest) < 0:
            return
        own = name in ("_parameters", "_buffers", "_modules")
        name = path if own else f"{path}{'.' if path else ''}{shown(name)}"
        if len(name) < 300:
            yield from _names(inner, name, depth - (not own), rest)
