"""The API as MCP tools: what a language model gets to see; and the page where there is no mcp."""

import asyncio
import base64
import io
import json
import threading
import urllib.error
import urllib.request
from importlib.util import find_spec

import numpy as np
import pytest
from gradio_client import Client
from PIL import Image

from sefa.export import encode_images
from tests.conftest import missing
from tests.helpers import is_one_sentence
from tests.serving import ROOT, Server
from ui import mcp_tools
from ui.mcp_tools import MAX_CHARACTERS, answer, fitting

TOOLS = ["models", "factorize", "recipe", "edit", "strip"]


def ask(server, *calls):
    """(tools, resources, prompts, the result of each (tool, arguments)) as a client gets them."""
    if find_spec("mcp") is None:
        missing("the package mcp is not installed")
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def session() -> tuple:
        url = f"{server.url}/gradio_api/mcp/"
        async with streamable_http_client(url) as (read, write, _), ClientSession(read, write) as s:
            await s.initialize()
            tools, resources = (await s.list_tools()).tools, (await s.list_resources()).resources
            prompts = (await s.list_prompts()).prompts
            return tools, resources, prompts, [await s.call_tool(*call) for call in calls]

    found: list = []
    # A thread of its own: playwright's loop may be running in this one.
    thread = threading.Thread(target=lambda: found.append(asyncio.run(session())))
    thread.start()
    thread.join(120)
    assert found, "no answer came"
    return found[0]


def texts_and_images(result) -> tuple[list[str], list[np.ndarray]]:
    assert not result.isError, result
    texts = [block.text for block in result.content if block.type == "text"]
    images = [block for block in result.content if block.type == "image"]
    decoded = [np.asarray(Image.open(io.BytesIO(base64.b64decode(i.data)))) for i in images]
    assert all(block.mimeType == "image/png" for block in images)
    return texts, decoded


def test_the_tools_are_the_public_endpoints_and_nothing_else(server):
    hidden = ["follow", "settle", "choose_event", "open_link", "rename", "draw_strips"]
    tools, resources, prompts, results = ask(server, *((name, {}) for name in hidden))
    assert [tool.name for tool in tools] == TOOLS and not resources and not prompts
    assert all(result.isError for result in results)
    for tool in tools:
        assert ". Returns: " in tool.description
        for parameter in tool.inputSchema["properties"].values():
            assert parameter["description"] and ("type" in parameter or "oneOf" in parameter)
        assert "required" not in tool.inputSchema
    schema = urllib.request.urlopen(f"{server.url}/gradio_api/mcp/schema", timeout=30)
    assert [tool["name"] for tool in json.load(schema)] == TOOLS


def test_answers_are_json_with_the_images_beside_it(server):
    client = Client(server.url, verbose=False)
    query = "seed=44&n=2&edits=0-1:3:2"
    calls = [
        ("models", {}),
        ("factorize", {"num_semantics": 2}),
        ("recipe", {"recipe": query}),
        ("edit", {"recipe": query}),
        ("strip", {"semantic": 1, "steps": 3}),
    ]
    for (name, arguments), result in zip(calls, ask(server, *calls)[3], strict=True):
        expected = client.predict(**arguments, api_name=f"/{name}")
        (text,), images = texts_and_images(result)
        told, uris = json.loads(text), []
        if name == "factorize":
            del told["seconds"], expected["seconds"]
            np.testing.assert_allclose(told.pop("vectors"), expected.pop("vectors"), rtol=1e-5)
            told["eigenvalues"] = expected["eigenvalues"] = []
        elif name == "edit":
            uris, expected = expected, ["image 1", "image 2"]
        elif name == "strip":
            uris, expected["frames"] = expected["frames"], ["image 1", "image 2", "image 3"]
        assert told == expected
        assert len(images) == len(uris)
        for image, uri in zip(images, uris, strict=True):
            exact = mcp_tools.decode(uri).astype(int)
            assert np.abs(image - exact).max() <= 1


def test_a_wrong_input_is_one_sentence(server):
    wrong = [
        ("edit", {"layers": "99"}),
        ("edit", {"recipe": "avatars"}),
        ("strip", {"model": "/etc/passwd"}),
        ("recipe", {"seed": -1}),
    ]
    for result in ask(server, *wrong)[3]:
        (block,) = result.content
        assert result.isError and is_one_sentence(block.text), block.text
    (result,) = ask(server, ("edit", {"layers": 3}))[3]  # the package's own
    assert result.isError and "3 is not of type 'string'" in result.content[0].text


# --- without a server -----------------------------------------------------------------------------


def test_an_answer_is_json():
    uris = encode_images(np.zeros((2, 8, 8, 3), np.uint8), "png")
    text, images = answer({"a": [1.23456789, None, True, 7], "b": uris, "c": {"ü": uris[0]}})
    assert json.loads(text) == {
        "a": [1.23457, None, True, 7],
        "b": ["image 1", "image 2"],
        "c": {"ü": "image 3"},
    }
    assert images == [*uris, uris[0]]


@pytest.mark.parametrize(("count", "size", "channels"), [(2, 1024, 3), (25, 512, 3), (16, 512, 1)])
def test_large_images_are_made_to_fit(count, size, channels):
    """Noise, which no format makes small."""
    noise = np.random.RandomState(0).randint(0, 256, (count, size, size, channels), np.uint8)
    text, images = answer(encode_images(noise, "png"))
    assert text.count("image ") == count and "\nThe images are smaller here" in text
    assert sum(map(len, images)) <= MAX_CHARACTERS and len(images) == count
    shapes = {mcp_tools.decode(uri).shape for uri in images}
    ((height, width, _),) = shapes
    assert height == width and 32 <= height <= size
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in images)
    assert fitting(images) is images


def test_mcp_is_served_where_it_is_installed(monkeypatch):
    monkeypatch.setattr("gradio.mcp.GradioMCPServer", None)
    monkeypatch.delenv("GRADIO_MCP_SERVER", raising=False)
    for spec in (None, object()):
        monkeypatch.setattr(mcp_tools, "find_spec", lambda name, spec=spec: spec)
        assert mcp_tools.offer_tools() is (spec is not None)
    monkeypatch.setenv("GRADIO_MCP_SERVER", "false")
    assert mcp_tools.offer_tools() is None  # Gradio reads it


def test_the_page_and_the_api_need_no_mcp(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['mcp'] = None\n")
    page = Server(
        HF_HUB_OFFLINE="1",
        SEFA_MODELS="",
        SEFA_DEVICE="cpu",
        SEFA_MEASURE_SECONDS="0",
        PYTHONPATH=f"{tmp_path}:{ROOT}",
    )
    try:
        assert len(Client(page.url, verbose=False).predict(api_name="/edit")) == 1
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{page.url}/gradio_api/mcp/schema", timeout=30)
        assert "mcp" not in "".join(page.output).lower()
    finally:
        page.stop()
