"""Animations: the frames of a plan, and files that play them, decoded again."""

import base64
import builtins
import io
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sefa import Edit, Recipe, UserError, animation
from sefa.animation import (
    EASINGS,
    FORMATS,
    MAX_FRAMES,
    check_size,
    draw_frames,
    durations,
    encode_animation,
    frame_size,
    moved,
    path,
    plan,
)
from tests.helpers import is_one_sentence

A, B = Edit.along("0-1", 4, 3.0), Edit("all", ((2, 0.6), (7, 0.8)), -2.0)
RECIPE = Recipe(seed=5, num_samples=1, edits=(Edit.along("2", 1, 1.0),))


# --- the plan -------------------------------------------------------------------------------------


@pytest.mark.parametrize("easing", EASINGS)
@given(t=st.floats(0, 1))
def test_an_easing_goes_from_0_to_1_never_back_and_alike_from_either_end(easing, t):
    ease = EASINGS[easing]
    assert ease(0.0) == pytest.approx(0, abs=1e-12) and ease(1.0) == pytest.approx(1)
    assert ease(t) + ease(1 - t) == pytest.approx(1)
    assert ease(t) <= ease(min(1.0, t + 0.01)) + 1e-12


def test_a_smooth_loop_is_a_sine_and_a_linear_one_a_triangle():
    smooth = [math.sin(2 * math.pi * i / 48) for i in range(48)]
    assert path(48) == pytest.approx(smooth, abs=1e-8)
    assert path(8, "linear") == pytest.approx([0, 0.5, 1, 0.5, 0, -0.5, -1, -0.5], abs=1e-8)


@pytest.mark.parametrize("easing", EASINGS)
@given(
    frames=st.integers(4, 120),
    start=st.sampled_from([-1.0, -0.3, 0.0, 0.5, 1.0]) | st.floats(-1, 1),
)
def test_a_loop_starts_where_it_is_asked_and_its_last_frame_leads_to_the_first(
    easing, frames, start
):
    positions = path(frames, easing, True, start)
    assert len(positions) == frames and positions[0] == start
    assert all(-1 <= position <= 1 for position in positions)
    # No step, that from the last frame to the first either, is longer than the fastest there is.
    steps = [abs(b - a) for a, b in itertools.pairwise([*positions, positions[0]])]
    fastest = {"linear": 1, "smooth": math.pi / 2, "cubic": 3}[easing]
    assert max(steps) <= 4 / frames * fastest + 1e-6
    # It goes up first, and meets both ends as nearly as this many frames can.
    assert positions[1] >= positions[0] - 1e-9 or start > 1 - 4 / frames * fastest
    assert max(positions) > 1 - 4 / frames * fastest and min(positions) < -1 + 4 / frames * fastest


@pytest.mark.parametrize("easing", EASINGS)
def test_once_is_from_end_to_end(easing):
    positions = path(25, easing, loop=False)
    assert positions[0] == -1 and positions[-1] == 1 and positions[12] == 0
    assert positions == sorted(positions)
    assert path(5, "linear", loop=False) == [-1, -0.5, 0, 0.5, 1]


def test_a_loop_begins_with_the_recipe_and_swings_both_ways():
    recipes = plan(RECIPE, [A], 8, "linear")
    assert recipes[0] == RECIPE
    moves = [recipe.edits[1:] for recipe in recipes]
    alphas = [move[0].alpha if move else 0.0 for move in moves]
    assert alphas == [0, 1.5, 3, 1.5, 0, -1.5, -3, -1.5]
    assert all(recipe.edits[0] == RECIPE.edits[0] for recipe in recipes)
    # Frames that come back are the same recipes, so that they are drawn once.
    assert len(set(recipes)) == 5


def test_a_direction_that_is_in_use_starts_from_where_it_is():
    recipe = replace(RECIPE, edits=(Edit.along("0-1", 4, 1.5), *RECIPE.edits))
    recipes = plan(recipe, [A], 8, "linear")
    assert recipes[0] == recipe
    alphas = [next((e.alpha for e in r.edits if e.layers == "0-1"), 0.0) for r in recipes]
    assert alphas == pytest.approx([1.5, 3, 1.5, 0, -1.5, -3, -1.5, 0])
    # Its own edit, swung to its alpha: there, to the other side, and back.
    own = plan(recipe, [recipe.edits[0]], 8, "linear")
    alphas = [next((e.alpha for e in r.edits if e.layers == "0-1"), 0.0) for r in own]
    assert own[0] == recipe and alphas == pytest.approx([1.5, 0.75, 0, -0.75, -1.5, -0.75, 0, 0.75])
    # Beyond the move's alpha: as far as it is, so that nothing jumps.
    far = replace(recipe, edits=(Edit.along("0-1", 4, -5.0),))
    alphas = [sum(e.alpha for e in r.edits) for r in plan(far, [A], 8, "linear")]
    assert alphas == pytest.approx([-5, -2.5, 0, 2.5, 5, 2.5, 0, -2.5])


def test_terms_in_another_order_are_the_same_direction():
    recipe = Recipe(edits=(Edit("all", ((7, 0.8), (2, 0.6)), 1.0),))
    assert all(len(r.edits) <= 1 for r in plan(recipe, [B], 8))
    assert moved(recipe, B, 0.5).edits == (Edit("all", ((7, 0.8), (2, 0.6)), 0.5),)


def test_moves_follow_each_other_and_leave_nothing_behind():
    recipes = plan(RECIPE, [A, B], 8, "linear")
    assert len(recipes) == 16 and recipes[0] == recipes[8] == RECIPE
    assert {e.layers for r in recipes[:8] for e in r.edits} == {"2", "0-1"}
    assert {e.layers for r in recipes[8:] for e in r.edits} == {"2", "all"}
    # To alpha first: this one is negative.
    assert recipes[10].edits[1].alpha == -2.0 and recipes[14].edits[1].alpha == 2.0
    once = plan(RECIPE, [A, B], 5, "linear", loop=False)
    assert [sum(e.alpha for e in r.edits[1:]) for r in once] == [
        -3, -1.5, 0, 1.5, 3, 2, 1, 0, -1, -2,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "call",
    [
        lambda: path(48, "bouncy"),
        lambda: path(3),
        lambda: path(MAX_FRAMES + 1),
        lambda: plan(RECIPE, [], 8),
        lambda: plan(RECIPE, [A] * 7, 100),
        lambda: plan(RECIPE, [replace(A, alpha=0.0)], 8),
        lambda: plan(RECIPE, [replace(A, alpha=101.0)], 8),
        lambda: plan(RECIPE, [replace(A, alpha=math.nan)], 8),
        lambda: check_size(0, 8, 8),
        lambda: check_size(MAX_FRAMES + 1, 8, 8),
        lambda: check_size(300, 1024, 1024),
    ],
)
def test_what_cannot_be_played_is_said_in_one_sentence(call):
    with pytest.raises(UserError) as error:
        call()
    assert is_one_sentence(str(error.value)), str(error.value)


def test_frames_are_grids_and_each_is_drawn_once():
    asked, heard = [], []

    def images(recipe):
        asked.append(recipe)
        alpha = sum(change.alpha for change in recipe.edits)
        return np.full((recipe.num_samples, 4, 4, 3), int(100 + 10 * alpha), np.uint8)

    recipes = plan(replace(RECIPE, num_samples=3), [A], 8, "linear")
    frames = draw_frames(recipes, images, gap=2, progress=lambda *now: heard.append(now))
    assert frames.shape == (8, *frame_size(4, 3, gap=2), 3) == (8, 10, 10, 3)
    assert frames[:, 0, 0, 0].tolist() == [110, 125, 140, 125, 110, 95, 80, 95]
    assert len(asked) == 5 and heard == [(i, 5) for i in range(1, 6)]
    with pytest.raises(UserError, match="would fit"):
        draw_frames(recipes * 40, lambda recipe: np.zeros((1, 1024, 1024, 1), np.uint8))


# --- files ----------------------------------------------------------------------------------------


def waves(frames=24, height=64, width=96, channels=3):
    """Smooth images that all differ: uint8 [T, H, W, C]."""
    y, x, t = np.mgrid[:height, :width, :frames].astype(float).transpose(0, 3, 1, 2)
    planes = [np.sin(x / 9 + t / 8), np.cos(y / 11 - t / 5), np.sin((x + y) / 20 + t / 4)]
    return (128 + 80 * np.stack(planes[:channels], -1)).astype(np.uint8)


def played(content, format):
    """(frames uint8 [T, H, W, 3], seconds in all, how often: 0 for ever, None not said)."""
    if format == "mp4":
        import av

        with av.open(io.BytesIO(content)) as file:
            (stream,) = file.streams
            seconds = float(stream.duration * stream.time_base)
            assert stream.codec_context.name == "h264"
            assert stream.codec_context.pix_fmt == "yuv420p"
            frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
        return np.stack(frames), seconds, None
    image = Image.open(io.BytesIO(content))
    frames, milliseconds = [], 0
    for i in range(image.n_frames):
        image.seek(i)
        frames.append(np.asarray(image.convert("RGB")))
        milliseconds += image.info["duration"]
    return np.stack(frames), milliseconds / 1000, image.info.get("loop")


# Mean and largest differences of an image blurred over 4 x 4 pixels: a dithered palette and colours
# at half the resolution are right on average.
ERRORS = {"mp4": (2, 12), "webp": (1.5, 10), "gif": (4, 30)}


def blurred(images):
    t, height, width, channels = images.shape
    return images.reshape(t, height // 4, 4, width // 4, 4, channels).mean((2, 4))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_played_is_what_was_drawn(format, channels):
    images = waves(channels=channels)
    frames, seconds, _ = played(encode_animation(images, format, 24), format)
    assert frames.shape == (24, 64, 96, 3)
    assert seconds == pytest.approx(1, abs=0.011)
    error = np.abs(blurred(frames) - blurred(images))
    mean, largest = ERRORS[format]
    assert error.mean() < mean and error.max() < largest, (error.mean(), error.max())
    # Frames come in order: each is nearest to its own.
    for i in (0, 11, 23):
        distances = np.abs(frames[i].astype(int) - images).mean((1, 2, 3))
        assert distances.argmin() == i
    if channels == 1 and format == "gif":
        np.testing.assert_array_equal(frames, np.repeat(images, 3, 3))


@pytest.mark.parametrize("format", ["gif", "webp"])
def test_once_is_once_and_for_ever_is_for_ever(format):
    images = waves(4)
    assert played(encode_animation(images, format, 10, loop=True), format)[2] == 0
    assert played(encode_animation(images, format, 10, loop=False), format)[2] in (None, 1)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("fps", [1, 12.5, 30, 50])
def test_the_time_is_right_at_any_rate(format, fps):
    images = waves(30, 32, 32)
    _, seconds, _ = played(encode_animation(images, format, fps), format)
    assert seconds == pytest.approx(30 / fps, abs=0.006)


@pytest.mark.parametrize("format", FORMATS)
def test_one_frame_and_still_ones_can_be_written(format):
    still = waves(1).repeat(5, axis=0)
    for images in (still[:1], still):
        frames, seconds, _ = played_still(encode_animation(images, format, 10), format)
        assert np.abs(blurred(frames[:1]) - blurred(images[:1])).mean() < 4
        if format == "mp4" or (format == "gif" and len(images) > 1):
            assert seconds == pytest.approx(len(images) / 10)


def played_still(content, format):
    """`played`, of a file that may be a still image, which has no duration."""
    if format != "mp4" and Image.open(io.BytesIO(content)).n_frames == 1:
        image = Image.open(io.BytesIO(content))
        image.load()
        frames = np.asarray(image.convert("RGB"))[None]
        return frames, image.info.get("duration", 0) / 1000, None
    return played(content, format)


def test_a_video_of_odd_size_repeats_its_last_row_and_column():
    images = waves(6, 63, 95)
    frames, _, _ = played(encode_animation(images, "mp4", 12), "mp4")
    assert frames.shape == (6, 64, 96, 3)
    padded = np.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)), "edge")
    assert np.abs(blurred(frames) - blurred(padded)).mean() < 2


def test_a_video_can_start_before_it_is_there():
    content = encode_animation(waves(), "mp4", 24)
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_colours_of_a_video_are_said_and_right():
    import av

    flat = np.zeros((4, 32, 32, 3), np.uint8) + np.array([200, 60, 30], np.uint8)
    content = encode_animation(flat, "mp4", 4)
    with av.open(io.BytesIO(content)) as file:
        context = file.streams.video[0].codec_context
        said = context.colorspace, context.color_primaries, context.color_trc, context.color_range
        assert said == (1, 1, 1, 1)  # BT.709, not the full range
        frame = next(file.decode(video=0)).to_ndarray(format="yuv420p").astype(float)
    # By the definition of BT.709: luma in 16 to 235, colour differences around 128.
    red, green, blue = np.array([200, 60, 30]) / 255
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    assert frame[:32].mean() == pytest.approx(16 + 219 * luma, abs=1.5)
    assert frame[32:40].mean() == pytest.approx(128 + 224 * (blue - luma) / 1.8556, abs=1.5)
    assert frame[40:].mean() == pytest.approx(128 + 224 * (red - luma) / 1.5748, abs=1.5)


def test_rare_colours_of_a_gif_stay_vivid():
    # A small bright spot on a wide gradient, which an averaging palette would dull.
    images = waves(8)
    images[:, :, :, 1:] //= 2
    images[:, 24:40, 40:56] = 20, 240, 30
    frames, _, _ = played(encode_animation(images, "gif", 10), "gif")
    assert np.abs(frames[:, 26:38, 42:54].mean((0, 1, 2)) - [20, 240, 30]).max() < 15


def test_a_browser_plays_the_video(browser):
    flat = np.zeros((8, 48, 64, 3), np.uint8)
    for i in range(8):
        flat[i] = 30 + 25 * i, 60, 200 - 20 * i
    video = base64.b64encode(encode_animation(flat, "mp4", 4)).decode()
    tab = browser.new_page()
    tab.set_content(f'<video src="data:video/mp4;base64,{video}" muted></video>')
    # Seeks to the middle of every frame: its size, how long all is, the colour in its middle.
    seen = tab.evaluate(
        """async () => {
            const video = document.querySelector("video"), found = [];
            const pixel = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
            const happens = name => new Promise(
                done => video.addEventListener(name, done, {once: true}));
            if (video.readyState < 1) await happens("loadedmetadata");
            for (let i = 0; i < 8; i++) {
                const there = happens("seeked");
                video.currentTime = (i + 0.5) / 4;
                await there;
                pixel.drawImage(video, 32, 24, 1, 1, 0, 0, 1, 1);
                const colour = [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3);
                found.push([video.videoWidth, video.videoHeight, video.duration, ...colour]);
            }
            return found;
        }"""
    )
    assert [frame[:3] for frame in seen] == [[64, 48, 2]] * 8
    colours = np.array([frame[3:] for frame in seen])
    assert np.abs(colours - flat[:, 0, 0]).max() < 8, colours
    tab.close()


def test_durations_add_up():
    assert durations(3, 30, 10) == [30, 40, 30]
    assert durations(4, 25, 10) == [40] * 4
    assert sum(durations(600, 60, 1)) == 10_000


@pytest.mark.parametrize(
    ("images", "format", "fps"),
    [
        (waves(4), "avi", 10),
        (waves(4), "gif", 60),
        (waves(4), "mp4", 0),
        (waves(4), "webp", math.nan),
        (np.zeros((2, 8, 5000, 1), np.uint8), "mp4", 10),
        (np.zeros((0, 8, 8, 1), np.uint8), "gif", 10),
        (np.zeros((601, 1, 1, 1), np.uint8), "gif", 10),
    ],
)
def test_what_is_no_animation_is_refused(images, format, fps):
    with pytest.raises(UserError) as error:
        encode_animation(images, format, fps)
    assert is_one_sentence(str(error.value)), str(error.value)


def test_only_uint8_images_are_taken():
    for images in (np.zeros((2, 8, 8, 3)), np.zeros((2, 8, 8, 4), np.uint8)):
        with pytest.raises(ValueError, match="expected uint8"):
            encode_animation(images, "gif")


@pytest.mark.parametrize("missing", ["encoder", "library"])
def test_a_machine_without_h264_says_so(missing, monkeypatch):
    if missing == "encoder":
        import av

        monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    else:
        real = builtins.__import__

        def without(name, *more):
            if name.split(".")[0] == "av":
                raise ImportError(name)
            return real(name, *more)

        monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="choose webp or gif") as error:
        animation.encode_animation(waves(4), "mp4")
    assert is_one_sentence(str(error.value))
