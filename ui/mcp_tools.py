"""The API as tools for MCP clients: where the package mcp is installed, and what they get to see."""

import base64
import io
import json
import os
from importlib.util import find_spec
from typing import Any

import gradio.mcp
import numpy as np
from PIL import Image

from sefa.export import encode_images, resize_images

IMAGE = "data:image/"
MAX_CHARACTERS = 700_000  # of all images of an answer: desktop clients refuse a megabyte
DIGITS = 6  # of a number: all that a unit vector needs, and half of what a model has to read


def offer_tools() -> bool | None:
    """`launch(mcp_server=...)`: yes where there is mcp, unless GRADIO_MCP_SERVER says otherwise."""
    # Gradio makes its server from this name, and has no other way to say how answers are shown.
    gradio.mcp.GradioMCPServer = Tools
    if "GRADIO_MCP_SERVER" in os.environ:
        return None
    return find_spec("mcp") is not None


class Tools(gradio.mcp.GradioMCPServer):
    """Gradio's MCP server, whose answers are JSON with the images beside it.

    Its own would show data URIs as text, which is of no use to a language model and fills it up.
    """

    def postprocess_output_data(self, data: list[Any], root_url: str) -> list[Any]:
        text, images = answer(data[0] if len(data) == 1 else data)
        blocks = [self.types.TextContent(type="text", text=text)]
        for uri in images:
            mime_type, _, encoded = uri.removeprefix("data:").partition(";base64,")
            blocks.append(self.types.ImageContent(type="image", data=encoded, mimeType=mime_type))
        return blocks


def answer(value: Any) -> tuple[str, list[str]]:
    """What an endpoint returned -> (JSON with "image 1" for the first image, data URIs)."""
    images: list[str] = []

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(v) for key, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        if isinstance(value, str) and value.startswith(IMAGE):
            images.append(value)
            return f"image {len(images)}"
        return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value

    text = json.dumps(plain(value), ensure_ascii=False)
    smaller = fitting(images)
    if smaller is not images:
        text += "\nThe images are smaller here than those of the HTTP API, which are exact."
    return text, smaller


def fitting(uris: list[str], most: int = MAX_CHARACTERS) -> list[str]:
    """Images of one size as they are, where there is room for all; else as JPEGs that fit."""
    if sum(map(len, uris)) <= most:
        return uris
    images = np.stack([decode(uri) for uri in uris])
    size = max(images.shape[1:3])
    while True:
        smaller = encode_images(resize_images(images, size), "jpeg")
        if sum(map(len, smaller)) <= most or size <= 32:
            return smaller
        size //= 2


def decode(uri: str) -> np.ndarray:
    """uint8 [H, W, C] of a data URI."""
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    return image[..., None] if image.ndim == 2 else image
