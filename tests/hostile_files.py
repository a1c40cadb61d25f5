"""Hostile and broken files, made by code: pickles from their opcodes, archives from their records.

`payloads(target)` would create the file `target`; `broken_files()` lie, or are damaged; `bombs()`
want memory or time. Each is a dict: what it is -> (bytes, a word of the message that refuses it).
"""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable

import numpy as np
import torch

from tests.nvidia_files import (
    PersistentModule,
    nvidia_module,
    nvidia_pickle,
    tf_network,
    tf_pickle,
)

# --- pickles from their opcodes -------------------------------------------------------------------

HEAD = b"\x80\x04"
TENSOR_MODULE = "torch_utils.persistence"


def name(module: str, attribute: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    """BINUNICODE."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def stack_name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def data(value: bytes) -> bytes:
    """BINBYTES."""
    return b"B" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    """LONG1."""
    encoded = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def numbers(*values: int) -> bytes:
    """A tuple."""
    return b"(" + b"".join(map(number, values)) + b"t"


def call(function: bytes, *arguments: bytes) -> bytes:
    """REDUCE."""
    return function + b"(" + b"".join(arguments) + b"tR"


def entry(key: str, value: bytes) -> bytes:
    """A dict of one item."""
    return b"}" + text(key) + value + b"s"


def whole(value: bytes) -> bytes:
    return HEAD + value + b"."


def module_of(state: bytes, class_name: str = "Generator") -> bytes:
    """NVIDIA's persistent object with a state."""
    meta = b"}(" + text("class_name") + text(class_name) + text("state") + state + b"u"
    return call(name(TENSOR_MODULE, "_reconstruct_persistent_obj"), meta)


# --- torch streams and zip archives ---------------------------------------------------------------


def stream(
    content: bytes = b"",
    keys: bytes = b"](" + text("0") + b"e",
    numel: int = 4,
    tail: bytes | None = None,
    little: bytes = b"\x88",
    version: int = 1001,
) -> bytes:
    """What torch.save wrote before 1.6, of one storage of four floats."""
    tail = struct.pack("<Q", numel) + bytes(16) if tail is None else tail
    pickles = [
        number(0x1950A86A20F9469CFC6C),
        number(version),
        entry("little_endian", little),
        content or storage_of(),
        keys,
    ]
    return b"".join(b"\x80\x02" + one + b"." for one in pickles) + tail


def storage_of(numel: int = 4, kind: bytes = b"", key: bytes = b"", view: bytes = b"") -> bytes:
    """BINPERSID of a storage."""
    kind = kind or name("torch", "FloatStorage")
    parts = text("storage") + kind + (key or text("0")) + text("cpu") + number(numel) + view
    return b"(" + parts + b"tQ"


def tensor_of(
    storage: bytes = b"", offset: bytes = b"K\0", size: bytes = b"", stride: bytes = b""
) -> bytes:
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage or storage_of(),
        offset,
        size or numbers(4),
        stride or numbers(1),
        b"\x89",
        b"}",
    )


def nested(inner: bytes, size: int = 4) -> bytes:
    """A pickle of one tensor whose storage is a stream of its own, as NVIDIA's pickles have it."""
    storage = call(name("torch.storage", "_load_from_bytes"), data(inner))
    return whole(entry("w", tensor_of(storage, size=numbers(size))))


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as zipped:
        for member, content in members.items():
            zipped.writestr(member, content)
    return buffer.getvalue()


def torch_zip(
    content: bytes = b"", storages: dict[str, bytes] | None = None, **more: bytes
) -> bytes:
    """What torch.save writes, of a dict of one tensor."""
    members = {"a/data.pkl": whole(content or entry("w", tensor_of()))}
    stored = {"0": bytes(16)} if storages is None else storages
    members.update({f"a/data/{key}": value for key, value in stored.items()})
    return archive({**members, **more})


def changed(content: bytes, old: bytes, new: bytes, count: int = -1) -> bytes:
    assert old in content, old
    return content.replace(old, new, count)


def set_fields(content: bytes, mark: bytes, fields: dict[int, bytes]) -> bytes:
    """Bytes overwritten, by their distance from the last occurrence of `mark`."""
    edited, at = bytearray(content), content.rindex(mark)
    for offset, value in fields.items():
        edited[at + offset : at + offset + len(value)] = value
    return bytes(edited)


def safetensors(header: object, body: bytes = bytes(16)) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + body


def stored(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def array_of(
    dtype: bytes, shape: bytes = b"", content: bytes = b"", order: bytes = b"\x89"
) -> bytes:
    """A numpy array: _reconstruct, then BUILD with its state."""
    state = number(1) + (shape or numbers(4)) + dtype + order + (content or data(bytes(16)))
    empty = call(
        name("numpy.core.multiarray", "_reconstruct"),
        name("numpy", "ndarray"),
        numbers(0),
        data(b"b"),
    )
    return empty + b"(" + state + b"tb"


def dtype_of(kind: bytes, byteorder: str = "<") -> bytes:
    state = number(3) + text(byteorder) + b"NNN" + number(-1) + number(-1) + number(0)
    return call(name("numpy", "dtype"), kind, b"\x89", b"\x88") + b"(" + state + b"tb"


# --- what would run -------------------------------------------------------------------------------


def payloads(target: str) -> dict[str, tuple[bytes, str]]:
    """Files that create `target` when whoever reads them lets them."""
    command, code = f"echo > {target}", f"open({target!r}, 'w').close()"
    system = call(name("posix", "system"), text(command))
    popen = b"(" + b"](" + text("touch") + text(target) + b"e" + b"t"
    inner = pickle.dumps({"a": 1}, 2)
    files = {
        "REDUCE": (whole(entry("G_ema", system)), "posix.system"),
        "protocol 0": (b"(dp0\n" + name("posix", "system") + b"(V" + command.encode() + b"\ntR.",
                       "posix.system"),
        "a name alone at the start": (name("posix", "system") + b"(S'" + command.encode() + b"'\ntR.",
                                      "posix.system"),
        "STACK_GLOBAL": (whole(call(stack_name("builtins", "exec"), text(code))), "builtins.exec"),
        "INST": (HEAD + b"(" + text(command) + b"iposix\nsystem\n.", "posix.system"),
        "OBJ": (HEAD + b"(" + name("posix", "system") + text(command) + b"o.", "posix.system"),
        "NEWOBJ": (whole(name("subprocess", "Popen") + popen + b"\x81"), "subprocess.Popen"),
        "NEWOBJ_EX": (whole(name("subprocess", "Popen") + popen + b"}\x92"), "subprocess.Popen"),
        "a dotted name": (whole(call(stack_name("torch.serialization", "os.system"), text(command))),
                          "torch.serialization.os.system"),
        "a dotted name of an allowed module": (
            whole(call(stack_name("collections", "abc.sys.modules.get"), text("os"))), "collections.abc"),
        "execWrapper": (
            whole(call(name("torch.jit.unsupported_tensor_ops", "execWrapper"), text(code), b"}", b"}")),
            "execWrapper"),
        "runstring": (
            whole(call(name("numpy.testing._private.utils", "runstring"), text(code), b"}")),
            "runstring"),
        "getattr": (whole(call(name("builtins", "getattr"), name("os", "path"), text("x"))),
                    "builtins.getattr"),
        "the whole of torch.load": (
            whole(call(name("torch.serialization", "load"), text(target))), "torch.serialization.load"),
        "a nested stream": (nested(stream(system)), "posix.system"),
        "a nested pickle": (nested(whole(system)), "posix.system"),
        "a nested pickle as text": (
            whole(call(name("torch.storage", "_load_from_bytes"),
                       call(name("_codecs", "encode"), text("cposix\nsystem\n."), text("latin1")))),
            "posix.system"),
        "its storage list": (stream(keys=system), "posix.system"),
        "its machine facts": (stream(little=system), "posix.system"),
        "its source text": (
            whole(entry("G_ema", call(
                name(TENSOR_MODULE, "_reconstruct_persistent_obj"),
                b"}(" + text("class_name") + text("Generator") + text("module_src") + text(code)
                + text("type") + text("class") + text("version") + number(6)
                + text("state") + b"}" + b"u"))),
            "no generator weights"),
        "in a zip": (torch_zip(entry("args", system)), "posix.system"),
        "in a zip's persistent id": (torch_zip(entry("w", system + b"Q")), "posix.system"),
        "in a state": (whole(entry("G_ema", module_of(entry("x", system)))), "posix.system"),
        "in a state given to a function": (
            whole(name("torch._utils", "_rebuild_tensor_v2") + b"N" + entry("__defaults__", system)
                  + b"\x86b"), "posix.system"),
        "a constructor of bytes": (whole(call(name("builtins", "bytearray"), number(9))),
                                   "builtins.bytearray"),
        "a whole model": (whole(call(name("torch.nn.modules.linear", "Linear"), number(1))),
                          "state_dict() instead"),
        "a copier of objects": (
            whole(call(name("copyreg", "_reconstructor"), name("os", "_wrap_close"), b"NN")),
            "copyreg._reconstructor"),
        "a nested pickle of python's": (
            whole(call(name("_pickle", "loads"), data(inner))), "_pickle.loads"),
    }  # fmt: skip
    return files


# --- what lies ------------------------------------------------------------------------------------


def laughs(depth: int = 60) -> bytes:
    """A tuple of a tuple of ... twice each: writing it out would take 2**60 characters."""
    return text("ha") + b"2\x86" * depth


def zip64(count: int, size: int, start: int, at: int) -> Callable[[bytes], bytes]:
    """An archive whose end is told by a ZIP64 record at `at` with these numbers."""

    def change(content: bytes) -> bytes:
        end = content.rindex(b"PK\5\6")
        record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, start)
        locator = b"PK\6\7" + struct.pack("<IQI", 0, end if at < 0 else at, 1)
        return content[:end] + record + locator + content[end:]

    return change


def broken_files() -> dict[str, tuple[bytes, str]]:
    """Files that are damaged or lie."""
    return {**broken_pickles(), **broken_tensors(), **broken_zips(), **broken_streams(),
            **broken_safetensors(), **broken_networks()}  # fmt: skip


def broken_pickles() -> dict[str, tuple[bytes, str]]:
    return {
        "an extension code": (whole(b"\x82\x01"), "opcode 130"),
        "an out-of-band buffer": (whole(b"\x97"), "opcode 151"),
        "a persistent id in protocol 0": (whole(b"P1\n"), "opcode 80"),
        "a persistent id": (whole(text("x") + b"Q"), "outside"),
        "protocol 9": (b"\x80\x09N.", "80 09"),
        "another protocol inside": (HEAD + b"\x80\x09N.", "protocol 9"),
        "a frame that is too long": (HEAD + b"\x95" + b"\xff" * 8 + b"N.", "cut short"),
        "a giant integer": (whole(b"\x8b" + struct.pack("<I", 2**31 - 1)), "integer of 2147483647"),
        "a large integer": (whole(b"\x8a\xff" + bytes(255)), "integer of 255"),
        "more digits than are read": (whole(b"I" + b"9" * 2000 + b"\n"), "damaged"),
        "bytes that are not there": (whole(b"\x8e" + struct.pack("<Q", 2**60)), "ends"),
        "text that is not there": (whole(b"\x8d" + struct.pack("<Q", 2**63)), "ends"),
        "text that is no text": (whole(b"\x8c\x02\xff\xff"), "damaged"),
        "a memo that is not there": (whole(b"j\xff\xff\xff\xff"), "damaged"),
        "too little on the stack": (whole(b"R"), "damaged"),
        "too much on the stack": (whole(b"NN"), "damaged"),
        "a mark that is left": (whole(b"(N"), "damaged"),
        "no mark": (whole(b"t"), "damaged"),
        "no end": (HEAD + b"}", "cut short"),
        "a line without end": (HEAD + b"c" + b"a" * 9000, "damaged"),
        "bytes after its end": (whole(b"}") + b"more", "4 bytes follow"),
        "nothing but a number": (whole(number(7)), "holds a int"),
        "nothing but a name": (whole(name("torch", "FloatStorage")), "torch.FloatStorage"),
        "a tuple as a key": (whole(b"}(" + laughs() + b"Nu"), "a tuple as a key"),
        "a list in a set": (whole(b"\x8f(]\x90"), "a list as a key"),
        "an int to collide with": (whole(b"}(" + number(2**61 - 1) + b"Nu"), "as a key"),
        "a dict of an odd number": (whole(b"}(NNNu"), "damaged"),
        "an append to a tuple": (whole(b")Na"), "appends to a tuple"),
        "items of a list": (whole(b"](NNu"), "sets items of a list"),
        "an item added to a dict": (whole(b"}(N\x90"), "adds to a dict"),
        "a token that is called": (whole(call(name("numpy", "ndarray"), b"K\x02")), "numpy.ndarray"),
        "a text that is called": (whole(call(text("os.system"), text("x"))), "calls a str"),
        "a list of arguments": (
            whole(name("collections", "OrderedDict") + b"]R"), "with a list for arguments"),
        "arguments that do not fit": (
            whole(call(name("torch._utils", "_rebuild_parameter"))), "does not take"),
        "a state for a function": (
            whole(name("torch._utils", "_rebuild_tensor_v2") + b"N}" + text("__defaults__")
                  + b"Ns\x86b"), "gives a state to torch._utils._rebuild_tensor_v2"),
        "a state for a class": (
            whole(name("collections", "OrderedDict") + entry("__init__", b"N") + b"b"),
            "gives a state to collections.OrderedDict"),
        "a state for a module": (whole(module_of(b"}") + b"}b"), "gives a state"),
        "an OrderedDict of no pairs": (
            whole(call(name("collections", "OrderedDict"), b"](" + b"K\1e")), "does not take"),
        "a set of lists": (whole(call(name("builtins", "set"), b"](]e")), "does not take"),
        "an encoded tuple": (
            whole(call(name("_codecs", "encode"), b")", text("latin1"))), "does not take"),
        "an encoding": (
            whole(call(name("_codecs", "encode"), text("a"), text("hex"))), "does not take"),
    }  # fmt: skip


def broken_tensors() -> dict[str, tuple[bytes, str]]:
    f4 = dtype_of(text("f4"))
    in_zip = {
        "a negative size": (tensor_of(size=numbers(-4)), "-4"),
        "a negative stride": (tensor_of(stride=numbers(-1)), "-1"),
        "a negative offset": (tensor_of(offset=number(-1)), "-1"),
        "an offset beyond its end": (tensor_of(offset=number(1)), "claims more"),
        "a stride beyond its end": (tensor_of(stride=numbers(2)), "claims more"),
        "a stride of zero": (tensor_of(size=numbers(2**40), stride=numbers(0)), "claims more"),
        "a size of 2**63": (tensor_of(size=numbers(2**63)), "9223372036854775808"),
        "sizes that overflow": (
            tensor_of(size=numbers(2**32, 2**32, 1), stride=numbers(0, 0, 0)), "shape"),
        "sizes that overflow though it is empty": (
            tensor_of(size=numbers(2**40, 2**40, 0), stride=numbers(1, 1, 1)), "shape"),
        "a hundred dimensions": (tensor_of(size=numbers(*[1] * 100)), "as its shape"),
        "more sizes than strides": (tensor_of(size=numbers(2, 2)), "more sizes than strides"),
        "a truth value as a size": (tensor_of(size=b"\x88\x85"), "True"),
        "bytes as a size": (tensor_of(size=data(b"\1\1")), "as its shape"),
        "a text as a size": (tensor_of(size=text("4")), "as its shape"),
        "laughs as a size": (tensor_of(size=laughs() + b"\x85"), "a tuple as a size"),
        "laughs as an offset": (tensor_of(offset=laughs()), "a tuple as a size"),
        "a text as its storage": (tensor_of(text("0")), "a str as its storage"),
        "a tensor as its storage": (tensor_of(tensor_of()), "a tensor as its storage"),
        "a dtype as a kind of storage": (
            tensor_of(storage_of(kind=name("torch", "float32"))), "torch.float32"),
        "a text as a kind of storage": (tensor_of(storage_of(kind=text("F"))), "a str"),
        "more numbers than are stored": (tensor_of(storage_of(5), size=numbers(5)), "20 bytes"),
        "fewer numbers than are stored": (tensor_of(storage_of(3), size=numbers(3)), "12 bytes"),
        "a storage of 2**62 numbers": (tensor_of(storage_of(2**62)), "4611686018427387904"),
        "a storage told in two ways": (
            tensor_of() + b"0" + tensor_of(storage_of(kind=name("torch", "IntStorage"))),
            "in two ways"),
        "a storage that is a view": (
            tensor_of(storage_of(view=text("v"))), "in a form that is not read"),
        "a persistent id that is a text": (text("storage") + b"Q", "a str"),
        "a persistent id of another kind": (b"(" + text("module") + b"NNNNtQ", "the kind module"),
        "laughs as a persistent id": (b"(" + laughs() + b"NNNNtQ", "the kind a tuple"),
        "a key that leads out": (tensor_of(storage_of(key=text("../data.pkl"))), "../data.pkl"),
        "a parameter of no tensor": (
            call(name("torch._utils", "_rebuild_parameter"), b"N\x88}"), "does not take"),
        "an array of objects": (array_of(dtype_of(text("O8"))), "dtype O8"),
        "an array of structures": (array_of(dtype_of(text("V8"))), "dtype V8"),
        "an array of arrays": (array_of(dtype_of(laughs())), "dtype a tuple"),
        "an array of texts": (array_of(dtype_of(text("U4"))), "dtype U4"),
        "an array of 1-byte floats": (array_of(dtype_of(text("f1"))), "f1"),
        "an array larger than its bytes": (array_of(f4, numbers(5)), "20 bytes"),
        "an array of 2**80 numbers": (array_of(f4, numbers(2**40, 2**40)), "bytes"),
        "an array with a short state": (
            call(name("numpy.core.multiarray", "_reconstruct"), b"N") + b"N\x85b", "another form"),
        "an array of no dtype": (array_of(text("f4")), "another form"),
        "a byte order": (array_of(dtype_of(text("f4"), "x")), "another form"),
        "a number of no bytes": (
            call(name("numpy.core.multiarray", "scalar"), f4, data(b"")), "does not take"),
        "a sparse tensor": (
            call(name("torch._utils", "_rebuild_sparse_tensor"), b"N"), "dense"),
    }  # fmt: skip
    files = {kind: (torch_zip(entry("w", value)), word) for kind, (value, word) in in_zip.items()}
    lies = {
        "numel": (stream(numel=5), "said to have 5"),
        "one byte more": (stream() + b"x", "1 bytes follow"),
        "one byte less": (stream()[:-1], "ends in the middle"),
        "a token": (
            stream(name("torch", "FloatStorage"), b"]", tail=b""), "torch.FloatStorage"),
        "a dict": (stream(b"}" + text("x") + storage_of() + b"s"), "a dict in place of its storage"),
        "another kind": (
            stream(b"(" + text("module") + b"NNNNtQ", b"]", tail=b""), "the kind module"),
        "big-endian": (stream(little=b"\x89"), "big-endian"),
    }  # fmt: skip
    for kind, (inner, word) in lies.items():
        files[f"a nested stream with {kind}"] = (nested(inner), word)
    return files


def broken_zips() -> dict[str, tuple[bytes, str]]:
    good = torch_zip()
    size = len(good)
    deflated = archive({"a/data.pkl": whole(entry("w", tensor_of())), "a/data/0": bytes(16)},
                       zipfile.ZIP_DEFLATED)  # fmt: skip
    half = io.BytesIO()
    with zipfile.ZipFile(half, "w") as zipped:
        zipped.writestr("a/data.pkl", whole(entry("w", tensor_of())))
        zipped.writestr("a/data/0", bytes(16), zipfile.ZIP_DEFLATED)
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as zipped:
        for member in ("a/data.pkl", "a/data/0", "a/data/1"):
            zipped.writestr(member, whole(b"}"))
    first = good.index(b"PK\1\2")
    return {
        "compressed": (deflated, "compressed"),
        "one member compressed": (half.getvalue(), "a/data/0 is compressed"),
        "encrypted": (set_fields(good, b"PK\1\2", {8: b"\1\0"}), "encrypted"),
        "a name told in two ways": (changed(good, b"a/data/0", b"a/data/9", 1), "lies about"),
        "a size told in two ways": (set_fields(good, b"PK\3\4", {22: b"\x0f"}), "about its size"),
        "a compression told in two ways": (set_fields(good, b"PK\3\4", {8: b"\x08"}), "lies about"),
        "sizes that differ": (set_fields(good, b"PK\1\2", {20: b"\x0f"}), "about the size"),
        "members in each other": (
            set_fields(changed(good, b"a/data/0", b"a/data.pkl"[:8]), b"PK\1\2", {42: bytes(4)}),
            "zip archive"),
        "members that overlap": (overlapping(), "lie in each other"),
        "two members of a name": (
            changed(twice.getvalue(), b"a/data/1", b"a/data/0"), "two members of the name"),
        "two pickles": (
            archive({"a/data.pkl": whole(b"}"), "b/data.pkl": whole(b"}")}), "2 members data.pkl"),
        "names that lead out": (
            archive({"../../data.pkl": whole(b"}"), "/data": b""}), "../../data.pkl"),
        "a name with a NUL": (
            changed(archive({"a/dataXpkl": b""}), b"dataXpkl", b"data\0pkl"), "data?pkl"),
        "a directory beyond its end": (
            set_fields(good, b"PK\5\6", {16: struct.pack("<I", size)}), "ends in the middle"),
        "more members than there are": (set_fields(good, b"PK\5\6", {10: b"\x09"}), "damaged"),
        "65 534 members": (set_fields(good, b"PK\5\6", {10: b"\xfe\xff"}), "65534 members"),
        "ZIP64: 2**63 members": (zip64(2**63, 100, first, -1)(good), "9223372036854775808 members"),
        "ZIP64: beyond its end": (zip64(1, 100, 2**63, -1)(good), "ends in the middle"),
        "ZIP64: its record elsewhere": (zip64(1, 100, first, 0)(good), "ZIP64"),
        "ZIP64: its record beyond the end": (zip64(1, 100, first, 2**64 - 1)(good), "ends"),
        "an end in its comment": (
            set_fields(good, b"PK\5\6", {20: b"\x16"}) + b"PK\5\6" + bytes(17) + b"x", "end is missing"),
        "a comment that is cut": (set_fields(good, b"PK\5\6", {20: b"\x09"}), "end is missing"),
        "bytes before it": (b"PK\3\4" + bytes(40) + good, "directory is damaged"),
        "bytes after it": (good + b"x", "end is missing"),
        "big-endian": (torch_zip(**{"a/byteorder": b"big"}), "big-endian"),
        "TorchScript": (torch_zip(**{"a/constants.pkl": b"", "a/code/x.py": b""}), "TorchScript"),
        "without its storage": (torch_zip(storages={}), "lacks the storage"),
        "Keras": (archive({"metadata.json": b"", "config.json": b""}), "Keras"),
        "numpy": (archive({"a.npy": b""}), "numpy archive"),
        "a document": (archive({"word/document.xml": b""}), "word/document.xml"),
    }  # fmt: skip


def overlapping() -> bytes:
    """A zip whose member b lies inside of member a, with a header of its own there."""
    inner = archive({"a/data/0": bytes(16)})
    inner = inner[: inner.index(b"PK\1\2")]
    outer = archive({"a/data.pkl": inner, "a/data/0": bytes(16)})
    return set_fields(outer, b"PK\1\2", {42: struct.pack("<I", outer.index(inner))})


def broken_streams() -> dict[str, tuple[bytes, str]]:
    tensor = entry("w", tensor_of())
    return {
        "a stream of another version": (stream(tensor, version=1002), "no file that torch.save"),
        "a stream, big-endian": (stream(tensor, little=b"N"), "big-endian"),
        "a stream, another count": (stream(tensor, numel=2**63), "9223372036854775808"),
        "a stream, one byte less": (stream(tensor)[:-1], "ends in the middle"),
        "a stream, one byte more": (stream(tensor) + b"\0", "1 bytes follow"),
        "a stream, no list": (stream(tensor, keys=b"N"), "list of storages is damaged"),
        "a stream, an unknown storage": (stream(tensor, keys=b"](" + text("7") + b"e"), "lists"),
        "a stream, a storage twice": (stream(tensor, keys=b"](" + text("0") * 2 + b"e"), "lists"),
        "a stream, a storage missing": (stream(tensor, keys=b"]", tail=b""), "missing"),
        "a stream, laughs for keys": (stream(tensor, keys=b"](" + laughs() + b"e"), "lists"),
        "a stream of nothing": (stream(b"N"), "lists a storage"),
    }  # fmt: skip


def broken_safetensors() -> dict[str, tuple[bytes, str]]:
    a = stored([4], 0, 16)
    return {
        "safetensors, a giant header": (struct.pack("<Q", 2**40) + b"{}", "header claims"),
        "safetensors, overlapping": (safetensors({"a": a, "b": a}), "safetensors file is damaged"),
        "safetensors, a hole": (safetensors({"a": stored([1], 8, 12)}), "damaged"),
        "safetensors, bytes left over": (safetensors({"a": stored([1], 0, 4)}), "damaged"),
        "safetensors, bytes missing": (safetensors({"a": stored([8], 0, 32)}), "damaged"),
        "safetensors, from behind": (safetensors({"a": stored([4], 16, 0)}), "damaged"),
        "safetensors, an odd type": (safetensors({"a": stored([4], 0, 16, "X9")}), "X9"),
        "safetensors, a negative size": (safetensors({"a": stored([-4], 0, 16)}), "damaged"),
        "safetensors, an overflow": (safetensors({"a": stored([2**33, 2**33], 0, 16)}), "overflow"),
        "safetensors, a name twice": (
            safetensors(b'{"a":%s,"a":%s}' % ((json.dumps(a).encode(),) * 2)), "a name twice"),
        "safetensors, nested": (safetensors(b'{"a":' + b"[" * 100_000), "recursion"),
        "safetensors, no UTF-8": (safetensors(b'{"\xff":{}}  '), "UTF-8"),
        "safetensors, metadata of numbers": (
            safetensors({"__metadata__": {"a": 1}, "a": a}), "damaged"),
        "safetensors, an odd name": (safetensors({"x\n. Y": a}), "odd name"),
        "safetensors, a long name": (safetensors({"x" * 10_000: a}), "odd name"),
        "safetensors, no tensors": (safetensors({"__metadata__": {"sefa": "{}"}}, b""), "no generator"),
    }  # fmt: skip


def broken_networks() -> dict[str, tuple[bytes, str]]:
    weight = {"fc.weight": torch.zeros(4)}

    def with_state(**state: object) -> bytes:
        return nvidia_pickle({"G_ema": PersistentModule("Generator", **state)})

    cycle = PersistentModule("Generator")
    cycle.state["_modules"]["again"] = cycle
    tree = nvidia_module(weight)
    for _ in range(16):  # 2 ** 16 paths lead through it
        above = PersistentModule("Layer")
        above.state["_modules"] = {"a": tree, "b": tree}
        tree = above
    pair = tf_network("Gs", {})
    pair.variables = [("only a name",)]
    values = tf_network("Gs", {})
    values.variables = {"x": 1}
    parts = tf_network("Gs", {"x": np.zeros(3)})
    parts.components = ["synthesis"]
    long = nvidia_module({"x" * 150 + ".y" * 4 + "z" * 80: torch.zeros(1)})
    return {
        "parameters that are no dict": (with_state(_parameters=[1]), "_parameters of its Generator"),
        "modules that are no dict": (with_state(_modules="x"), "_modules of its Generator"),
        "a module in itself": (nvidia_pickle({"G_ema": cycle}), "nested more than 16"),
        "modules in each other": (nvidia_pickle({"G_ema": tree}), "more than"),
        "a name of 250 letters": (nvidia_pickle({"G_ema": long}), "a name of"),
        "a module without weights": (with_state(a=1), "no generator weights"),
        "a module of no state": (
            whole(call(name(TENSOR_MODULE, "_reconstruct_persistent_obj"), b"}")), "does not take"),
        "a module of a list": (
            whole(call(name(TENSOR_MODULE, "_reconstruct_persistent_obj"), b"]")), "does not take"),
        "a TensorFlow StyleGAN": (
            tf_pickle(tf_network("Gs", {}, version=3)), "TensorFlow pickle of version 3"),
        "a TensorFlow network of no version": (
            whole(name("dnnlib.tflib.network", "Network") + b")\x81}b"), "version None"),
        "a TensorFlow network of laughs": (
            whole(name("dnnlib.tflib.network", "Network") + b")\x81"
                  + entry("version", laughs()) + b"b"), "version a tuple"),
        "variables that are no pairs": (tf_pickle(pair), "no name and value"),
        "variables that are no list": (tf_pickle(values), "not a list"),
        "components that are no dict": (tf_pickle(parts), "not a dict"),
    }  # fmt: skip


# --- what wants memory or time --------------------------------------------------------------------


def bombs() -> dict[str, tuple[bytes, str]]:
    """Small files that would take gigabytes or hours of a reader that believes them."""

    def put(index: int) -> bytes:
        return b"r" + struct.pack("<I", index)

    def get(index: int) -> bytes:
        return b"j" + struct.pack("<I", index)

    many = 1_990_000
    f4 = dtype_of(text("f4"))
    megabyte = data(bytes(2**20))
    tuple_of_nones = b"(" + b"N" * 400_000 + b"t"
    again = 100_000

    def arrays() -> bytes:
        """1000 arrays over the same megabyte, 4 GB when each is read for itself."""
        shape = numbers(2**18)
        first = entry("w", megabyte + put(1) + b"0" + array_of(f4, shape, get(1)))
        more = b"".join(text(f"w{i}") + array_of(f4, shape, get(1)) for i in range(1000))
        return whole(first + b"(" + more + b"u")

    def nested_streams() -> bytes:
        inner = stream(storage_of(2**18), tail=struct.pack("<Q", 2**18) + bytes(2**20))
        load = call(name("torch.storage", "_load_from_bytes"), get(1))
        one = tensor_of(load, size=numbers(2**18))
        more = b"".join(text(f"w{i}") + one for i in range(1000))
        return whole(data(inner) + put(1) + b"0}(" + more + b"u")

    def state_of(items: int, modules: int) -> bytes:
        """Modules that share one dict of attributes."""
        state = b"}(" + b"".join(text(f"{i:x}") + b"N" for i in range(items)) + b"u" + put(1) + b"0"
        inner = b"".join(text(f"{i}") + module_of(get(1)) for i in range(modules))
        return whole(state + entry("G_ema", module_of(entry("_modules", b"}(" + inner + b"u"))))

    header = {f"{i:x}": stored([0], 0, 0) for i in range(60_000)}
    directory = b"PK\1\2" + bytes(24) + struct.pack("<HHH", 0, 65_532, 0) + bytes(12)
    directory += bytes(65_532)
    return {
        "sets": (whole(b"\x8f" * many), "damaged"),
        "dicts": (whole(b"(" + b"}K\1Ns" * 390_000 + b"t"), "a tuple"),
        "more objects than are read": (whole(b"(" + b"N" * 2_100_000 + b"t"), "more than"),
        "nested tuples": (whole(b"N" + b"\x85" * many), "a tuple"),
        "nested lists": (whole(b"](" * 490_000 + b"e" * 490_000), "a list"),
        "nested dicts": (whole(b"}N" * 400_000 + b"}" + b"s" * 400_000), "no generator"),
        "memos": (whole(b"N" + b"".join(put(i) for i in range(800_000))), "None"),
        "lines": (whole(b"(" + b"I1\n" * 900_000 + b"t"), "a tuple"),
        "names": (
            whole(b"(" + name("torch", "float32") * 300_000 + b"t"), "a tuple"),
        "texts of a text": (
            whole(text("\xe9" * 500) + put(1) + b"(" + call(
                name("_codecs", "encode"), get(1), text("latin1")) * again + b"t"), "more than"),
        "arguments": (
            whole(tuple_of_nones + put(1) + b"0(" + (name("torch", "device") + get(1) + b"R")
                  * again + b"t"), "more than"),
        "a list of pairs": (
            whole(b"](" + (text("a") + b"N\x86") * 200_000 + b"e" + put(1) + b"0("
                  + call(name("collections", "OrderedDict"), get(1)) * again + b"t"), "more than"),
        "a persistent id": (
            torch_zip(tuple_of_nones + put(1) + b"0(" + (get(1) + b"Q") * again + b"t"), "kind None"),
        "arrays over the same bytes": (arrays(), "claim more numbers than are stored"),
        "streams in the same bytes": (nested_streams(), "claim more numbers than are stored"),
        "attributes of modules": (state_of(100_000, 500), "more than"),
        "a list in place of a set": (
            whole(entry("G_ema", module_of(
                b"}(" + text("_non_persistent_buffers_set") + b"](" + b"K\1" * 300_000 + b"e"
                + text("_buffers") + b"}(" + b"".join(text(f"{i:x}") + b"N" for i in range(20_000))
                + b"uu"))), "no generator"),
        "a text of a million stars": (
            whole(call(name("_codecs", "encode"), text("\U0001f31f" + "a" * 2**22), text("latin1"))),
            "does not take"),
        "weights without numbers": (
            torch_zip(b"}(" + b"".join(
                text(f"{i:x}") + tensor_of(size=numbers(0)) for i in range(60_000)) + b"u"),
            "more than"),
        "safetensors of 60 000 tensors": (safetensors(header, b""), "60000 weights"),
        "safetensors of braces": (
            safetensors(b'{"a":[' + b"{}," * 1_000_000 + b"{}]}", b""), "damaged"),
        "a directory of extra fields": (
            b"PK\3\4" + directory * 150 + b"PK\5\6" + struct.pack(
                "<HHHHIIH", 0, 0, 150, 150, len(directory) * 150, 4, 0), "zip archive"),
        "a zip of 50 000 members": (
            archive({f"a/{i}": b"" for i in range(50_000)}), "not a torch checkpoint"),
    }  # fmt: skip
