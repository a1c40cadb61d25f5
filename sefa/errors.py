"""Errors whose message is one clear sentence for the person at the keyboard."""

import re


class UserError(ValueError):
    """Something asked for cannot be had; the message says what was found and what was expected.

    Entry points (the page, the command line) show the message as it is, without a traceback.
    """


class CheckpointError(UserError):
    """A file is not a checkpoint we read: damaged, of an unknown kind, or unsafe."""


def show(value: object, length: int = 40) -> str:
    """What a file says, for a message: its repr cut short; of what may be nested, its type.

    A text cannot begin a sentence of its own in it.
    """
    plain = (str, bytes, int, float, type(None))
    short = isinstance(value, list | tuple) and len(value) <= 16
    if isinstance(value, str | bytes):
        text = repr(value[:length])
    elif isinstance(value, plain) or (short and all(isinstance(v, plain[2:]) for v in value)):
        try:
            text = repr(value)
        except ValueError:  # a number of thousands of digits
            return f"a {type(value).__name__}"
    else:
        return f"a {type(value).__name__}"
    return re.sub(r"(?<=[.!?'\")]) ", "_", text[:length])
