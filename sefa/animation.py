"""Animations of an edit: which images follow each other, and one file that plays them.

    recipe, moves -> plan -> recipes, one a frame -> draw_frames -> [T, H, W, C] -> encode_animation

Each move swings one direction, the others stay where the recipe has them.
"""

from __future__ import annotations

import io
import itertools
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from sefa.editing import MAX_ALPHA, Edit, Recipe, in_order
from sefa.errors import UserError
from sefa.export import to_pil
from sefa.pictures import GAP, columns, grid

FORMATS = ("mp4", "webp", "gif")
MIN_FRAMES = 4  # of one move
MAX_FRAMES = 600  # of all moves together
MAX_PIXELS = 2**28  # of all frames together: 256 of 1024 px, 0.8 GB in memory
MAX_FPS = 60.0
MAX_GIF_FPS = 50.0  # browsers slow down a GIF that is faster
MAX_VIDEO_SIDE = 4096  # pixels, beyond which many players have no H.264 decoder
CRF = 18  # x264's scale of quality: no difference is seen
WEBP_QUALITY = 90

# How a move goes from one end (0) to the other (1): e(0) = 0, e(1) = 1, never back, and the same
# from either end: e(1 - t) = 1 - e(t).
EASINGS: dict[str, Callable[[float], float]] = {
    "smooth": lambda t: 0.5 - 0.5 * math.cos(math.pi * t),  # slows down at the ends, as a pendulum
    "linear": lambda t: t,  # at one speed, as an even strip of images
    "cubic": lambda t: 4 * t**3 if t < 0.5 else 1 - 4 * (1 - t) ** 3,  # rests longer at the ends
}


# ----------------------------------------------------------------------------- the plan


def path(frames: int, easing: str = "smooth", loop: bool = True, start: float = 0.0) -> list[float]:
    """Where each frame of one move is, from -1 to 1.

    loop: from `start` (-1 to 1) to 1, to -1 and back, the first frame following on the last: with
    "smooth" a sine. Otherwise from -1 to 1 once, both included. `easing`: one of EASINGS. Raises
    `UserError` for another, or fewer than MIN_FRAMES or more than MAX_FRAMES.
    """
    if easing not in EASINGS:
        raise UserError(f"The easing is one of {', '.join(EASINGS)}, not {easing[:40]!r}.")
    if not MIN_FRAMES <= frames <= MAX_FRAMES:
        raise UserError(f"A move takes {MIN_FRAMES} to {MAX_FRAMES} frames, not {frames}.")
    ease = EASINGS[easing]
    if not loop:
        return [_rounded(2 * ease(i / (frames - 1)) - 1) for i in range(frames)]

    def swing(t: float) -> float:  # -1 at 0, 1 at 1/2, -1 at 1
        t %= 1
        return 2 * ease(2 * t) - 1 if t < 0.5 else 1 - 2 * ease(2 * t - 1)

    begin = _inverse(ease, (start + 1) / 2) / 2
    return [start] + [_rounded(swing(begin + i / frames)) for i in range(1, frames)]


def _rounded(position: float) -> float:
    """So that there and back meet the same positions, and the middle is 0 itself."""
    return round(position, 9) + 0.0


def _inverse(ease: Callable[[float], float], value: float) -> float:
    """t in [0, 1] with ease(t) = value, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if ease(middle) < value else (low, middle)
    return (low + high) / 2


def plan(
    recipe: Recipe,
    moves: Sequence[Edit],
    frames: int,
    easing: str = "smooth",
    loop: bool = True,
) -> list[Recipe]:
    """The recipe of each frame: `frames` for every move, one move after the other.

    moves: a direction and how far to go, alpha; it swings between alpha and -alpha, or as far as
    the recipe already is where that is farther. All else stays as the recipe has it. `loop` starts
    with the recipe itself, goes to alpha first, and comes back: see `path`. Otherwise each
    move goes from -alpha to alpha once. Raises `UserError` for no move, one of alpha 0 that the
    recipe does not have either, or too many frames.
    """
    if not moves:
        raise UserError("An animation needs at least one direction to move along.")
    if frames * len(moves) > MAX_FRAMES:
        raise UserError(
            f"{len(moves)} moves of {frames} frames are more than {MAX_FRAMES} frames in all."
        )
    recipes = []
    for move in moves:
        now = sum(change.alpha for change in recipe.edits if same_direction(change, move))
        far = move.alpha if abs(move.alpha) >= abs(now) else now
        if far == 0 or abs(far) > MAX_ALPHA:
            raise UserError(
                f"A move goes up to an alpha that is not 0, of at most {MAX_ALPHA:g}, not {far:g}."
            )
        positions = path(frames, easing, loop, now / far)
        recipes += [moved(recipe, move, _rounded(far * position)) for position in positions]
        if loop:
            recipes[-frames] = recipe  # itself, whatever the last bits of now / far * far
    return recipes


def moved(recipe: Recipe, move: Edit, alpha: float) -> Recipe:
    """The recipe with the direction of `move` at `alpha`, and all other edits as they are."""
    edits, done = [], False
    for change in recipe.edits:
        if not same_direction(change, move):
            edits.append(change)
        elif not done:
            edits.append(replace(change, alpha=alpha))
            done = True
    if not done:
        edits.append(replace(move, alpha=alpha))
    return replace(recipe, edits=tuple(change for change in edits if change.alpha))


def same_direction(one: Edit, other: Edit) -> bool:
    """Whether two edits go along the same direction in the same layers."""
    return (one.layers, in_order(one.direction)) == (other.layers, in_order(other.direction))


# ----------------------------------------------------------------------------- the frames


def draw_frames(
    recipes: Sequence[Recipe],
    images: Callable[[Recipe], np.ndarray],
    gap: int = GAP,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """uint8 [T, H, W, C]: the frames of a plan, each the `grid` of its samples.

    images: recipe -> uint8 [N, h, w, C], such as `LoadedModel.images`; asked once for recipes that
    come back. `progress(done, total)` is called after each. Raises `UserError` for more than
    MAX_PIXELS, after the first.
    """
    drawn: dict[Recipe, np.ndarray] = {}
    distinct = len(set(recipes))
    for recipe in recipes:
        if recipe not in drawn:
            drawn[recipe] = grid(images(recipe), gap)
            check_size(len(recipes), *drawn[recipe].shape[:2])
            if progress is not None:
                progress(len(drawn), distinct)
    return np.stack([drawn[recipe] for recipe in recipes])


def frame_size(resolution: int, num_samples: int, gap: int = GAP) -> tuple[int, int]:
    """(height, width) of a frame that shows `num_samples` square images of `resolution` pixels."""
    across = columns(num_samples)
    down = -(-num_samples // across)
    return down * (resolution + gap) - gap, across * (resolution + gap) - gap


def check_size(frames: int, height: int, width: int) -> None:
    """Raises `UserError` for an animation of more than MAX_FRAMES frames or MAX_PIXELS pixels."""
    if not 1 <= frames <= MAX_FRAMES:
        raise UserError(f"An animation has 1 to {MAX_FRAMES} frames, not {frames}.")
    if frames * height * width > MAX_PIXELS:
        fit = MAX_PIXELS // (height * width)
        raise UserError(
            f"{frames} frames of {width} x {height} pixels are too large for one animation: "
            f"{fit} would fit, or fewer samples."
        )


# ----------------------------------------------------------------------------- the file


def check_animation(format: str, fps: float, frames: int, height: int, width: int) -> None:
    """Raises `UserError` for what `encode_animation` would not write, before anything is drawn."""
    if format not in FORMATS:
        raise UserError(f"An animation is one of {', '.join(FORMATS)}, not {format[:40]!r}.")
    fastest = MAX_GIF_FPS if format == "gif" else MAX_FPS
    if not 1 <= fps <= fastest:  # false for NaN
        raise UserError(f"A {format} shows 1 to {fastest:g} frames a second, not {fps:g}.")
    check_size(frames, height, width)
    if format == "mp4" and max(height, width) > MAX_VIDEO_SIDE:
        raise UserError(
            f"A video of {width} x {height} pixels is more than players take, "
            f"{MAX_VIDEO_SIDE} a side: choose fewer samples."
        )


def encode_animation(
    images: np.ndarray, format: str, fps: float = 30.0, loop: bool = True
) -> bytes:
    """A file that shows images uint8 [T, H, W, C], C 1 (grey) or 3 (RGB), one every 1 / fps s.

    "mp4"   H.264, 4:2:0, for every browser. A side of an odd length gets its last row or column
            twice. Nothing in it says whether to loop: that is for the player to be told.
    "webp"  lossy, in colour; "gif": 256 colours for all frames together, dithered (grey is exact),
            and times in hundredths of a second, so some frames last longer than others. Either
            plays for ever with `loop`, else once. A frame like the one before prolongs that one;
            a WebP of nothing else is a still image.

    Raises `UserError` for another format, fps that is not 1 to MAX_FPS (a GIF's: MAX_GIF_FPS),
    too large an animation (`check_size`; a side of a video: MAX_VIDEO_SIDE), or where this machine
    cannot write H.264; ValueError for an array of another kind.
    """
    if images.ndim != 4 or images.shape[3] not in (1, 3) or images.dtype != np.uint8:
        raise ValueError(
            f"expected uint8 [T, H, W, 1 or 3], found {images.dtype} {list(images.shape)}"
        )
    check_animation(format, fps, *images.shape[:3])
    if format == "mp4":
        return _mp4(images, fps)
    return _gif(images, fps, loop) if format == "gif" else _webp(images, fps, loop)


def durations(frames: int, fps: float, unit: int) -> list[int]:
    """Milliseconds of each frame, multiples of `unit`, which add up to frames / fps as nearly as
    they can."""
    ends = [round(i * 1000 / fps / unit) * unit for i in range(frames + 1)]
    return [end - begin for begin, end in itertools.pairwise(ends)]


def _gif(images: np.ndarray, fps: float, loop: bool) -> bytes:
    frames = [to_pil(image) for image in images]
    if images.shape[3] == 3:
        # One palette, so that what stays the same does not flicker.
        some = images[np.linspace(0, len(images) - 1, min(len(images), 16)).astype(int)]
        step = max(1, round(math.sqrt(some.size / 3 / 2**16)))  # 65536 pixels are enough
        sample = to_pil(np.concatenate(some[:, ::step, ::step]))
        # Of Pillow's ways, the one that keeps rare and vivid colours: an eye, a shirt. (Refining it by
        # k-means takes half a minute for a million pixels, and is no nearer.)
        palette = sample.quantize(256, Image.Quantize.MAXCOVERAGE)
        frames = [frame.quantize(palette=palette) for frame in frames]
    again = {"loop": 0} if loop else {}  # without the entry, a GIF plays once
    return _animated(frames, "GIF", durations(len(images), fps, 10), **again)


def _webp(images: np.ndarray, fps: float, loop: bool) -> bytes:
    frames = [to_pil(image).convert("RGB") for image in images]
    options = {"quality": WEBP_QUALITY, "method": 4, "loop": 0 if loop else 1}
    return _animated(frames, "WEBP", durations(len(images), fps, 1), **options)


def _animated(frames: list, format: str, milliseconds: list[int], **options) -> bytes:
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        format,
        save_all=True,
        append_images=frames[1:],
        duration=milliseconds if len(frames) > 1 else milliseconds[0],
        **options,
    )
    return buffer.getvalue()


def _mp4(images: np.ndarray, fps: float) -> bytes:
    """By PyAV, which brings its own encoders: no program has to be installed."""
    height, width = images.shape[1:3]
    try:
        import av  # here: it is large, and only videos need it
        from av.video.reformatter import ColorRange, Colorspace, Interpolation
    except ImportError:
        raise UserError(_NO_VIDEO) from None
    if "libx264" not in av.codecs_available:
        raise UserError(_NO_VIDEO)
    rate = Fraction(fps).limit_denominator(1000)
    # In a file: "faststart", which lets a page play it while it loads, reads it once more.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "animation.mp4"
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as file:
            stream = file.add_stream("libx264", rate=rate, options={"crf": str(CRF)})
            stream.width, stream.height = width + width % 2, height + height % 2
            stream.pix_fmt = "yuv420p"
            # Said, as players guess differently: BT.709 (1), not the full range of the bytes.
            context = stream.codec_context
            context.color_primaries = context.color_trc = context.colorspace = 1
            context.color_range = ColorRange.MPEG
            for image in images:
                whole = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
                frame = av.VideoFrame.from_ndarray(_rgb(whole), "rgb24").reformat(
                    format="yuv420p",
                    dst_colorspace=Colorspace.ITU709,
                    dst_color_range=ColorRange.MPEG,
                    interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
                )
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
        return path.read_bytes()


def _rgb(image: np.ndarray) -> np.ndarray:
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


_NO_VIDEO = (
    "This machine cannot write H.264 video (PyAV with libx264 is missing): choose webp or gif."
)
