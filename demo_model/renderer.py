"""Parametric avatar faces, drawn in plain torch: the training images of the demo model.

Every image is a function of independent, known factors (`FACTORS`), so a direction found in the
generator can later be compared with what really varies in the data. Shapes are signed distances
turned into soft-edged coverage, painted back to front on a supersampled canvas that is finally
box-downsampled. All operations are element-wise over [n, H, W]: an image does not depend on the
others in its batch, and the same code runs on any device. The drawing has no handedness: with yaw,
roll, fringe and light negated it is the mirror image.

Coordinates: the image spans [-1, 1] in both axes, x to the right, y downwards; a pixel of a
64-pixel image is 1/32.
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Factor:
    """One thing that varies between the images, and how it is drawn at random."""

    kind: str  # "scalar", "choice" or "color"
    meaning: str
    low: float = 0.0  # a scalar is uniform on [low, high]
    high: float = 1.0
    values: tuple = ()  # the names of a choice's values
    shares: tuple = ()  # and their probabilities


FACTORS = {
    "yaw": Factor("scalar", "degrees; positive turns the face to the image's right", -22, 22),
    "pitch": Factor("scalar", "degrees; positive raises the face", -10, 10),
    "roll": Factor("scalar", "degrees; positive tilts the head clockwise", -7, 7),
    "smile": Factor("scalar", "bend of the mouth; negative is a frown", -0.6, 1),
    "mouth_open": Factor("scalar", "gap between the lips; 0 is closed", 0, 1),
    "eye_size": Factor("scalar", "scale of the eyes", 0.88, 1.16),
    "brow_height": Factor("scalar", "height of the brows over the eyes; 1 is raised", -1, 1),
    "brow_angle": Factor("scalar", "slope of the brows; -1 worried, 1 stern", -1, 1),
    "face_width": Factor("scalar", "scale of the head's width", 0.9, 1.1),
    "skin_tone": Factor("scalar", "position on the path SKIN, light to dark", 0, 1),
    "hair_length": Factor("scalar", "where the hair ends; 0 at the ears, 1 on the chest", 0, 1),
    "fringe": Factor("scalar", "where the hair is parted; -1 at the image's left", -1, 1),
    "light": Factor("scalar", "where the light comes from; -1 the image's left", -1, 1),
    "glasses": Factor("choice", "round glasses", values=("none", "round"), shares=(0.7, 0.3)),
    "hat": Factor(
        "choice", "beanie of the shirt's colour", values=("none", "beanie"), shares=(0.75, 0.25)
    ),
    "beard": Factor(
        "choice", "full beard of the hair's colour", values=("none", "full"), shares=(0.75, 0.25)
    ),
    "earrings": Factor(
        "choice", "gold discs under the ears", values=("none", "gold"), shares=(0.7, 0.3)
    ),
    "freckles": Factor(
        "choice", "freckles on cheeks and nose", values=("none", "some"), shares=(0.7, 0.3)
    ),
    "hair_color": Factor("color", "uniform along the closed path HAIR"),
    "eye_color": Factor("color", "uniform along the path EYES"),
    "background": Factor("color", "uniform along the closed path BACKGROUND"),
    "shirt_color": Factor("color", "uniform along the closed path SHIRT"),
}

# Paths of colours, sRGB. Natural hair takes two thirds of its path.
SKIN = ("ffe0cb", "f6caa8", "e4ad82", "c68c5f", "a4704b", "82563b")
HAIR = (
    *("2b2328", "3d2a26", "54352a", "75462b", "93452c", "c46530", "d99a48", "e8c878", "ecdcae"),
    *("e596ab", "9a6abf", "4f7cc4", "2f3d6e"),
)
EYES = ("7d4a28", "94793a", "4f9a58", "3c8fcf", "8ea2b3")
BACKGROUND = ("f7c9b6", "f6dda4", "d3e2ac", "a9dac6", "a6d1ea", "b8bdec", "dcb9e6", "f5bccb")
SHIRT = ("df6a5e", "eaa24c", "dcc452", "8db65f", "3f9f97", "4a80bb", "7668b8", "bf638f")
PATHS = {  # path, whether it is closed
    "hair_color": (HAIR, True),
    "eye_color": (EYES, False),
    "background": (BACKGROUND, True),
    "shirt_color": (SHIRT, True),
}

HEIGHT = 0.57  # of the head, halved
EYE = 0.48  # radians from the middle of the face
INK, WHITE, GOLD = (0.17, 0.12, 0.16), (1.0, 0.99, 0.97), (0.98, 0.77, 0.25)


def _along(palette, t, closed=False):
    """Colours [n, 3] at positions t [n] in [0, 1] along the piecewise linear path `palette`."""
    hexes = palette + palette[:1] if closed else palette
    colors = t.new_tensor([[int(c[i : i + 2], 16) / 255 for i in (0, 2, 4)] for c in hexes])
    position = t.clamp(0, 1) * (len(colors) - 1)
    i = position.floor().long().clamp(max=len(colors) - 2)
    return torch.lerp(colors[i], colors[i + 1], (position - i)[:, None])


def sample_factors(n, generator=None):
    """Draw n independent sets of factors.

    Returns a dict over the names in FACTORS: float32 [n] for scalars, int64 [n] (an index into
    `values`) for choices, float32 [n, 3] (sRGB in [0, 1]) for colours. Equal generators give equal
    factors; drawing happens on the CPU whatever renders later.
    """
    factors = {}
    for name, factor in FACTORS.items():
        u = torch.rand(n, generator=generator)
        if factor.kind == "scalar":
            factors[name] = factor.low + (factor.high - factor.low) * u
        elif factor.kind == "choice":
            bounds = torch.tensor(factor.shares).cumsum(0)[:-1]
            factors[name] = torch.bucketize(u, bounds, right=True)
        else:
            factors[name] = _along(PATHS[name][0], u, PATHS[name][1])
    return factors


def factor_table():
    """FACTORS as a Markdown table."""
    rows = ["| factor | range | what it does |", "|---|---|---|"]
    for name, f in FACTORS.items():
        shares = ", ".join(f"{v} {share:.0%}" for v, share in zip(f.values, f.shares))
        span = {"scalar": f"{f.low:g} to {f.high:g}", "choice": shares, "color": "RGB"}[f.kind]
        rows.append(f"| `{name}` | {span} | {f.meaning} |")
    return "\n".join(rows)


def render(factors, resolution=64, supersample=2, chunk=16):
    """Draw faces.

    factors: as from `sample_factors`, on any device.
    Returns float32 [n, 3, resolution, resolution] in [-1, 1]. `chunk` images are drawn at a time
    (it bounds the memory and keeps the canvases in the cache; the result does not depend on it).
    """
    images = []
    for start in range(0, len(factors["yaw"]), chunk):
        part = {name: value[start : start + chunk] for name, value in factors.items()}
        canvas = _Portrait(part, resolution * supersample).draw()
        images.append(F.avg_pool2d(canvas.clamp_(0, 1), supersample) * 2 - 1)
    if not images:
        return torch.empty(0, 3, resolution, resolution, device=factors["yaw"].device)
    return torch.cat(images)


# --- shapes: fields [n, H, W], scalars of an image [n, 1, 1] --------------------------------------


def _step(t):
    """Smoothstep: 0 below 0, 1 above 1."""
    t = t.clamp(0, 1)
    return (3 - 2 * t).mul_(t).mul_(t)


def _ellipse(x, y, rx, ry):
    """Approximate signed distance to the ellipse with radii rx, ry around the origin.

    First-order: implicit function over the length of its gradient; exact enough near the edge.
    """
    p, q = x * (1 / rx), y * (1 / ry)
    k2 = p * p + q * q
    slope2 = (p * (1 / rx)).square_() + (q * (1 / ry)).square_()
    return (k2 - k2.sqrt()) * (slope2 + 1e-9).rsqrt_()


def _length(x, y):
    """Euclidean, [n, H, W]; the built-in hypot is several times slower."""
    return (x * x + y * y).sqrt_()


def _box(x, y, rx, ry, radius):
    """Signed distance to a box with half sides rx, ry and rounded corners."""
    p, q = x.abs() - (rx - radius), y.abs() - (ry - radius)
    outside = _length(p.clamp(min=0), q.clamp(min=0))
    return outside + torch.maximum(p, q).clamp(max=0) - radius


def _darker(color, behind, ratio):
    """`color` [n, 3], mixed with dark brown as far as needed to stand out from `behind` [n, 3]:
    at most `ratio` as bright."""
    brown = color.new_tensor([[0.25, 0.12, 0.07]])
    bright, dark = color.mean(1, keepdim=True), brown.mean()
    excess = (bright - ratio * behind.mean(1, keepdim=True)) / (bright - dark).clamp(min=0.01)
    return torch.lerp(color, brown, excess.clamp(0, 1))


class _Portrait:
    """A chunk of faces being painted: canvas [n, 3, H, W] in [0, 1], and where its points lie.

    x0, y0: in the image, [1, 1, W] and [1, H, 1]; x, y: in the upright head's own frame, [n, H, W].
    Every scalar factor and choice is an attribute, float [n, 1, 1].
    """

    def __init__(self, factors, size):
        for name, value in factors.items():
            if FACTORS[name].kind != "color":
                setattr(self, name, value.float()[:, None, None])
        self.hair, self.shirt = factors["hair_color"], factors["shirt_color"]
        self.eyes, self.background = factors["eye_color"], factors["background"]
        self.skin = _along(SKIN, factors["skin_tone"])
        self.brows = _darker(self.hair * 0.62, self.skin, 0.55)
        self.whiskers = _darker(self.hair * 0.86, self.skin, 0.66)

        axis = (torch.arange(size, device=self.yaw.device) + 0.5) * (2 / size) - 1
        self.x0, self.y0 = axis[None, None, :], axis[None, :, None]
        self.soft = 2.5 * 2 / size  # edges are about 2.5 canvas pixels wide
        roll, pivot = self.roll * (math.pi / 180), 0.6  # the base of the neck
        sin, cos = torch.sin(roll), torch.cos(roll)
        zoom = 1.06
        self.x = (cos * self.x0 + sin * (self.y0 - pivot)) / zoom
        self.y = (-sin * self.x0 + cos * (self.y0 - pivot)) / zoom + pivot
        self.lon, self.lat = self.yaw * (math.pi / 180), -self.pitch * (math.pi / 180)
        self.turn, self.nod = torch.sin(self.lon), torch.sin(self.lat)  # to the right, downwards
        self.width = 0.5 * self.face_width  # of the head, halved
        self.canvas = self.background.new_empty(len(self.background), 3, size, size)

    def crop(self, left, right, top, bottom):
        """The same portrait, seen through a window: what is painted there costs only its area."""
        size = self.canvas.shape[-1]
        rows, columns = (
            slice(max(0, int((a + 1) / 2 * size)), math.ceil((b + 1) / 2 * size))
            for a, b in ((top, bottom), (left, right))
        )
        view = copy.copy(self)
        view.x0, view.y0 = self.x0[:, :, columns], self.y0[:, rows]
        view.x, view.y = self.x[:, rows, columns], self.y[:, rows, columns]
        view.canvas = self.canvas[:, :, rows, columns]
        return view

    def crop_beside(self, side, inner, outer, top, bottom):
        """A window on the left (side -1) or right (1) from `inner` to `outer`."""
        return self.crop(*sorted((side * inner, side * outer)), top, bottom)

    def color(self, rgb):
        """A fixed colour as [1, 3]."""
        return self.skin.new_tensor([rgb])

    def cover(self, distance, softness=1.0):
        """Signed distance (negative inside) -> coverage in [0, 1]."""
        return _step(0.5 - distance * (1 / (self.soft * softness)))

    def paint(self, coverage, color):
        """Blend `color` ([n, 3] or [n, 3, H, W]) over the canvas, in place."""
        if color.dim() == 2:
            color = color[:, :, None, None]
        self.canvas.lerp_(color.expand_as(self.canvas), coverage[:, None])

    def on_head(self, lon, lat, out=1.0):
        """Coordinates around a point of the turned head, foreshortened there.

        lon, lat: radians from the middle of the face; out: distance from the middle of the head.
        """
        lon, lat = lon + self.lon, lat + self.lat
        x = self.x - self.width * out * torch.cos(lat) * torch.sin(lon)
        y = self.y - HEIGHT * out * torch.sin(lat)
        return x / torch.cos(lon).clamp(min=0.3), y / torch.cos(lat)

    def lit(self, color, x, y, amount, gloss=0.0):
        """`color` [n, 3] as on an egg around (0, 0) that reaches to |x|, |y| = 1: [n, 3, H, W].

        The light comes from above and from the side that `light` tells; shadows are a little
        warmer than lights. gloss: brightness to add, [n, H, W] or a number.
        """
        facing = (amount * self.light) * x.clamp(-1, 1) - (0.5 * amount) * (y.clamp(-1, 1) + 0.2)
        facing = (facing + gloss)[:, None]
        tint = color * self.color((0.85, 1.0, 1.15))
        return torch.addcmul(color[:, :, None, None], facing, tint[:, :, None, None])

    def head(self, grow=0.0):
        """Signed distance to the head: an egg, narrower at the jaw."""
        taper = 1 - 0.16 * _step((self.y + 0.05) / 0.62)
        return _ellipse(self.x / taper, self.y, self.width, HEIGHT) - grow

    def hairline(self):
        """Height of the hair's lower edge over the face: highest at the parting, [n, H, W]."""
        parting = 0.64 * self.fringe * self.width
        across = self.x - 0.22 * self.turn - parting
        reach = self.width * 1.05 + torch.where(across > 0, -parting, parting)
        t = across.abs() / reach
        return -0.44 + 0.36 * t * (0.45 + 0.55 * t) + 0.5 * self.nod

    def brim(self):
        """Height of the beanie's lower edge, [n, H, W]."""
        return -0.33 + 0.5 * self.nod + (0.12 - 0.9 * self.nod) * self.x * self.x

    def draw(self):
        """Paint everything, back to front. Returns the canvas."""
        self.paint_background()
        self.crop(-0.9, 0.9, -0.85, 1).paint_back_hair()
        self.crop(-1, 1, 0.3, 1).paint_body()
        self.crop(-0.9, 0.9, -0.1, 1).paint_locks()
        for side in (-1, 1):
            self.crop_beside(side, 0.3, 0.85, -0.15, 0.45).paint_ear(side)
        self.crop(-0.7, 0.7, -0.65, 0.75).paint_head()
        self.crop(-0.75, 0.75, -0.15, 0.8).paint_beard()
        self.crop(-0.4, 0.4, 0.0, 0.45).paint_nose()
        self.crop(-0.5, 0.5, 0.1, 0.75).paint_mouth()
        for side in (-1, 1):
            self.crop_beside(side, -0.2, 0.65, -0.3, 0.38).paint_eye(side)
        self.crop(-0.6, 0.6, -0.05, 0.55).paint_freckles()
        self.crop(-0.7, 0.7, -0.35, 0.5).paint_glasses()
        self.crop(-0.8, 0.8, -0.95, 0.5).paint_top_hair()
        for side in (-1, 1):
            self.crop_beside(side, -0.2, 0.65, -0.5, 0.1).paint_brow(side)
        self.crop(-0.8, 0.8, -1, 0.05).paint_hat()
        for side in (-1, 1):
            self.crop_beside(side, 0.3, 0.8, 0.1, 0.5).paint_earring(side)
        return self.canvas

    def paint_background(self):
        """A soft glow behind the head."""
        glow = 1.04 - 0.08 * (self.x0**2 + (self.y0 + 0.2) ** 2)
        torch.mul(self.background[:, :, None, None], glow[:, None], out=self.canvas)

    def mane(self):
        """Signed distance to the hair behind the head, down to where it ends."""
        bottom = 0.12 + 0.82 * self.hair_length
        wide = self.width * (1.13 + 0.12 * self.hair_length * _step((self.y + 0.1) / 0.8))
        x = self.x + 0.07 * self.turn
        long = _box(x, self.y - (bottom - 0.15) / 2, wide, (bottom + 0.15) / 2, 0.14)
        return torch.minimum(long, _ellipse(x, self.y + 0.1, self.width * 1.13, 0.6))

    def paint_back_hair(self):
        self.paint(self.cover(self.mane()), self.lit(self.hair * 0.72, self.x, self.y, 0.15))

    def paint_body(self):
        """Neck, shirt and the head's shadow on them."""
        x0, y0 = self.x0, self.y0
        shirt = self.lit(self.shirt, x0 / 0.8, (y0 - 0.95) / 0.4, 0.20)
        skin = self.lit(self.skin * 0.93, x0 / 0.3, (y0 - 0.7) / 0.4, 0.20)
        x = x0 - (x0 - self.x) * 0.45  # the neck bends half way with the head
        self.paint(self.cover(_ellipse(x0, y0 - 1.24, 0.84, 0.58).expand_as(self.x)), shirt)
        self.paint(self.cover(_ellipse(x0, y0 - 0.72, 0.27, 0.16).expand_as(self.x)), shirt * 0.82)
        self.paint(self.cover(_ellipse(x0, y0 - 0.70, 0.21, 0.13).expand_as(self.x)), skin)
        neck = self.cover(_box(x, y0 - 0.5, 0.18, 0.25, 0.06))
        self.paint(neck, skin)
        shadow = _ellipse(self.x + 0.08 * self.light, self.y - 0.13, self.width * 0.85, 0.54)
        self.paint(neck * self.cover(shadow, 4) * 0.55, self.skin * self.color((0.74, 0.60, 0.58)))

    def paint_locks(self):
        """The long hair that falls before the shoulders."""
        inner = self.width * 0.66 + 0.05 * _step((self.y - 0.5) / 0.4)
        lock = torch.maximum(self.mane(), inner - (self.x + 0.05 * self.turn).abs())
        shade = 0.18 * _step(lock * (-1 / 0.12)) - 0.26
        color = self.lit(self.hair, self.x / 0.7, self.y - 0.4, 0.22, shade)
        self.paint(self.cover(torch.maximum(lock, 0.1 - self.y)), color)

    def paint_ear(self, side):
        x = self.x - side * (self.width + 0.01) + 0.16 * self.turn
        y = self.y - 0.10 - 0.3 * self.nod
        color = self.lit(self.skin * 0.95, self.x / self.width, self.y / HEIGHT, 0.20)
        self.paint(self.cover(_ellipse(x, y, 0.085, 0.125)), color)
        inner = self.cover(_ellipse(x - side * 0.01, y - 0.01, 0.04, 0.07), 2)
        self.paint(inner * 0.5, self.skin * self.color((0.8, 0.58, 0.55)))

    def paint_head(self):
        """The head with blush, and the shadow of the hair or hat on it."""
        color = self.lit(self.skin, self.x / self.width, self.y / HEIGHT, 0.20)
        head = self.cover(self.head())
        self.paint(head, color)
        for side in (-1, 1):
            x, y = self.on_head(side * 0.60, 0.52)
            blush = _step(0.5 - _ellipse(x, y, 0.13, 0.09) / 0.16) * head * 0.40
            self.paint(blush, self.skin * self.color((1.0, 0.58, 0.55)))
        line = torch.lerp(self.hairline(), self.brim(), self.hat) + 0.05
        shadow = _step(0.5 + (line - self.y - 0.03 * self.light * self.x) / 0.13)
        self.paint(head * shadow * 0.50, self.skin * self.color((0.72, 0.58, 0.56)))

    def paint_beard(self):
        """Along the jaw from ear to ear, and under the nose."""
        x, y = self.on_head(0.0, 0.44)
        away = (x.abs() - 0.24).clamp(min=0)
        dip = 0.05 * _step((x.abs() - 0.06) / 0.14)
        edge = 0.005 + dip - 2.2 * away * away - 0.35 * away - y
        grow = 0.045 * _step((self.y - 0.1) / 0.4)
        beard = torch.maximum(self.head(grow), edge)
        shade = 0.18 * _step(beard * (-1 / 0.14)) - 0.18
        color = self.lit(self.whiskers, self.x / self.width, self.y / 0.6, 0.22, shade)
        self.paint(self.cover(beard, 1.6) * self.beard, color)

    def paint_nose(self):
        """A lit tip with its soft shadow on the other side and below."""
        x, y = self.on_head(0.0, 0.33, out=1.10)
        shadow = _ellipse(x + 0.022 * self.light, y - 0.012, 0.068, 0.056)
        self.paint(self.cover(shadow, 1.5) * 0.85, self.skin * self.color((0.78, 0.62, 0.58)))
        tip = _ellipse(x - 0.008 * self.light, y + 0.012, 0.056, 0.05)
        self.paint(self.cover(tip, 1.5), (self.skin * 1.05).clamp(max=1))

    def paint_mouth(self):
        """A band of lip around a gap, bent by `smile`; teeth above, tongue below."""
        x, y = self.on_head(0.0, 0.70)
        half = 0.205
        beyond = (x.abs() - half).clamp(min=0)
        arch = 1 - (x / half).clamp(-1, 1) ** 2
        slant = _length(1.35 * self.smile * (x / half).clamp(-1, 1), torch.ones_like(x))
        v = (y - 0.14 * self.smile * (arch - 0.55) + 0.06 * self.mouth_open) / slant
        gap = 0.17 * self.mouth_open * arch.sqrt() / slant
        between = torch.maximum(-v, v - gap)
        lips = _length(beyond, between.clamp(min=0)) - 0.020 - 0.012 * arch
        color = torch.lerp(self.skin, self.color((0.76, 0.26, 0.28)).expand_as(self.skin), 0.62)
        self.paint(self.cover(lips), color)
        inside = self.cover(torch.maximum(between, x.abs() - half) + 0.004) * _step(
            self.mouth_open * 5
        )
        self.paint(inside, self.color((0.40, 0.10, 0.14)))
        tongue = _ellipse(x, v - gap - 0.025, 0.12, 0.065)
        self.paint(inside * self.cover(tongue, 1.5), self.color((0.86, 0.42, 0.42)))
        teeth = _step(0.5 + 1.6 * self.smile)
        self.paint(inside * self.cover(v - 0.055 * teeth) * teeth, self.color(WHITE))

    def paint_eye(self, side):
        """White, iris with its dark middle, highlight, upper lid."""
        x, y = self.on_head(side * EYE, 0.11, out=0.95)
        u, v = x / self.eye_size, y / self.eye_size
        upper = -0.122 - v + 0.8 * u * u  # the lid cuts the circle a little
        eye = torch.maximum(_ellipse(u, v, 0.165, 0.142), upper)
        lid = _ellipse(u, v + 0.014, 0.178, 0.162)
        lid = torch.maximum(torch.maximum(lid, upper - 0.042), v + 0.03)
        self.paint(self.cover(lid, 1.2), self.color(INK))
        self.paint(self.cover(eye), self.color(WHITE))
        shade = self.cover(torch.maximum(eye, v + 0.07), 2.5) * 0.22  # of the lid
        self.paint(shade, self.color((0.35, 0.35, 0.55)))
        within = self.cover(eye + 0.006)
        gaze = u - 0.05 * self.turn
        iris = _ellipse(gaze, v + 0.012, 0.125, 0.130)
        glow = (0.78 + 0.4 * _step((v + 0.1) / 0.22))[:, None]
        color = self.eyes[:, :, None, None] * glow
        self.paint(within * self.cover(iris), color)
        self.paint(
            self.cover(_ellipse(gaze, v + 0.010, 0.078, 0.084)), self.color((0.10, 0.07, 0.10))
        )
        shine = _ellipse(gaze - 0.045 * self.light, v + 0.055, 0.042, 0.042)
        self.paint(self.cover(shine), self.color(WHITE))

    def paint_brow(self, side):
        x, y = self.on_head(side * EYE, 0.11, out=0.95)
        v = y + 0.245 + 0.045 * self.brow_height + 0.26 * side * self.brow_angle * x
        v = v - 0.05 * ((x / 0.15) ** 2 - 0.5)
        brow = _length((x.abs() - 0.135).clamp(min=0), v) - 0.034
        self.paint(self.cover(brow, 1.2), self.brows)

    def paint_freckles(self):
        cheek = ((0.46, 0.46), (0.62, 0.43), (0.80, 0.40), (0.55, 0.54), (0.73, 0.52))
        spots = [(0.0, 0.19)]
        for side in (-1, 1):
            spots += [(side * lon, lat) for lon, lat in ((0.19, 0.40), *cheek)]
        nearest = torch.full_like(self.x, 9.0)
        for lon, lat in spots:
            nearest = torch.minimum(nearest, _length(*self.on_head(lon, lat, out=1.02)))
        color = self.skin * self.color((0.54, 0.32, 0.26))
        self.paint(self.cover(nearest - 0.024) * self.freckles * self.cover(self.head()), color)

    def paint_top_hair(self):
        """The cap of hair above the hairline, and what falls beside the face to the ears."""
        x = self.x + 0.07 * self.turn
        outer = _ellipse(x, self.y + 0.12, self.width * 1.14, 0.62)
        end = 0.06 + 0.22 * self.hair_length
        beside = torch.maximum(self.width - 0.05 - (self.x - 0.09 * self.turn).abs(), self.y - end)
        seam = torch.maximum(-0.05 - self.head(), self.y + 0.12)  # no skin at the outline up there
        below = torch.minimum(torch.minimum(self.y - self.hairline(), beside), seam)
        hair = torch.maximum(outer, below)
        ring = _length(x / self.width / 1.14, (self.y + 0.12) / 0.62)
        gloss = torch.exp(-(((ring - 0.74) / 0.09) ** 2) - ((x - 0.28 * self.light) / 0.24) ** 2)
        gloss = gloss * _step((-0.2 - self.y) / 0.2)
        shine = (0.10 / self.hair.mean(1)[:, None, None] + 0.20) * gloss
        shade = 0.20 * _step(hair * (-1 / 0.13)) - 0.20
        color = self.lit(self.hair, self.x / self.width, self.y / 0.8, 0.22, shade + shine)
        self.paint(self.cover(hair), color)

    def paint_hat(self):
        """A beanie: dome, pompom and folded brim."""
        x, y = self.x + 0.03 * self.turn, self.y
        brim = self.brim()
        shape = self.lit(self.shirt * 0.88, self.x / self.width, (y + 0.4) / 0.6, 0.25)
        light = torch.lerp(self.shirt, torch.ones_like(self.shirt), 0.24)
        pompom = _ellipse(x + 0.10 * self.turn, y + 0.78, 0.12, 0.11)
        self.paint(
            self.cover(pompom, 2) * self.hat, self.lit(light, x / 0.13, (y + 0.78) / 0.11, 0.15)
        )
        dome = torch.maximum(_ellipse(x, y + 0.18, self.width * 1.17, 0.58), y - brim + 0.1)
        self.paint(self.cover(dome) * self.hat, shape)
        band = _box(x, y - brim + 0.10, self.width * 1.17, 0.105, 0.06)
        fold = self.cover(band - 0.035, 2.5) * self.cover(dome) * 0.35
        self.paint(fold * self.hat, self.shirt * 0.55)
        color = self.lit(light, self.x / self.width, (y - brim + 0.1) / 0.1, 0.16)
        self.paint(self.cover(band) * self.hat, color)

    def paint_glasses(self):
        """Round rims with a faint shine, bridge and temples."""
        rims, lenses = [], []
        for side in (-1, 1):
            x, y = self.on_head(side * EYE, 0.115, out=0.98)
            lenses.append(_length(x, y) - 0.205)
            rims.append(lenses[-1].abs() - 0.026)
            px = self.width * 0.98 * torch.sin(side * EYE + self.lon)
            edge = px + side * 0.205 * torch.cos(side * EYE + self.lon)
            far = side * self.width
            temple = _box(self.x - (edge + far) / 2, y + 0.03, (far - edge).abs() / 2, 0.022, 0.02)
            rims.append(temple)
        x, y = self.on_head(0.0, 0.115, out=1.06)
        rims.append(_box(x, y + 0.02, 0.05, 0.024, 0.02))
        glass = torch.minimum(*lenses)
        self.paint(self.cover(glass) * self.glasses * 0.09, self.color(WHITE))
        rim = torch.stack(rims).amin(0)
        self.paint(self.cover(rim) * self.glasses, self.color((0.22, 0.17, 0.26)))

    def paint_earring(self, side):
        """A gold disc under the ear."""
        x = self.x - side * (self.width + 0.03) + 0.16 * self.turn
        y = self.y - 0.29 - 0.3 * self.nod
        disc = self.cover(_ellipse(x, y, 0.068, 0.068)) * self.earrings
        self.paint(disc, self.color((0.72, 0.47, 0.10)))
        self.paint(disc * self.cover(_ellipse(x, y, 0.048, 0.048)), self.color(GOLD))
        shine = _ellipse(x - 0.018 * self.light, y + 0.016, 0.02, 0.02)
        self.paint(disc * self.cover(shine), self.color((1.0, 0.95, 0.70)))
