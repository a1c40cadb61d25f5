"""Errors whose message is one clear sentence for the person at the keyboard."""


class UserError(ValueError):
    """Something asked for cannot be had; the message says what was found and what was expected.

    Entry points (the page, the command line) show the message as it is, without a traceback.
    """


class CheckpointError(UserError):
    """A file is not a checkpoint we read: damaged, of an unknown kind, or unsafe."""


def show(value: object, length: int = 40) -> str:
    """What a file says, for a message: its repr cut short, or its type where it has none."""
    try:
        return repr(value)[:length]
    except (ValueError, RecursionError):  # a number of thousands of digits, a list in itself
        return f"a {type(value).__name__}"
