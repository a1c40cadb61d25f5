"""Visitors without a browser: they speak to a served page as Gradio's own script does.

    GET / -> config -> session -> load event -> moves: a frame while dragging, a frame on release

A frame on release waits in the queue, whose answers come on the session's one stream of events; a
frame while dragging is a request of its own. Like a page, a client has one request for each event
under way at most, and asks with its newest values once the answer is there.
"""

import asyncio
import json
import random
import re
import time
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import brotli

from ui import controls

API = "/gradio_api"
PATIENCE = 600.0  # seconds until an answer counts as an error
UNITS = (-2.0, 1.0, 3.0)  # to which sliders are moved: few, so that every image can be checked


@dataclass
class Answer:
    """A frame as it came. kind: "live" or "settled"; seconds: since the visitor moved.

    asked: the query of the recipe that was asked for, got: that of the answer; sequence: whether it
    is of the right request; after, before: data URIs.
    """

    kind: str
    seconds: float
    asked: str
    got: str
    sequence: bool
    after: list[str]
    before: list[str] | None


@dataclass
class Record:
    """What happened to all clients of a run, in seconds and counts."""

    answers: list[Answer] = field(default_factory=list)
    skipped: int = 0  # frames while dragging that were left for the release
    coalesced: int = 0  # moves made while the last one was under way: the newest values were sent
    vanished: int = 0
    opened: list[float] = field(default_factory=list)
    switched: list[float] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)  # sentences that said who comes first
    refused: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Clock:
    """Seconds that this process has been running: what it stood still for does not count.

    Machines are suspended, and whoever measures something else on one stops what disturbs; the server
    stands still as long. Asked at least every `most` / 2 seconds, it takes a longer gap for that.
    """

    def __init__(self, most: float = 1.0):
        self.most, self.stood_still, self.times = most, 0.0, 0
        self._last = time.monotonic()

    def __call__(self) -> float:
        found = time.monotonic()
        if (gap := found - self._last) > self.most:
            self.stood_still += gap
            self.times += 1
        self._last = found
        return found - self.stood_still

    async def tick(self) -> None:
        while True:
            self()
            await asyncio.sleep(self.most / 10)

    async def sleep_until(self, due: float) -> None:
        while (left := due - self()) > 0:
            await asyncio.sleep(left)


now = Clock()


class HttpError(Exception):
    pass


class Connection:
    """One HTTP/1.1 connection, kept open between requests."""

    def __init__(self, url: str):
        address = urlsplit(url)
        self.host, self.port = address.hostname, address.port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, method: str, path: str, data: Any = None) -> dict[str, str]:
        """Sends a request; returns the headers of the answer, in lower case."""
        body = b"" if data is None else json.dumps(data).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Accept-Encoding: gzip, deflate, br\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: application/json\r\n\r\n"
        )
        try:
            lines = await self._exchange(head.encode() + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            if self.fresh:
                raise
            self.close()  # it was idle for so long that the server closed it: as browsers do
            lines = await self._exchange(head.encode() + body)
        status = int(lines[0].split()[1])
        pairs = (line.split(":", 1) for line in lines[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        if status != 200:
            text = b"".join([chunk async for chunk in self.chunks(headers)])
            raise HttpError(f"{method} {path}: {status} {unpack(headers, text)[:300]!r}")
        return headers

    async def _exchange(self, request: bytes) -> list[str]:
        """The lines of the answer's head."""
        self.fresh = self.streams is None
        if self.streams is None:
            self.streams = await asyncio.open_connection(self.host, self.port, limit=2**24)
        reader, writer = self.streams
        writer.write(request)
        await writer.drain()
        return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")

    async def chunks(self, headers: dict[str, str]) -> AsyncIterator[bytes]:
        reader, _ = self.streams
        if "content-length" in headers:
            yield await reader.readexactly(int(headers["content-length"]))
            return
        while size := int((await reader.readline()).strip() or b"0", 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)

    async def ask(self, method: str, path: str, data: Any = None) -> bytes:
        headers = await self.send(method, path, data)
        return unpack(headers, b"".join([chunk async for chunk in self.chunks(headers)]))

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


def unpack(headers: dict[str, str], body: bytes) -> bytes:
    kind = headers.get("content-encoding", "")
    if kind == "br":
        return brotli.decompress(body)
    return zlib.decompress(body, 31) if kind == "gzip" else body


class Client:
    """One visitor's page.

    seeds: those that are this visitor's own, so that somebody else's images are noticed.
    """

    def __init__(self, url: str, seeds: list[int], record: Record, chance: random.Random):
        self.url, self.seeds, self.record, self.chance = url, seeds, record, chance
        self.busy = False  # a move is under way
        self.next: tuple[float, bool] | None = None  # a later one: since when, and of what kind
        self.values: dict[int, Any] = {}
        self.number = 0
        self.connection = Connection(url)

    async def open(self) -> None:
        """Opens the page, as it is drawn for a visitor who comes, with this client's first seed."""
        start = now()
        self.connection.close()
        self.session = f"{self.chance.getrandbits(64):x}"
        html = (await self.connection.ask("GET", "/")).decode()
        found = re.search(r"window\.gradio_config = (\{.*?\});</script>", html, re.DOTALL)
        config = json.loads(found[1])
        self.values = {c["id"]: c["props"].get("value") for c in config["components"]}
        names = {c["props"].get("elem_id"): c["id"] for c in config["components"]}
        events = {d["api_name"]: d for d in config["dependencies"]}
        self.follow, self.settle = events["follow"], events["settle_event"]
        self.choose, self.load = events["choose_event"], events["open_link"]
        self.seed, self.model = names["seed"], names["model"]
        self.slider = names["semantic-0"]
        self.number = 0
        self.update(self.load, await self.queued(self.load, []))
        self.values[self.seed] = self.seeds[0]
        await self.draw("settled", now())
        self.record.opened.append(now() - start)

    def update(self, event: dict[str, Any], outputs: list[Any]) -> None:
        """Takes over what an event makes of the controls."""
        for i, output in zip(event["outputs"], outputs, strict=True):
            if not (isinstance(output, dict) and output.get("__type__") == "update"):
                self.values[i] = output
            elif "value" in output:
                self.values[i] = output["value"]

    def inputs(self, event: dict[str, Any], dragging: bool) -> list[Any]:
        """What the page sends: its controls, then the request's number, and whether it is a drag."""
        self.number += 1
        values = [self.values[i] for i in event["inputs"]]
        return [*values[:-2], self.number, dragging]

    async def queued(
        self, event: dict[str, Any], data: list[Any], vanish: bool = False
    ) -> list[Any] | None:
        """The outputs of an event of the queue; None for a client who leaves before they come."""
        body = {
            "data": data,
            "event_data": None,
            "fn_index": event["id"],
            "trigger_id": None,
            "session_hash": self.session,
        }
        joined = json.loads(await self.connection.ask("POST", f"{API}/queue/join", body))
        stream, output, last = Connection(self.url), None, None
        try:
            headers = await stream.send("GET", f"{API}/queue/data?session_hash={self.session}")
            if vanish:
                await asyncio.sleep(self.chance.uniform(0.0, 0.3))
                return None
            async for message in messages(stream, headers):
                kind = message["msg"]
                if kind == "close_stream":
                    break
                if message.get("event_id") != joined["event_id"]:
                    continue
                if kind == "process_generating":
                    output = apply(output, message["output"]["data"])
                    if isinstance(output[0], dict) and output[0].get("waiting"):
                        self.record.waiting.append(output[0]["waiting"])
                    last = output
                elif kind == "process_completed":
                    if not message["success"]:
                        raise HttpError(f"the event failed: {message['output']}")
                    final = message["output"]["data"]
                    last = final if last is None else last
                elif kind == "unexpected_error":
                    raise HttpError(message["message"])
            return last
        finally:
            stream.close()

    async def draw(self, kind: str, since: float, vanish: bool = False) -> bool:
        """Asks for a frame and notes the answer; False for who does not wait for it."""
        event = self.settle if kind == "settled" else self.follow
        data = self.inputs(event, kind == "live")
        number, asked = self.number, data[:-2]
        if kind == "settled":
            outputs = await self.queued(event, data, vanish)
            if outputs is None:
                return False
        else:
            body = {"data": data, "fn_index": event["id"], "session_hash": self.session}
            answer = await self.connection.ask("POST", f"{API}/run/predict", body)
            outputs = json.loads(answer)["data"]
        (frame,) = outputs
        if frame.get("__type__") == "update":
            self.record.skipped += 1
        elif "problem" in frame:
            self.record.refused.append(frame["problem"])
        else:
            self.record.answers.append(
                Answer(
                    kind,
                    now() - since,
                    controls.read(asked).to_query(),
                    frame["query"],
                    frame["sequence"] == number,
                    frame["after"],
                    frame["before"],
                )
            )
        return True

    async def move(self, since: float, vanish: bool) -> None:
        """A slider is dragged and let go, or now and then Random pressed.

        While one is under way, the newest comes after it, as on the page.
        """
        if self.busy:
            self.record.coalesced += self.next is not None
            self.next = self.next or (since, vanish)
            return
        self.busy = True
        try:
            while True:
                await asyncio.wait_for(self._move(since, vanish), PATIENCE)
                if self.next is None:
                    break
                (since, vanish), self.next = self.next, None
        except Exception as error:  # noqa: BLE001 - all are counted
            self.record.errors.append(f"{type(error).__name__}: {error}")
            self.connection.close()
        except asyncio.CancelledError:
            self.connection.close()  # in the middle of an answer
            raise
        finally:
            self.busy = False

    async def _move(self, since: float, vanish: bool) -> None:
        if self.chance.random() < 0.1:
            self.values[self.seed] = self.chance.choice(self.seeds)
        else:
            self.values[self.slider] = self.chance.choice(UNITS)
            await self.draw("live", since)
            since = now()
        if not await self.draw("settled", since, vanish):
            self.record.vanished += 1
            self.connection.close()
            await self.open()

    async def switch(self, model: str) -> None:
        """Chooses another model and draws with it."""
        while self.busy:
            await asyncio.sleep(0.01)
        self.busy, start = True, now()
        try:
            self.values[self.model] = model
            values = [self.values[i] for i in self.choose["inputs"]]
            outputs = await asyncio.wait_for(self.queued(self.choose, values), PATIENCE)
            self.update(self.choose, outputs)
            await asyncio.wait_for(self.draw("settled", now()), PATIENCE)
            self.record.switched.append(now() - start)
        except Exception as error:  # noqa: BLE001
            self.record.errors.append(f"switch: {type(error).__name__}: {error}")
        finally:
            self.busy = False


async def messages(stream: Connection, headers: dict[str, str]) -> AsyncIterator[dict[str, Any]]:
    """The messages of a stream of events."""
    decoder: Callable[[bytes], bytes] = bytes
    if headers.get("content-encoding") == "gzip":
        decoder = zlib.decompressobj(31).decompress
    elif headers.get("content-encoding") == "br":
        decoder = brotli.Decompressor().process
    rest = b""
    async for chunk in stream.chunks(headers):
        *whole, rest = (rest + decoder(chunk)).split(b"\n\n")
        for event in whole:
            yield json.loads(event.removeprefix(b"data: "))


def apply(before: list[Any] | None, data: list[Any]) -> list[Any]:
    """What outputs become by a message of a running event: the first is whole, then differences."""
    if before is None:
        return data
    return [change(value, steps) for value, steps in zip(before, data, strict=True)]


def change(value: Any, steps: list[Any]) -> Any:
    """Gradio's differences: [action, path, value] each."""
    value = json.loads(json.dumps(value))
    for action, path, new in steps:
        if not path:
            value = new if action == "replace" else value + new
            continue
        place = value
        for key in path[:-1]:
            place = place[key]
        key = path[-1]
        if action == "delete":
            del place[key]
        elif action == "append":
            place[key] += new
        elif action == "add" and isinstance(place, list):
            place.insert(int(key), new)
        else:
            place[key] = new
    return value
