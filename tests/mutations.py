"""Changes to good files that a reader has to withstand.

`good_files()` makes small files of every container; `mutate(random, files, kind)` changes the bytes,
opcodes or numbers of one. `good_weights()` are small generators of every family;
`change_weights(random, founds)` writes a sound file of one whose weights or attributes are changed.
All is drawn from `random`, so that a number tells an input.
"""

import io
import pickletools
import re
import struct
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from random import Random

import torch
from safetensors.torch import save

from sefa.formats.checkpoint import Found
from tests.helpers import genforce_state_dict, read_golden, tiny_state_dict
from tests.hostile_files import broken_pickles, laughs, name, number, payloads, text
from tests.nvidia_files import (
    nvidia_module,
    nvidia_pickle,
    nvidia_stylegan2,
    tf_network,
    tf_pickle,
    tf_stylegan2,
)

NUMBERS = (0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1,
           2**32, 2**40, 2**48, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
HEAD_BYTES = 3000  # where a file has its structure, which is changed more often than its numbers
Parts = list[bytes]  # a file cut at its opcodes; joined, they are the file


def good_files() -> dict[str, bytes]:
    """A generator of 8 px in every container, by kind."""
    state = tiny_state_dict(resolution=8, channels=(5, 4), depth=1)
    genforce = {"generator_smooth": genforce_state_dict(state), "epoch": 3}
    files = {"zip": io.BytesIO(), "stream": io.BytesIO()}
    torch.save(genforce, files["zip"])
    torch.save(genforce, files["stream"], _use_new_zipfile_serialization=False)
    made = {kind: file.getvalue() for kind, file in files.items()}
    made["safetensors"] = save(state, {"sefa": '{"version": 1, "family": "stylegan2"}'})
    nvidia = {"G": None, "D": None, "G_ema": nvidia_stylegan2(state)}
    for protocol in range(2, 6):
        made[f"nvidia{protocol}"] = nvidia_pickle(nvidia, protocol)
    made["tf4"] = tf_pickle(tf_stylegan2(state, 8), 4)
    made["tf2"] = tf_pickle(tf_stylegan2(state, 8), 2)
    return made


# Opcodes and pieces of pickles that are put in anywhere.
SNIPPETS: Parts = [
    *(bytes([code]) for code in b"(.012N]})tlduaesRbQo"),
    *(bytes([code]) for code in range(0x80, 0x99)),
    b"K\0", b"K\1", b"h\0", b"h\1", b"h\5", b"q\0", b"\x94", b"0", b"00", b"(t", b"](e", b"}(u",
    b"\x86R", b"\x85R", b"\x87R", b"N\x86b", b"}b", b"\x8a\x09" + b"\xff" * 9,
    b"X\xff\xff\xff\x7f", b"B\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 7 + b"\x7f", b"\x95" + bytes(8),
    laughs(40), text("_modules"), text("_parameters"), text("state"), text("storage"),
    name("torch", "FloatStorage"), name("torch", "HalfStorage"), name("numpy", "dtype"),
    name("numpy.core.multiarray", "_reconstruct"), name("torch._utils", "_rebuild_tensor_v2"),
    name("torch.storage", "_load_from_bytes"), name("collections", "OrderedDict"),
    name("torch_utils.persistence", "_reconstruct_persistent_obj"), name("_codecs", "encode"),
    name("dnnlib.tflib.network", "Network"), name("builtins", "set"), name("torch", "device"),
    *(number(value) for value in NUMBERS), *(number(-value) for value in NUMBERS[1:]),
    *(content[2:-1] for content, _ in broken_pickles().values() if len(content) < 300),
    *(content[2:-1] for content, _ in payloads("/nowhere/at/all").values() if len(content) < 300),
]  # fmt: skip


def mutate(random: Random, files: Mapping[str, bytes], kind: str) -> bytes:
    """The file `kind`, changed in one to four ways."""
    content = files[kind]
    if kind == "zip" and random.random() < 0.6:  # inside of a sound archive
        return in_zip(content, lambda data: change(random, data, files, kind))
    return change(random, content, files, kind)


def change(random: Random, content: bytes, files: Mapping[str, bytes], kind: str) -> bytes:
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        structured = random.random() < 0.6
        if structured and (parts := opcodes(content)):
            content = b"".join(change_opcodes(random, list(parts), files))
        elif structured and kind == "safetensors":
            content = change_header(random, content)
        else:
            content = change_bytes(random, content)
    return content


def in_zip(content: bytes, change_pickle) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.namelist():
            data = old.read(member)
            new.writestr(member, change_pickle(data) if member.endswith("data.pkl") else data)
    return buffer.getvalue()


# --- bytes ----------------------------------------------------------------------------------------


def change_bytes(random: Random, content: bytes) -> bytes:
    if not content:
        return b"\x80"
    edited = bytearray(content)
    near = random.random() < 0.7  # the head, or for an archive also the end
    reach = min(len(edited), HEAD_BYTES) if near else len(edited)
    at = random.randrange(reach)
    if content.startswith(b"PK") and near and random.random() < 0.7:
        at = len(edited) - 1 - at
    how = random.randrange(7)
    if how == 0:
        edited[at] ^= 1 << random.randrange(8)
    elif how == 1:
        edited[at] = random.randrange(256)
    elif how == 2:
        del edited[at:]
    elif how == 3:
        del edited[at : at + random.choice((1, 2, 4, 8, 64, 1000))]
    elif how == 4:
        edited[at:at] = edited[random.randrange(len(edited)) :][: random.choice((1, 2, 8, 64, 999))]
    elif how == 5:
        value = random.choice(NUMBERS)
        size = random.choice((1, 2, 4, 8))
        edited[at : at + size] = (value % 256**size).to_bytes(size, "little")
    else:
        edited[at:at] = random.choice(SNIPPETS)
    return bytes(edited)


# --- opcodes --------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def opcodes(content: bytes) -> tuple[bytes, ...]:
    """The opcodes of all pickles at the start of a file, and what follows; empty without any."""
    starts, at = [], 0
    if content[:1] not in (b"\x80", b"}", b"(", b"c"):
        return ()
    with suppress(ValueError, IndexError, KeyError, OverflowError, struct.error):  # if damaged
        while at < len(content) and content[at] == 0x80:
            stream = io.BytesIO(content[at:])
            for _, _, position in pickletools.genops(stream):
                starts.append(at + position)
            at += stream.tell()
    if len(starts) < 2:
        return ()
    ends = [*starts[1:], at if at > starts[-1] else len(content)]
    cut = [content[start:end] for start, end in zip(starts, ends, strict=True)]
    return tuple(cut) if ends[-1] == len(content) else (*cut, content[ends[-1] :])


def change_opcodes(random: Random, parts: Parts, files: Mapping[str, bytes]) -> Parts:
    at = random.randrange(len(parts))
    how = random.randrange(9)
    if how == 0:
        del parts[at]
    elif how == 1:
        parts.insert(at, parts[random.randrange(len(parts))])
    elif how == 2:
        parts[at] = random.choice(SNIPPETS)
    elif how == 3:
        parts.insert(at, random.choice(SNIPPETS))
    elif how == 4:
        other = random.randrange(len(parts))
        parts[at], parts[other] = parts[other], parts[at]
    elif how == 5:  # the start of this, the end of another
        other = opcodes(random.choice([file for file in files.values() if opcodes(file)]))
        parts[at:] = other[random.randrange(len(other)) :]
    elif how == 6:
        start = random.randrange(len(parts))
        parts[at:at] = parts[start : start + random.choice((2, 5, 20, 100))]
    elif how == 7:
        parts[at] = change_number(random, parts[at])
    else:  # a stream in the pickle, its length kept
        inner = [i for i, part in enumerate(parts) if len(part) > 200 and b"storage" in part]
        at = random.choice(inner) if inner else at
        parts[at] = change_inside(random, parts[at])
    return parts


def change_number(random: Random, part: bytes) -> bytes:
    """The opcode with another argument, if it has one; lengths of texts and bytes too."""
    value = random.choice(NUMBERS)
    sizes = {b"K": 1, b"M": 2, b"J": 4, b"h": 1, b"j": 4, b"q": 1, b"r": 4, b"U": 1, b"C": 1,
             b"X": 4, b"B": 4, b"T": 4, b"\x8c": 1, b"\x8d": 8, b"\x8e": 8, b"\x95": 8}  # fmt: skip
    size = sizes.get(part[:1])
    if size is None:
        return number(random.choice((1, -1)) * value)
    return part[:1] + (value % 256**size).to_bytes(size, "little") + part[1 + size :]


def change_inside(random: Random, part: bytes) -> bytes:
    edited = bytearray(part)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(edited))
        new = random.choice((bytes([random.randrange(256)]), random.choice(SNIPPETS)))
        edited[at : at + len(new)] = new
    return bytes(edited[: len(part)])


# --- headers of safetensors -----------------------------------------------------------------------


def change_header(random: Random, content: bytes) -> bytes:
    """A number or a word of the header replaced; sometimes its length is told anew."""
    length = int.from_bytes(content[:8], "little")
    header, body = content[8 : 8 + length], content[8 + length :]
    words = list(re.finditer(rb"\d+|\"[^\"]*\"|[\[\]{}:,]", header))
    if not words:
        return content
    word = random.choice(words)
    if random.random() < 0.7 and word[0].isdigit():
        new = str(random.choice(NUMBERS) * random.choice((1, 1, -1))).encode()
    else:
        new = random.choice((b"", b"null", b"[]", b"1e999", b'"F16"', b'"I8"', b'"F8_E4M3"',
                             b'"a. B"', random.choice(words)[0] * 2, random.choice(words)[0]))  # fmt: skip
    header = header[: word.start()] + new + header[word.end() :]
    if random.random() < 0.8:
        length = len(header)
    return struct.pack("<Q", length % 2**64) + header + body


# --- weights and attributes -----------------------------------------------------------------------

GOLDEN = Path(__file__).parent / "golden"
CASES = ("genforce_pggan/lod", "genforce_stylegan/conditional", "rosinality/training32",
         "genforce_stylegan2_conditional/ada16_embed", "nvidia_stylegan2/skip16_without_mean",
         "nvidia_stylegan2/resnet16_mixed", "nvidia_stylegan3/t_settings",
         "tf_stylegan2/resnet16_conditional", "hf_biggan/config32")  # fmt: skip
SHAPES = ((), (0,), (1,), (3,), (2, 3), (0, 4), (4, 4), (1, 3, 4, 4), (4, 3, 3, 3), (1, 1, 1, 1, 1))
TYPES = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.bool,
         torch.complex64, torch.uint16, torch.float8_e4m3fn)  # fmt: skip
VALUES = (None, True, False, 0, 1, -1, 2, 3.5, -0.0, 1e30, float("nan"), float("inf"), 2**40, 2**62,
          -(2**62), "", "x", "lrelu", "a. B", [], [1], [0, 0], [1, 2, 3, 4], [2**40] * 4, ["x"], {},
          {"a": 1}, [[1]], 10**30)  # fmt: skip


def good_weights() -> list[Found]:
    """Small generators of every family, as their training codes name the weights."""
    founds = [read_golden(GOLDEN / f"{case}.npz")[0] for case in CASES]
    sizes = [(6, 8, 4), (8, 5, 4), (5, 1, 4)]
    dcgan = {f"main.{3 * i}.weight": torch.randn(n, m, k, k) for i, (n, m, k) in enumerate(sizes)}
    for i, (_, channels, _) in enumerate(sizes[:-1]):
        for part in ("weight", "bias", "running_mean", "running_var"):
            dcgan[f"main.{3 * i + 1}.{part}"] = torch.rand(channels)
    return [*founds, Found(dcgan)]


def change_weights(random: Random, founds: list[Found]) -> bytes:
    """A sound file whose weights, their shapes, types, names or attributes are changed."""
    found = random.choice(founds)
    tensors = dict(found.tensors)
    attributes = {path: dict(own) for path, own in found.attributes.items()}
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if attributes and random.random() < 0.5:
            own = attributes[random.choice(list(attributes))]
            name = random.choice([*own, "conv_clamp", "size"])
            own[name] = random.choice(VALUES)
            if random.random() < 0.2:
                del own[name]
        elif tensors:
            change_tensor(random, tensors)
    return file_of(tensors, attributes)


def file_of(tensors: Mapping[str, torch.Tensor], attributes: Mapping[str, Mapping]) -> bytes:
    """The file in which such weights come: a pickle of NVIDIA's or TensorFlow's, or torch's zip."""
    if any("/" in name for name in tensors):
        return tf_of(tensors, attributes.get("", {}))
    if attributes:
        return nvidia_pickle({"G_ema": nvidia_module(tensors, attributes)})
    buffer = io.BytesIO()
    torch.save(dict(tensors), buffer)
    return buffer.getvalue()


def change_tensor(random: Random, tensors: dict[str, torch.Tensor]) -> None:
    name = random.choice(list(tensors))
    tensor = tensors[name]
    how = random.randrange(9)
    if how == 0:
        del tensors[name]
    elif how == 1:
        tensors[re.sub(r"\d+", lambda m: str(random.choice((0, 1, 7, 30, 10**9))), name)] = tensor
    elif how == 2:
        tensors[f"{name}.{random.choice(('weight', 'x', '0'))}"] = tensor
    elif how == 3:
        other = random.choice(list(tensors))
        tensors[name], tensors[other] = tensors[other], tensor
    elif how == 4:
        tensors[name] = tensor.to(random.choice(TYPES))
    elif how == 5:
        tensors[name] = torch.full(tensor.shape, random.choice((float("nan"), 1e30, 0.0, -1.0)))
    elif how == 6:
        tensors[name] = torch.ones(random.choice(SHAPES))
    elif how == 7:
        axis = random.randrange(max(1, tensor.ndim))
        tensors[name] = torch.cat([tensor, tensor], dim=axis) if tensor.ndim else tensor[None]
    else:
        tensors[name] = tensor.flatten() if random.random() < 0.5 else tensor[None]


def tf_of(tensors: Mapping[str, torch.Tensor], kwargs: Mapping) -> bytes:
    variables: dict[str, dict] = {"": {}}
    for path, tensor in tensors.items():
        component, _, rest = path.partition("/") if "/" in path else ("", "", path)
        numeric = (
            tensor.float() if tensor.dtype in (torch.bfloat16, torch.float8_e4m3fn) else tensor
        )
        variables.setdefault(component, {})[rest] = numeric.numpy()
    components = {path: tf_network(path, own) for path, own in variables.items() if path}
    network = tf_network("Gs", variables[""], components)
    network.static_kwargs = dict(kwargs)
    return tf_pickle(network)
