"""Reads a page of `sefa.export` back, as a browser would: elements, texts and pixels."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image


class Page(HTMLParser):
    """title, columns (header texts), pairs (sample, semantic), images [rows][steps] of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.text = text
        self.elements = []  # (tag, attributes)
        self.texts = {}  # tag -> the texts of its elements
        self.rows = []  # of the body: [(tag, attributes)] of the cells
        self.images = []  # of the body's rows: [attributes]
        self._open = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.elements.append((tag, attrs))
        if tag == "tr" and "tbody" in self._open:
            self.rows.append([])
            self.images.append([])
        elif tag in ("td", "th") and "tbody" in self._open:
            self.rows[-1].append((tag, attrs))
        elif tag == "img" and self.images:
            self.images[-1].append(attrs)
        if tag not in ("meta", "link", "img", "br", "input"):
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if self._open:
            self.texts[self._open[-1]][-1] += data

    @property
    def title(self) -> str:
        return self.texts["title"][0]

    @property
    def columns(self) -> list[str]:
        """The column headers: two buttons, then the distances."""
        return self.texts["button"] + [text for text in self.texts["th"] if text][: self.steps]

    @property
    def steps(self) -> int:
        return len(self.images[0])

    @property
    def labels(self) -> list[list[str]]:
        """The two header texts of each row ("Sample 000", "Semantic 001"), in the page's order."""
        headers = [text for text in self.texts["th"] if text][self.steps :]
        return [headers[i : i + 2] for i in range(0, len(headers), 2)]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(sample, semantic) of each row, whichever column comes first."""
        pairs = []
        for labels in self.labels:
            number = {label.split()[0]: int(label.split()[1]) for label in labels}
            pairs.append((number["Sample"], number["Semantic"]))
        return pairs

    def strip(self, sample: int, semantic: int) -> np.ndarray:
        """uint8 [S, H, W, 3 or 1]: the images of one row, decoded."""
        return np.stack(
            [decode(image["src"]) for image in self.images[self.pairs.index((sample, semantic))]]
        )


def decode(uri: str) -> np.ndarray:
    """Data URI -> uint8 [H, W, C]."""
    head, data = uri.split(",", 1)
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))
    return pixels[..., None] if pixels.ndim == 2 else pixels
