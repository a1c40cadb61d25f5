"""A pickle machine that can call nothing: pickle bytes -> plain data and inert objects.

Python's own unpickler imports what a file names and calls it. This one has no access to either: a
name in the file is looked up, exactly, in a table of the caller's, and stands for a function of
ours that takes plain data and returns plain data or an `Inert` object. A name that is not in the
table is refused. Long byte strings stay in the file as `Piece`s.

Opcodes and their meaning: Python's `pickletools`; protocols 0 to 5.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sefa.errors import CheckpointError
from sefa.formats.source import Piece, Source

Names = Mapping[tuple[str, str], Callable[..., Any] | None]

# What the objects of one file may cost: 40 times what NVIDIA's largest pickles have, and at most
# some 500 MB, as an empty set takes 216 bytes. A step is an opcode, an item of a container, 64
# bytes of text; a call takes several, for the objects that our functions make.
MAX_STEPS = 2_000_000
CALL_STEPS = 10
STEP_BYTES = 64
LONG_BYTES = 1024  # byte strings and texts from this length on are not read with the objects
MAX_LINE = 4096
MAX_INTEGER_BYTES = 32
FIRST_CHUNK, LAST_CHUNK = 512, 16384  # bytes read ahead; storages have pickles of 300
CUT_SHORT = "it is damaged or cut short: its pickle ends before it is complete."
KEYS = (str, int, bool, bytes, type(None))  # what a dict's keys may be: hashed in constant time

CHUNK = 2**20
# Looked up here, as Python imports what it finds.
from_unicode_line = codecs.getdecoder("raw_unicode_escape")
Utf8Decoder = codecs.getincrementaldecoder("utf-8")


@dataclass(frozen=True, eq=False, slots=True)
class Global:
    """A name in a pickle: `module`.`name`; `call` is what it stands for, None for a mere token."""

    module: str
    name: str
    call: Callable[..., Any] | None

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Inert:
    """What the functions of a table return in place of an object: holds data, does nothing."""

    kind: str | None = None  # what it stands for, in a few words

    def set_state(self, state: Any) -> None:
        """Takes what the pickle would restore the object with."""
        raise CheckpointError(f"it gives a state to {describe(self)}, which has none.")


@dataclass(frozen=True, eq=False)
class LongText(Inert):
    """A text that was left in the file: UTF-8."""

    kind = "a long text"
    piece: Piece


class Budget:
    """Steps that may still be taken, over all pickles of one file."""

    def __init__(self, steps: int = MAX_STEPS):
        self.steps = steps

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise CheckpointError(f"it holds more than {MAX_STEPS} objects, which no network does.")


def load_pickle(
    piece: Piece,
    names: Names,
    budget: Budget,
    persistent: Callable[[Any], Any] | None = None,
) -> tuple[Any, int]:
    """The object that the pickle at the start of `piece` describes, and the pickle's length.

    `persistent(id)` gives what a persistent id stands for. Raises `CheckpointError`.
    """
    machine = _Machine(piece, names, budget, persistent)
    try:
        return machine.run(), machine.at
    except CheckpointError:
        raise
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error):
        # Nothing but the machine's own steps runs above, so the pickle asked for what cannot be.
        raise CheckpointError(
            f"its pickle is damaged or cut short (at byte {piece.start + machine.opcode_at})."
        ) from None


def describe(value: object) -> str:
    """A value's kind in a few words, for messages."""
    if isinstance(value, Global):
        return shown(value)
    kind = "bytes" if isinstance(value, Piece) else getattr(type(value), "kind", None)
    return kind or ("None" if value is None else f"a {type(value).__name__}")


def shown(name: object, most: int = 80) -> str:
    """A name from a file, fit for a message: short, without spaces, so that it is one word.

    Of anything but texts, numbers and names it tells the kind: what a file holds may be nested so
    that writing it out would never end.
    """
    plain = isinstance(name, (str, int, float, bytes, Global)) or name is None
    text = str(name) if plain else describe(name)
    word = "".join(c if c.isprintable() and c != " " else "?" for c in text[:most])
    return (word if plain else text) + "..." * (len(text) > most)


class _Machine:
    """One pickle being read, through a buffer that holds the bytes from `start` on."""

    def __init__(self, piece: Piece, names: Names, budget: Budget, persistent):
        self.piece, self.names, self.budget, self.persistent = piece, names, budget, persistent
        self.stack: list[Any] = []
        self.stacks: list[list[Any]] = []  # below each mark
        self.memo: dict[int, Any] = {}
        self.globals: dict[tuple[str, str], Global] = {}
        self.buffer, self.start, self.chunk = b"", 0, FIRST_CHUNK
        self.next = self.opcode = 0  # in the buffer: what comes next, the present opcode

    @property
    def at(self) -> int:
        """How many bytes of the pickle are done."""
        return self.start + self.next

    @property
    def opcode_at(self) -> int:
        return self.start + self.opcode

    def run(self) -> Any:
        while True:
            if self.next >= len(self.buffer):
                self.fill(1)
            self.opcode = self.next
            opcode = self.buffer[self.next]
            self.next += 1
            if opcode == 0x2E:  # STOP
                value = self.pop()
                if self.stack or self.stacks:
                    raise ValueError
                return value
            self.budget.spend(1)
            operation = OPERATIONS.get(opcode)
            if operation is None:
                raise CheckpointError(f"its pickle uses the opcode {opcode}, which is not read.")
            operation(self)

    # --- bytes ---

    def fill(self, length: int) -> None:
        """Reads on, so that the buffer has `length` bytes to come, and some more."""
        at, most = self.at, self.piece.length - self.at
        if length > most:
            raise CheckpointError(CUT_SHORT)
        self.buffer = self.piece.part(at, min(most, max(length, self.chunk))).read()
        self.start, self.next, self.opcode = at, 0, self.opcode + self.start - at
        self.chunk = min(2 * self.chunk, LAST_CHUNK)

    def take(self, length: int) -> bytes:
        """The next few bytes."""
        if self.next + length > len(self.buffer):
            self.fill(length)
        first = self.next
        self.next += length
        return self.buffer[first : self.next]

    def take_long(self, length: int) -> bytes | Piece:
        """Bytes, read when they are few."""
        if length < LONG_BYTES:
            self.budget.spend(length // STEP_BYTES)
            return self.take(length)
        piece = self.piece.part(self.at, length)
        self.next += length  # beyond the buffer, perhaps
        return piece

    def byte(self) -> int:
        if self.next >= len(self.buffer):
            self.fill(1)
        self.next += 1
        return self.buffer[self.next - 1]

    def unsigned(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def line(self) -> bytes:
        most = min(MAX_LINE, self.piece.length - self.at)
        if self.next + most > len(self.buffer):
            self.fill(most)
        first = self.next
        end = self.buffer.find(b"\n", first, first + most)
        if end < 0:
            raise ValueError
        self.next = end + 1
        self.budget.spend((end - first) // STEP_BYTES)
        return self.buffer[first:end]

    # --- stack ---

    def pop(self) -> Any:
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        """All that lies above the last mark."""
        items, self.stack = self.stack, self.stacks.pop()
        self.budget.spend(len(items))
        return items

    def push_text(self, length: int) -> None:
        data = self.take_long(length)
        # surrogatepass: so texts of lone surrogates are written
        text = LongText(data) if isinstance(data, Piece) else data.decode("utf-8", "surrogatepass")
        self.stack.append(text)

    def push_old_text(self, length: int) -> None:
        """Python 2's str: a text where it is ASCII, else bytes."""
        data = self.take_long(length)
        is_text = isinstance(data, bytes) and data.isascii()
        self.stack.append(data.decode("ascii") if is_text else data)

    def push_global(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError
        known = self.globals.get((module, name))
        if known is None and (module, name) not in self.names:
            advice = " (save the model's state_dict() instead)" * module.startswith("torch.nn.")
            raise CheckpointError(
                f"it holds {shown(f'{module}.{name}')}, and nothing but plain weights is ever "
                f"loaded{advice}."
            )
        if known is None:
            known = Global(module, name, self.names[module, name])
            self.globals[module, name] = known
        self.stack.append(known)

    def call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Global):
            raise CheckpointError(f"its pickle calls {describe(function)}, which is no function.")
        if not isinstance(arguments, tuple):
            raise CheckpointError(
                f"its pickle calls {shown(function)} with {describe(arguments)} for arguments."
            )
        if function.call is None:
            raise CheckpointError(f"its pickle calls {shown(function)}, which is not read so.")
        # One memoised argument may be given many times: each time it is looked through.
        self.budget.spend(CALL_STEPS + len(arguments))
        for argument in arguments:
            if isinstance(argument, (list, tuple, set, frozenset, dict)):
                self.budget.spend(len(argument))
            elif isinstance(argument, (str, bytes)):
                self.budget.spend(len(argument) // STEP_BYTES)
        try:
            return function.call(*arguments)
        except CheckpointError:
            raise
        except (TypeError, ValueError, KeyError, IndexError, OverflowError, struct.error):
            raise CheckpointError(
                f"its pickle gives {shown(function)} arguments that it does not take."
            ) from None

    # --- what opcodes do ---

    def frame(self) -> None:
        if self.unsigned(8) > self.piece.length - self.at:
            raise CheckpointError(CUT_SHORT)

    def proto(self) -> None:
        if (version := self.byte()) > 5:
            raise CheckpointError(f"its pickle has protocol {version}; 0 to 5 are read.")

    def mark(self) -> None:
        self.stacks.append(self.stack)
        self.stack = []

    def pop_one(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.stack = self.stacks.pop()

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def integer(self) -> None:
        """INT and LONG: decimal digits; INT writes booleans as 00 and 01."""
        line = self.line()
        if not re.fullmatch(rb"[+-]?[0-9]{1,40}L?", line):
            raise ValueError
        value = {b"00": False, b"01": True}.get(line)
        self.stack.append(int(line.rstrip(b"L")) if value is None else value)

    def long(self, size: int) -> None:
        if size > MAX_INTEGER_BYTES:
            raise CheckpointError(f"its pickle has an integer of {size} bytes.")
        self.stack.append(int.from_bytes(self.take(size), "little", signed=True))

    def float_line(self) -> None:
        self.stack.append(float(self.line()[:64]))

    def unicode_line(self) -> None:
        self.stack.append(from_unicode_line(self.line())[0])

    def string_line(self) -> None:
        """Protocol 0's str, quoted; escapes are not read."""
        line = self.line()
        if len(line) < 2 or line[:1] not in b"'\"" or line[-1:] != line[:1] or b"\\" in line:
            raise ValueError
        self.stack.append(line[1:-1].decode("ascii"))

    def bytearray(self) -> None:
        self.stack.append(self.take_long(self.unsigned(8)))

    def tuple_of(self, count: int) -> None:
        if count > len(self.stack):
            raise IndexError
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(items)

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise CheckpointError(f"its pickle appends to {describe(target)}.")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise CheckpointError(f"its pickle sets items of {describe(target)}.")
        if len(items) % 2:
            raise ValueError
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    def add_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, set):
            raise CheckpointError(f"its pickle adds to {describe(target)}.")
        target.update(map(checked_key, items))

    def global_line(self) -> None:
        module, name = (self.line().decode("utf-8") for _ in range(2))
        self.push_global(module, name)

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.push_global(module, name)

    def instance(self) -> None:
        """INST: a class by name, called with what is above the mark."""
        self.global_line()
        function = self.pop()
        self.stack.append(self.call(function, tuple(self.pop_mark())))

    def object(self) -> None:
        """OBJ: as INST, the class being the first above the mark."""
        function, *arguments = self.pop_mark()
        self.stack.append(self.call(function, tuple(arguments)))

    def reduce(self) -> None:
        """REDUCE and NEWOBJ: both only ever call a function of ours."""
        arguments, function = self.pop(), self.pop()
        self.stack.append(self.call(function, arguments))

    def new_with_keywords(self) -> None:
        keywords, arguments, function = self.pop(), self.pop(), self.pop()
        if keywords != {}:
            raise ValueError
        self.stack.append(self.call(function, arguments))

    def build(self) -> None:
        state, target = self.pop(), self.stack[-1]
        self.budget.spend(CALL_STEPS)
        if isinstance(target, Inert):
            try:
                target.set_state(state)
            except CheckpointError:
                raise
            except (TypeError, ValueError, KeyError, IndexError, OverflowError):
                raise CheckpointError(
                    f"its pickle gives {describe(target)} a state of another form."
                ) from None
        elif not isinstance(target, dict):  # a dict's attributes, such as torch's _metadata
            raise CheckpointError(f"its pickle gives a state to {describe(target)}.")

    def persistent_id(self) -> None:
        if self.persistent is None:
            raise CheckpointError("its pickle refers to an object that lies outside of it.")
        self.budget.spend(CALL_STEPS)
        self.stack.append(self.persistent(self.pop()))


def checked_key(key: Any) -> Any:
    """A key of a dict or set; refuses what takes long to hash, such as nested tuples."""
    if type(key) not in KEYS or (type(key) is int and abs(key) >> 60):
        raise CheckpointError(f"one of its dicts has {describe(key)} as a key.")
    return key


def _push(make: Callable[[], Any]) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(make())


def _number(layout: str) -> Callable[[_Machine], None]:
    size = struct.calcsize(layout)
    return lambda m: m.stack.append(struct.unpack(layout, m.take(size))[0])


OPERATIONS: dict[int, Callable[[_Machine], None]] = {
    # structure
    0x80: _Machine.proto,
    0x95: _Machine.frame,
    ord("("): _Machine.mark,
    ord("0"): _Machine.pop_one,
    ord("1"): lambda m: m.pop_mark() and None,
    ord("2"): lambda m: m.stack.append(m.stack[-1]),
    # memo
    ord("g"): lambda m: m.get(int(m.line()[:20])),
    ord("h"): lambda m: m.get(m.byte()),
    ord("j"): lambda m: m.get(m.unsigned(4)),
    ord("p"): lambda m: m.put(int(m.line()[:20])),
    ord("q"): lambda m: m.put(m.byte()),
    ord("r"): lambda m: m.put(m.unsigned(4)),
    0x94: lambda m: m.put(len(m.memo)),
    # constants and numbers
    ord("N"): _push(lambda: None),
    0x88: _push(lambda: True),
    0x89: _push(lambda: False),
    ord("I"): _Machine.integer,
    ord("L"): _Machine.integer,
    ord("J"): _number("<i"),
    ord("K"): _number("<B"),
    ord("M"): _number("<H"),
    0x8A: lambda m: m.long(m.byte()),
    0x8B: lambda m: m.long(m.unsigned(4)),
    ord("F"): _Machine.float_line,
    ord("G"): _number(">d"),
    # texts and bytes
    ord("V"): _Machine.unicode_line,
    0x8C: lambda m: m.push_text(m.byte()),
    ord("X"): lambda m: m.push_text(m.unsigned(4)),
    0x8D: lambda m: m.push_text(m.unsigned(8)),
    ord("S"): _Machine.string_line,
    ord("U"): lambda m: m.push_old_text(m.byte()),
    ord("T"): lambda m: m.push_old_text(m.unsigned(4)),
    ord("C"): lambda m: m.stack.append(m.take_long(m.byte())),
    ord("B"): lambda m: m.stack.append(m.take_long(m.unsigned(4))),
    0x8E: lambda m: m.stack.append(m.take_long(m.unsigned(8))),
    0x96: _Machine.bytearray,
    # containers
    ord("]"): _push(list),
    ord("}"): _push(dict),
    0x8F: _push(set),
    ord(")"): _push(tuple),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("t"): lambda m: _wrap(m, tuple),
    ord("l"): lambda m: _wrap(m, list),
    ord("d"): lambda m: _wrap_dict(m),
    0x91: lambda m: _wrap(m, lambda items: frozenset(map(checked_key, items))),
    ord("a"): lambda m: m.append([m.pop()]),
    ord("e"): lambda m: m.append(m.pop_mark()),
    ord("s"): lambda m: _set_item(m),
    ord("u"): lambda m: m.set_items(m.pop_mark()),
    0x90: lambda m: m.add_items(m.pop_mark()),
    # names and objects
    ord("c"): _Machine.global_line,
    0x93: _Machine.stack_global,
    ord("i"): _Machine.instance,
    ord("o"): _Machine.object,
    ord("R"): _Machine.reduce,
    0x81: _Machine.reduce,
    0x92: _Machine.new_with_keywords,
    ord("b"): _Machine.build,
    ord("Q"): _Machine.persistent_id,
}


def _wrap(machine: _Machine, make: Callable[[list[Any]], Any]) -> None:
    items = machine.pop_mark()
    machine.stack.append(make(items))


def _wrap_dict(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.stack.append({})
    machine.set_items(items)


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


class TextEncoder:
    """`_codecs.encode`: how protocols up to 2 write bytes, each as the character of its number.

    A long text is decoded once, however often a pickle may ask for it.
    """

    def __init__(self):
        self._done: dict[Piece, Piece] = {}

    def __call__(self, text: Any, encoding: Any) -> bytes | Piece:
        if encoding != "latin1":
            raise ValueError
        if isinstance(text, str):
            return text.encode("latin1")
        if not isinstance(text, LongText):
            raise TypeError
        piece = text.piece
        if piece not in self._done:
            data, decoder = bytearray(), Utf8Decoder()
            for at in range(0, piece.length, CHUNK):  # as text all of it would be up to 4 times
                chunk = piece.part(at, min(CHUNK, piece.length - at)).read()
                data += decoder.decode(chunk, at + CHUNK >= piece.length).encode("latin1")
            self._done[piece] = Source.of(data).whole()
        return self._done[piece]
