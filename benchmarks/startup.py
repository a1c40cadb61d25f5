"""How soon a page that was just started is there: `python benchmarks/startup.py [--rounds 5]`.

By turns, each in a process of its own: `import torch, gradio`, which nothing here can shorten, and
`python app.py` with the embedded model, until the page answers with the first gallery in it, and
until a browser that was running before has that gallery's images decoded. A third process tells
how long each part of the start takes. Printed are medians in seconds, and last, in one line, how
much longer than the imports it takes. Needs chromium.
"""

import argparse
import importlib
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

IMPORTS = "import torch, gradio"
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "SEFA_MODELS": "", "SEFA_DEVICE": "cpu"}
EVERY_S = 0.02  # how often a port is asked whether somebody listens
DECODED = """() => {
    const images = [...document.querySelectorAll('#gallery img.after')];
    return images.length > 0 && images.every(image => image.complete && image.naturalWidth);
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="of both, by turns")
    parser.add_argument("--parts", action="store_true", help="only the parts, in this process")
    options = parser.parse_args()
    if options.parts:
        print(" ".join(f"{name}={seconds:.3f}" for name, seconds in parts()))
        return

    from playwright.sync_api import sync_playwright

    from tests.serving import CHROMIUM_OPTIONS

    alone, library, told, answers, galleries = [], [], [], [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=CHROMIUM_OPTIONS
        )
        for i in range(options.rounds + 1):
            row = imported(IMPORTS), imported("import sefa"), told_parts(), *served(browser)
            if i == 0:
                continue  # the first round reads files that later ones find in memory
            for column, value in zip((alone, library, told, answers, galleries), row, strict=True):
                column.append(value)
            print(f"imports={row[0]:.2f} page={row[3]:.2f} gallery={row[4]:.2f}", flush=True)
        browser.close()
    middle = {name: statistics.median(part[name] for part in told) for name in told[0]}
    print("parts: " + " ".join(f"{name}={seconds:.2f}s" for name, seconds in middle.items()))
    print(f"import_sefa={statistics.median(library):.2f}s")
    after = [page - seconds for page, seconds in zip(answers, alone, strict=True)]
    shown = [gallery - seconds for gallery, seconds in zip(galleries, alone, strict=True)]
    print(
        f"first_gallery_after_imports={statistics.median(shown):.2f}s "
        f"page_after_imports={statistics.median(after):.2f}s "
        f"imports={statistics.median(alone):.2f}s"
    )


def imported(statement: str) -> float:
    """Seconds from the start of a fresh process until this statement has run, without its end."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-uc", f"{statement}; print('done')"],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        text=True,
    )
    if process.stdout.readline() != "done\n":
        raise SystemExit(f"{statement!r} does not run.")
    seconds = time.perf_counter() - start
    process.communicate()
    return seconds


def served(browser) -> tuple[float, float]:
    """Seconds from the start of `python app.py` to its page, and to the first gallery decoded."""
    from tests.serving import free_port

    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT, "GRADIO_SERVER_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        text = first_answer(url, process)
        answered = time.perf_counter() - start
        if "data:image/" not in text:
            raise SystemExit("The page answers without its first gallery.")
        page.goto(url, wait_until="commit")
        page.wait_for_function(DECODED)
        return answered, time.perf_counter() - start
    finally:
        context.close()
        process.terminate()
        process.wait()


def first_answer(url: str, process: subprocess.Popen) -> str:
    """The page, as soon as it is served."""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return answer.read().decode()
        except OSError:
            time.sleep(EVERY_S)
    raise SystemExit("The page ended before it was served.")


def told_parts() -> dict[str, float]:
    """`parts` of a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--parts"],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=True,
    )
    line = done.stdout.splitlines()[-1]
    return {name: float(seconds) for name, seconds in (part.split("=") for part in line.split())}


def parts() -> list[tuple[str, float]]:
    """(what, seconds) of the start, in the order of `app.main`, in this process."""
    times = [("", time.perf_counter())]

    def done(name: str) -> None:
        times.append((name, time.perf_counter()))

    for name in ("torch", "gradio"):
        importlib.import_module(name)
        done(name)
    import app

    done("ours")
    from ui import engine

    engine.open_model(engine.EMBEDDED)
    done("model")
    engine.frames(*first_look_of(engine))
    done("first_image")
    blocks = app.build_page()
    done("page")
    app.serve(blocks, prevent_thread_lock=True)
    done("launch")
    blocks.close(verbose=False)
    return [(name, at - times[i][1]) for i, (name, at) in enumerate(times[1:])]


def first_look_of(engine) -> tuple:
    from ui.controls import first_look

    model = engine.open_model(engine.EMBEDDED)
    return model, first_look(model)


if __name__ == "__main__":
    main()
