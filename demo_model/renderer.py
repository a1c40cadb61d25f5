"""Parametric cartoon faces, drawn in plain torch: the training images of the demo model.

Every image is a function of a few independent, known factors (`FACTORS`), so a direction found in
the generator can later be compared with what really varies in the data. Shapes are signed
distances turned into soft-edged coverage, painted back to front on a supersampled canvas that is
finally box-downsampled. All operations are element-wise over [n, H, W]: an image does not depend
on the others in its batch, and the same code runs on any device.

Coordinates: the image spans [-1, 1] in both axes, x to the right, y downwards.
"""

import math

import torch
import torch.nn.functional as F

# name: (lowest, highest, unit and meaning). Scalars are uniform on their range unless noted.
FACTORS = {
    "yaw": (-30.0, 30.0, "degrees; positive turns the face towards the right of the image"),
    "roll": (-14.0, 14.0, "degrees; positive tilts the head clockwise"),
    "smile": (-0.7, 1.0, "bend of the mouth; negative is a frown, positive a smile"),
    "mouth_open": (0.0, 1.0, "gap between the lips; 0 is closed"),
    "eye_size": (0.75, 1.3, "scale of the eyes"),
    "brow_height": (-1.0, 1.0, "height of the brows over the eyes; 1 is raised"),
    "brow_angle": (-1.0, 1.0, "slope of the brows; -1 worried, 1 stern"),
    "face_width": (0.88, 1.1, "scale of the head's width"),
    "skin_tone": (0.0, 1.0, "position on SKIN, light to dark"),
    "hair_length": (0.0, 1.0, "where the hair ends; 0 at the ears, 1 below the shoulders"),
    "light": (-1.0, 1.0, "where the light comes from; -1 left, 1 right"),
    "glasses": (0.0, 1.0, "discrete; 1 with probability GLASSES_PROBABILITY, else 0"),
    "hair_color": (0.0, 1.0, "RGB [n, 3]; one of HAIR, times a brightness within 12 percent"),
    "background": (0.0, 1.0, "RGB [n, 3]; uniform along the closed path through BACKGROUND"),
    "shirt_color": (0.0, 1.0, "RGB [n, 3]; uniform along the closed path through SHIRT"),
}
GLASSES_PROBABILITY = 0.35

# Palettes, sRGB. Skin is a path from light to dark, hair a set of choices (natural ones repeated
# to make them likelier than the three dyed ones), the other two closed paths of colours.
SKIN = ("fbdcc4", "f3c6a2", "e3ab80", "c68a5d", "9c653f", "6e452c")
HAIR = (
    *("2b2023", "2b2023", "4a2f22", "4a2f22", "6d4426", "8f5a2c", "b5793a", "dcb468", "a8452a"),
    *("d86f8f", "4f86b3", "8a6fb8"),
)
BACKGROUND = ("f2d6c9", "f3e3b8", "d5e3b5", "b3dccb", "b1d4e6", "bfc4e8", "dcc3e4", "f0c8d4")
SHIRT = ("d9665b", "e6a04f", "7fae62", "3f9c96", "4a7fb5", "7468b0", "b8628f")


def _rgb(palette):
    """Hex colours -> float tensor [len(palette), 3] in [0, 1]."""
    return torch.tensor([[int(c[i : i + 2], 16) / 255 for i in (0, 2, 4)] for c in palette])


def _along(palette, t, closed):
    """Colours [n, 3] at positions t [n] in [0, 1] along the piecewise linear path `palette`."""
    colors = _rgb(palette).to(t)
    if closed:
        colors = torch.cat([colors, colors[:1]])
    position = t.clamp(0, 1) * (len(colors) - 1)
    i = position.floor().long().clamp(max=len(colors) - 2)
    return torch.lerp(colors[i], colors[i + 1], (position - i)[:, None])


def sample_factors(n, generator=None):
    """Draw n independent sets of factors.

    Returns a dict over the names in FACTORS: float32 [n], or [n, 3] for colours (sRGB in [0, 1]).
    Equal generators give equal factors; drawing happens on the CPU whatever renders later.
    """
    u = {name: torch.rand(n, generator=generator) for name in FACTORS}
    factors = {name: low + (high - low) * u[name] for name, (low, high, _) in FACTORS.items()}
    factors["glasses"] = (u["glasses"] < GLASSES_PROBABILITY).float()
    hair = _rgb(HAIR)[(u["hair_color"] * len(HAIR)).long().clamp(max=len(HAIR) - 1)]
    brightness = 0.88 + 0.24 * torch.rand(n, 1, generator=generator)
    factors["hair_color"] = (hair * brightness).clamp(0, 1)
    factors["background"] = _along(BACKGROUND, u["background"], closed=True)
    factors["shirt_color"] = _along(SHIRT, u["shirt_color"], closed=True)
    return factors


def render(factors, resolution=64, supersample=2, chunk=8):
    """Draw faces.

    factors: as from `sample_factors`, on any device.
    Returns float32 [n, 3, resolution, resolution] in [-1, 1]. `chunk` images are drawn at a time
    (it bounds the memory and keeps the canvases in the cache; the result does not depend on it).
    """
    n = len(factors["yaw"])
    images = []
    for start in range(0, n, chunk):
        part = {name: value[start : start + chunk] for name, value in factors.items()}
        canvas = _draw(part, resolution * supersample)
        images.append(F.avg_pool2d(canvas, supersample) * 2 - 1)
    if not images:
        return torch.empty(0, 3, resolution, resolution)
    return torch.cat(images)


# --- the drawing itself: all below is [n, H, W], scalars of an image [n, 1, 1] --------------------


def _cover(distance, softness):
    """Signed distance (negative inside) -> coverage in [0, 1], a smoothstep `softness` wide."""
    t = (0.5 - distance / softness).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _ellipse(x, y, rx, ry):
    """Approximate signed distance to the ellipse with radii rx, ry around the origin.

    First-order: implicit function over the length of its gradient; exact enough near the edge.
    """
    p, q = x / rx, y / ry
    k = (p * p + q * q).sqrt()
    slope = ((p / rx) ** 2 + (q / ry) ** 2).sqrt()
    return k * (k - 1) / (slope + 1e-6)


def _box(x, y, rx, ry, radius):
    """Signed distance to a box with half sides rx, ry and rounded corners."""
    p, q = x.abs() - (rx - radius), y.abs() - (ry - radius)
    outside = (p.clamp(min=0) ** 2 + q.clamp(min=0) ** 2).sqrt()
    return outside + torch.maximum(p, q).clamp(max=0) - radius


def _paint(canvas, coverage, color):
    """Blend `color` ([n, 3] or [n, 3, H, W]) over the canvas [n, 3, H, W], in place."""
    if color.dim() == 2:
        color = color[:, :, None, None]
    canvas.lerp_(color.expand_as(canvas), coverage[:, None])


def _on_head(angle, yaw, radius):
    """A point of the turned head: horizontal place and foreshortening.

    angle: radians from the middle of the face; yaw: radians, [n, 1, 1]; radius: of the head.
    """
    return radius * torch.sin(angle + yaw), torch.cos(angle + yaw).clamp(min=0.15)


def _draw(f, size):
    """Factors -> canvas [n, 3, size, size] in [0, 1]."""
    device = f["yaw"].device
    s = {k: v[:, None, None] for k, v in f.items() if v.dim() == 1}  # scalars [n, 1, 1]
    axis = (torch.arange(size, device=device) + 0.5) * (2 / size) - 1
    x0, y0 = axis[None, None, :], axis[None, :, None]  # [1, 1, W], [1, H, 1]
    soft = 2.5 * 2 / size  # edges about 2.5 canvas pixels wide

    skin = _along(SKIN, f["skin_tone"], closed=False)
    lips = skin * skin.new_tensor([0.80, 0.50, 0.50])
    hair, shirt = f["hair_color"], f["shirt_color"]
    ink = skin.new_tensor([[0.16, 0.12, 0.15]])
    white = skin.new_tensor([[0.98, 0.97, 0.95]])

    # The head's own frame: turned by `roll` about the base of the neck, and enlarged.
    yaw, roll = s["yaw"] * (math.pi / 180), s["roll"] * (math.pi / 180)
    sin, cos, pivot = torch.sin(roll), torch.cos(roll), 0.55
    x = (cos * x0 + sin * (y0 - pivot)) / 1.12
    y = (-sin * x0 + cos * (y0 - pivot)) / 1.12 + pivot
    turn = torch.sin(yaw)
    rx, ry = 0.46 * s["face_width"], 0.56

    # Light: how much each point faces it, as on an egg; one field shades everything.
    def shade(x, y, rx, ry, amount):
        side = (x / rx).clamp(-1, 1)
        facing = side * s["light"] * 0.75 - (y / ry).clamp(-1, 1) * 0.35
        return (1 + amount * facing)[:, None]  # [n, 1, H, W]

    # Background: a soft vertical gradient.
    canvas = f["background"][:, :, None, None] * (1.03 - 0.09 * (y0 + 1) / 2)[:, None]
    canvas = canvas.clamp(0, 1).expand(-1, -1, size, size).contiguous()

    # Hair behind the head, then neck and shirt.
    bottom = -0.05 + 0.95 * s["hair_length"]
    flare = 1.16 + 0.10 * s["hair_length"]
    hx = x + 0.05 * turn
    d_back = _box(hx, y - (bottom - 0.20) / 2, rx * flare, (bottom + 0.20) / 2 + 0.1, 0.20)
    d_back = torch.minimum(d_back, _ellipse(hx, y + 0.10, rx * flare, 0.57))
    back = hair[:, :, None, None] * 0.78 * shade(x, y, rx, 0.9, 0.16)
    _paint(canvas, _cover(d_back, soft), back)

    neck = skin[:, :, None, None] * (0.84 * shade(x0, y0 - 0.6, 0.3, 1.0, 0.14))
    body = shirt[:, :, None, None] * shade(x0, y0 - 0.9, 0.7, 0.5, 0.16)
    nx = x0 - (x0 - x) * 0.45  # the neck bends half way with the head
    _paint(canvas, _cover(_ellipse(x0, y0 - 1.22, 0.80, 0.56), soft), body)
    _paint(canvas, _cover(_ellipse(x0, y0 - 0.70, 0.25, 0.15), soft), body * 0.80)
    _paint(canvas, _cover(_ellipse(x0, y0 - 0.68, 0.20, 0.13), soft), neck)
    _paint(canvas, _cover(_box(nx, y0 - 0.48, 0.165, 0.26, 0.05), soft), neck)

    # Ears, behind the head: the one on the far side slips out of sight.
    for side in (-1, 1):
        ear = _ellipse(x - side * (rx + 0.005) + 0.09 * turn, y - 0.03, 0.085, 0.12)
        _paint(canvas, _cover(ear, soft), skin[:, :, None, None] * shade(x, y, rx, ry, 0.16) * 0.9)

    # Head: an egg, narrower at the jaw, shaded by the light, blushing a little.
    taper = 1 - 0.17 * (y + 0.05).clamp(min=0) / ry
    d_head = _ellipse(x / taper, y, rx, ry)
    face = (skin[:, :, None, None] * shade(x, y, rx, ry, 0.17)).clamp(0, 1)
    on_head = _cover(d_head, soft)
    _paint(canvas, on_head, face)
    for side in (-1, 1):
        px, fs = _on_head(side * torch.full_like(yaw, 0.62), yaw, rx)
        blush = _cover(_ellipse(x - px, y - 0.20, 0.15 * fs, 0.11), 0.16) * on_head * 0.30
        _paint(canvas, blush, skin * skin.new_tensor([1.0, 0.55, 0.52]))

    # Nose: a soft shadow on the side away from the light, and a small lit tip.
    px, _ = _on_head(torch.zeros_like(yaw), yaw, rx * 1.08)
    nose = _ellipse(x - px + 0.025 * s["light"], y - 0.125, 0.058, 0.05)
    _paint(canvas, _cover(nose, soft * 1.5) * 0.9, skin * 0.80)
    tip = _ellipse(x - px - 0.012 * s["light"], y - 0.11, 0.045, 0.042)
    _paint(canvas, _cover(tip, soft * 1.5), (skin * 1.06).clamp(max=1))

    # Mouth: a bent lens. t runs along it; the middle line bends by `smile`, the gap by `mouth_open`.
    px, fs = _on_head(torch.zeros_like(yaw), yaw, rx * 0.80)
    t = (x - px) / (0.175 * fs)
    arch = (1 - t * t).clamp(min=0)
    line = 0.335 + 0.105 * s["smile"] * (arch - 0.6)
    gap = 0.105 * s["mouth_open"] * arch.sqrt()
    ends = (t.abs() - 1) * 0.15
    lip = 0.026 * (0.45 + 0.55 * arch)
    v = y - line
    d_lips = torch.maximum(torch.maximum(-v - lip, v - gap - lip), ends)
    d_inside = torch.maximum(torch.maximum(-v, v - gap), ends + 0.01)
    opened = (s["mouth_open"] * 6).clamp(0, 1)
    _paint(canvas, _cover(d_lips, soft), lips)
    inside = _cover(d_inside, soft) * opened
    _paint(canvas, inside, skin.new_tensor([[0.36, 0.10, 0.13]]))
    _paint(canvas, inside * _cover(v - 0.032, soft), white)  # teeth hang from the upper lip

    # Eyes and brows.
    frames = []
    for side in (-1, 1):
        px, fs = _on_head(side * torch.full_like(yaw, 0.44), yaw, rx)
        ex, ey, size_ = (x - px) / fs, y + 0.03, s["eye_size"]
        d_eye = _ellipse(ex, ey, 0.098 * size_, 0.086 * size_)
        d_lid = torch.maximum(d_eye - 0.022, ey + 0.035 * size_)
        _paint(canvas, _cover(d_lid, soft), ink)
        _paint(canvas, _cover(d_eye, soft), white)
        gx = ex - 0.02 * turn
        iris = torch.maximum(_ellipse(gx, ey - 0.006, 0.060 * size_, 0.066 * size_), d_eye)
        _paint(canvas, _cover(iris, soft), skin.new_tensor([[0.23, 0.16, 0.15]]))
        shine = _ellipse(gx + 0.018 * size_, ey + 0.022 * size_, 0.020 * size_, 0.020 * size_)
        _paint(canvas, _cover(shine, soft), white)

        tilt = s["brow_angle"] * side * 0.30
        bx, by = ex / 0.125, ey + 0.165 + 0.045 * s["brow_height"] + tilt * ex
        by = by + 0.025 * (bx * bx - 0.5)  # arched: ends lower than the middle
        d_brow = torch.maximum(by.abs() - 0.026, (bx.abs() - 1) * 0.125)
        _paint(canvas, _cover(d_brow, soft * 1.2) * 0.92, hair * 0.62)
        frames.append((px, _ellipse(ex, ey - 0.005, 0.150, 0.135).abs() - 0.017))

    # Hair on the head: the egg, a little larger, above a fringe swept to one side.
    sweep = x - 0.40 * turn
    fringe = (-0.225 + 0.55 * (sweep + 0.10) * (sweep - 0.22)).clamp(max=-0.10)
    strand = 0.16 + 0.10 * s["hair_length"]  # falls beside the face down to the ears
    edge = torch.maximum((rx * 1.0 - 0.035) - (x + 0.10 * turn).abs(), y - strand)
    d_top = torch.maximum(_ellipse(hx, y + 0.08, rx * 1.13, 0.56), torch.minimum(y - fringe, edge))
    gloss = torch.exp(-(((y + 0.42) / 0.07) ** 2) - ((x - 0.2 * s["light"]) / 0.30) ** 2)
    top = hair[:, :, None, None] * shade(x, y, rx, 0.75, 0.18) + 0.10 * gloss[:, None]
    _paint(canvas, _cover(d_top, soft), top.clamp(0, 1))

    # Glasses last, bridge and temples included.
    (left, ring_l), (right, ring_r) = frames
    bridge = _box(x - (left + right) / 2, y + 0.035, (right - left) / 2 - 0.135, 0.014, 0.01)
    d_rim = torch.minimum(torch.minimum(ring_l, ring_r), bridge)
    _paint(canvas, _cover(d_rim, soft) * s["glasses"], ink)
    return canvas
