"""The page served as a visitor gets it, and a browser's options: for tests, scripts, benchmarks."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM_OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Server:
    """`python app.py` in a process of its own, on a free port.

    program: what is run in its place, a whole program that ends with `app.main()`.
    """

    def __init__(self, program: str = "", **environment: str):
        self.started = time.monotonic()
        self.output: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-u", *(["-c", program] if program else ["app.py"])],
            cwd=ROOT,
            env={**os.environ, "GRADIO_SERVER_PORT": str(free_port()), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        ready = threading.Event()
        threading.Thread(target=self._read, args=[ready], daemon=True).start()
        if not ready.wait(120) or self.url is None:
            self.stop()
            raise RuntimeError("the page was not served:\n" + "".join(self.output))

    url: str | None = None

    def _read(self, ready: threading.Event) -> None:
        for line in self.process.stdout:
            self.output.append(line)
            if match := re.search(r"(http://[\w.:]+)", line):
                self.url = self.url or match[1]
                self.ready = time.monotonic()
                ready.set()
        ready.set()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
