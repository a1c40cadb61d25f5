"""The page's own HTML, CSS and JavaScript, one file a part.

Scripts of one page share `window.sefa`; what is in it, gallery.js says.
"""

from pathlib import Path


def asset(*names: str) -> str:
    """The texts of these files, one after another."""
    return "\n".join((Path(__file__).parent / name).read_text(encoding="utf-8") for name in names)
