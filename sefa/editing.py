"""The edit w + alpha * n, the mix of samples, and the Recipe: all that a visitor has set, frozen.

A recipe outlives everything else: links, PNGs and the command line carry it. `alpha` is raw, in
units of the unit vector; a direction is named by layers and eigenvalue index under `factorize`'s
order and sign. As a URL query:

    v=1&model=avatars&seed=0&n=4&psi=0.7&cutoff=8&layers=0-1&k=5&edits=0-1:0:2.5~all:3*0.6+7*0.8:-1

`edits` are separated by "~", each `layers:direction:alpha`; a direction is an eigenvalue index or,
for one that has no index of its own, coefficients in such directions (`index*coefficient+...`).
`layers`, `order` and `k` are what the page shows sliders for; `class` is the class of a conditional
model.
`names`, where there are any, is what somebody called directions, whether they are in use or not:

    names=0-1:3:Smile~all:3*0.6%2B7*0.8:-Open+mouth

separated by "~", each `layers:direction:name`; a "-" before the name says that it is a negative
alpha that brings what the name says. No name holds a "~", a ":" or begins with "-".
What the samples are before any edit may depend on two more seeds:

    mix=7:4-9&noise=3

`mix` is `seed:layers`: at these layers the w of every sample is that of the sample of this seed.
`noise` is for the families that add noise to their features; without it, it is what the checkpoint
stores.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from torch import Tensor

from sefa.errors import UserError, show
from sefa.factorization import Layers, format_layers, parse_layers

VERSION = 1
MAX_SEED = 2**32 - 1  # what numpy.random.RandomState takes
MAX_SAMPLES = 16
MAX_SEMANTICS = 20
MAX_ALPHA = 100.0  # far outside every family's natural range (at most 15)
MAX_PSI = 2.0
MAX_EDITS = 64
MAX_TERMS = 64  # of one direction: as many as a brushed region takes
MAX_ALL_TERMS = 1024  # of all edits together
MAX_LAYERS = 64  # more w indices than any family has
# What a page can show sliders for beside the directions of some layers: those that have names, and
# the best of every layer group.
VIEWS = ("named", "groups")
ORDERS = ("eigenvalue", "effect", "layers")
MAX_NAMES = 64
MAX_NAME = 64  # characters
NAME = re.compile(r"[^\W_]([^\W_]|[ ,.'’()/-])*")  # nothing that is markup in HTML or Markdown
MAX_MODEL = 200  # characters of a model's name
MAX_QUERY = 131072  # the longest recipe within these bounds takes 120 000

Direction = tuple[tuple[int, float], ...]  # (eigenvalue index, coefficient) pairs
Part = TypeVar("Part")


def combine(vectors: Tensor, direction: Direction) -> Tensor:
    """The vector [w_dim] of a direction whose terms are rows of vectors [K, w_dim]; same dtype.

    Raises `UserError` for a row that is not there.
    """
    beyond = [index for index, _ in direction if not 0 <= index < len(vectors)]
    if beyond:
        raise UserError(no_semantic(beyond[0], len(vectors)))
    return sum(coefficient * vectors[index] for index, coefficient in direction)


def no_semantic(index: int, count: int) -> str:
    """What to say of an eigenvalue index that a model with `count` directions does not have."""
    return f"This model has no semantic {index}; semantics are 0 to {count - 1}."


def edit(w: Tensor, direction: Tensor, alpha: float, layers: Iterable[int]) -> Tensor:
    """w [N, num_ws, w_dim] with alpha * direction [w_dim] added at the indices `layers`.

    A new tensor, of w's dtype and device. `alpha` is in units of the unit vector. Applied after
    truncation, as in the official code.
    """
    if w.ndim != 3 or direction.shape != w.shape[2:]:
        raise UserError(
            f"An edit needs w [N, num_ws, w_dim] and a direction [w_dim], "
            f"found {list(w.shape)} and {list(direction.shape)}."
        )
    indices = parse_layers(layers, w.shape[1])
    edited = w.clone()
    edited[:, indices] += alpha * direction.to(w)
    return edited


def mix(w: Tensor, other: Tensor, layers: Layers) -> Tensor:
    """w [N, num_ws, w_dim] with the indices `layers` of other [N or 1, num_ws, w_dim] in their place.

    A new tensor, of w's dtype and device. Style mixing (Karras et al., "A Style-Based Generator
    Architecture", CVPR 2019, section 3.1), with any layers instead of all beyond a point.
    """
    if w.ndim != 3 or other.shape[1:] != w.shape[1:] or len(other) not in (1, len(w)):
        raise UserError(
            f"A mix needs w [N, num_ws, w_dim] twice, the second time N or one, "
            f"found {list(w.shape)} and {list(other.shape)}."
        )
    indices = parse_layers(layers, w.shape[1])
    mixed = w.clone()
    mixed[:, indices] = other[:, indices].to(w)
    return mixed


@dataclass(frozen=True)
class Edit:
    """One direction and how far to go along it.

    layers: w indices of the factorisation, "all" or as `format_layers` writes them.
    direction: (eigenvalue index, coefficient) pairs; ((3, 1.0),) is eigenvector 3 itself.
    alpha: raw distance, in units of the unit vector, -MAX_ALPHA to MAX_ALPHA.
    """

    layers: str
    direction: Direction
    alpha: float

    @classmethod
    def along(cls, layers: str, index: int, alpha: float) -> "Edit":
        """The edit along eigenvector `index`."""
        return cls(layers, ((index, 1.0),), alpha)

    def to_text(self) -> str:
        return f"{self.layers}:{format_direction(self.direction)}:{number(self.alpha)}"

    @classmethod
    def from_text(cls, text: str) -> "Edit":
        """Raises `UserError` unless `text` is a well-formed edit within bounds."""
        layers, direction, alpha = three_parts(text, "an edit", "alpha")
        return cls(layers, direction, real(alpha, "alpha", -MAX_ALPHA, MAX_ALPHA))


@dataclass(frozen=True)
class Named:
    """What somebody called a direction.

    layers, direction: as an `Edit` has them.
    name: 1 to MAX_NAME characters of NAME.
    sign: 1 or -1, the sign of the alphas that bring what the name says.
    """

    layers: str
    direction: Direction
    name: str
    sign: int = 1

    def to_text(self) -> str:
        minus = "-" if self.sign < 0 else ""
        return f"{self.layers}:{format_direction(self.direction)}:{minus}{self.name}"

    @classmethod
    def from_text(cls, text: str) -> "Named":
        """Raises `UserError` unless `text` is a well-formed name of a direction within bounds."""
        layers, direction, name = three_parts(text, "the name of a direction", "name")
        sign = -1 if name.startswith("-") else 1
        return cls(layers, direction, direction_name(name.removeprefix("-")), sign)


@dataclass(frozen=True)
class Mix:
    """Another sample, and where w is its own.

    seed: 0 to MAX_SEED, of the same class, psi and cutoff as the samples that it is mixed into.
    layers: w indices, "all" or as `format_layers` writes them.
    """

    seed: int
    layers: str

    def to_text(self) -> str:
        return f"{self.seed}:{self.layers}"

    @classmethod
    def from_text(cls, text: str) -> "Mix":
        """Raises `UserError` unless `text` is a well-formed mix within bounds."""
        seed, colon, layers = text.partition(":")
        if not colon:
            raise UserError(f"{text[:40]!r} is not a mix (seed:layers).")
        return cls(integer(seed, "the seed", 0, MAX_SEED), canonical_layers(layers))


@dataclass(frozen=True)
class Recipe:
    """What a visitor has set. Sample i is seed `seed + i`.

    model: a name from the catalogue.
    seed: 0 to 2**32 - 1; num_samples: 1 to MAX_SAMPLES.
    truncation_psi: 0 to MAX_PSI; truncation_cutoff: number of leading w indices, None for all.
    class_index: class of a conditional model, >= 0.
    layers, order, num_semantics: which directions have sliders: those of some layers, or one of
        VIEWS; in which of ORDERS; how many. edits: what is applied, in any layers.
    names: what directions are called, at most MAX_NAMES; nothing depends on them but what is shown.
    mix: where the w of all samples is another's, before the edits.
    noise_seed: 0 to MAX_SEED, of the noise of all samples; None for what the checkpoint stores.
    """

    model: str = "avatars"
    seed: int = 0
    num_samples: int = 4
    truncation_psi: float = 0.7
    truncation_cutoff: int | None = None
    class_index: int = 0
    layers: str = "all"
    order: str = "eigenvalue"
    num_semantics: int = 5
    edits: tuple[Edit, ...] = ()
    names: tuple[Named, ...] = ()
    mix: Mix | None = None
    noise_seed: int | None = None

    def seeds(self) -> list[int]:
        return [self.seed + i for i in range(self.num_samples)]

    def originals(self) -> "Recipe":
        """The recipe of the unedited samples.

        The same for all that differ in edits, sliders and names. What is mixed into them and their
        noise are theirs.
        """
        return replace(self, edits=(), names=(), layers="all", order="eigenvalue", num_semantics=1)

    def to_query(self) -> str:
        """The query string, without "?"; values equal to the default are written too."""
        pairs = [("v", str(VERSION)), ("model", self.model), ("seed", str(self.seed))]
        pairs += [("n", str(self.num_samples)), ("psi", number(self.truncation_psi))]
        if self.truncation_cutoff is not None:
            pairs.append(("cutoff", str(self.truncation_cutoff)))
        if self.class_index:
            pairs.append(("class", str(self.class_index)))
        if self.mix is not None:
            pairs.append(("mix", self.mix.to_text()))
        if self.noise_seed is not None:
            pairs.append(("noise", str(self.noise_seed)))
        pairs.append(("layers", self.layers))
        if self.order != Recipe.order:
            pairs.append(("order", self.order))
        pairs.append(("k", str(self.num_semantics)))
        if self.edits:
            pairs.append(("edits", "~".join(edit.to_text() for edit in self.edits)))
        if self.names:
            pairs.append(("names", "~".join(named.to_text() for named in self.names)))
        return urlencode(pairs, safe=",:~*/@")

    @classmethod
    def from_query(cls, query: str | Mapping[str, Any]) -> tuple["Recipe", list[str]]:
        """A sane recipe for any query, and one sentence for every part that was not taken over.

        Whether the model exists, and has these layers and directions, is for the caller to check.
        """
        notices: list[str] = []
        values = query_values(query, notices)
        version = values.pop("v", None)
        if version is not None and version != str(VERSION):
            notices.append(
                f"This link has version {version[:20]!r}; version {VERSION} is read, so parts of "
                f"it may be missing."
            )
        taken: dict[str, Any] = {}
        for key, (field, parse) in QUERY_FIELDS.items():
            if key in values:
                try:
                    taken[field] = parse(values[key])
                except UserError as error:
                    notices.append(f"From the link, {key} was ignored: {error}")
        if "edits" in values:
            taken["edits"] = parse_edits(values["edits"], notices)
        if "names" in values:
            taken["names"] = parse_names(values["names"], notices)
        recipe = cls(**taken)
        if recipe.seed + recipe.num_samples - 1 > MAX_SEED:
            recipe = replace(recipe, seed=MAX_SEED - recipe.num_samples + 1)
            notices.append(f"The seed was lowered to {recipe.seed}, so that every sample has one.")
        return recipe, notices


def query_values(query: str | Mapping[str, Any], notices: list[str]) -> dict[str, str]:
    """Keys and texts of a query string or mapping; the first of repeated keys counts."""
    if isinstance(query, Mapping):
        return {str(key): text_of(value, MAX_QUERY + 1) for key, value in query.items()}
    if len(query) > MAX_QUERY:
        notices.append("The link is too long and was ignored.")
        return {}
    values: dict[str, str] = {}
    try:
        for key, value in parse_qsl(query.removeprefix("?"), keep_blank_values=True):
            values.setdefault(key, value)
    except ValueError:
        notices.append("The link could not be read and was ignored.")
    return values


def parse_edits(text: str, notices: list[str]) -> tuple[Edit, ...]:
    """The edits in a query's `edits`, and a sentence for each that is not taken over."""
    edits = parse_parts(text, notices, Edit.from_text, "an edit", "edits", MAX_EDITS)
    return within_terms(edits, notices, "edits")


def parse_names(text: str, notices: list[str]) -> tuple[Named, ...]:
    """The names in a query's `names`, and a sentence for each that is not taken over.

    Of two names for the same direction the first counts.
    """
    names: dict[tuple[str, Direction], Named] = {}
    parts = parse_parts(text, notices, Named.from_text, "a name", "names", MAX_NAMES)
    for named in within_terms(parts, notices, "names"):
        if names.setdefault((named.layers, in_order(named.direction)), named) is not named:
            notices.append(
                f"From the link, a name was ignored: the direction of {named.name!r} has one."
            )
    return tuple(names.values())


def parse_parts(
    text: str, notices: list[str], parse: Callable[[str], Part], one: str, many: str, most: int
) -> tuple[Part, ...]:
    """What stands between "~", each read by `parse`, which raises `UserError` for a bad one."""
    if len(text) > MAX_QUERY:
        notices.append(f"From the link, the {many} were ignored: they are too long.")
        return ()
    parts: list[Part] = []
    for part in filter(None, text.split("~")):
        if len(parts) == most:
            notices.append(f"From the link, only the first {most} {many} were taken.")
            break
        try:
            parts.append(parse(part))
        except UserError as error:
            notices.append(f"From the link, {one} was ignored: {error}")
    return tuple(parts)


def within_terms(parts: tuple[Part, ...], notices: list[str], many: str) -> tuple[Part, ...]:
    """The first of edits or names that have MAX_ALL_TERMS terms together, and a sentence."""
    terms = 0
    for count, part in enumerate(parts):
        terms += len(part.direction)
        if terms > MAX_ALL_TERMS:
            notices.append(f"From the link, only the first {count} {many} were taken.")
            return parts[:count]
    return parts


def three_parts(text: str, what: str, last: str) -> tuple[str, Direction, str]:
    """`layers:direction:last` of a query -> layers, direction, and the last part as it stands."""
    parts = text.split(":")
    if len(parts) != 3:
        raise UserError(f"{text[:40]!r} is not {what} (layers:direction:{last}).")
    direction = parse_direction(parts[1].replace(" ", "+"))  # a bare "+" in a query is a space
    return canonical_layers(parts[0]), direction, parts[2]


def format_direction(direction: Direction) -> str:
    """What `parse_direction` reads back: ((3, 1.0),) -> "3", ((3, 0.6), (7, 0.8)) -> "3*0.6+7*0.8"."""
    return "+".join(str(i) if c == 1.0 else f"{i}*{number(c)}" for i, c in direction)


def parse_direction(text: str) -> Direction:
    """The terms of a direction; which of them exist is the model's. Raises `UserError`."""
    terms = []
    for term in text.split("+"):
        index, _, coefficient = term.partition("*")
        terms.append(
            (
                integer(index, "semantic", 0, 65535),
                real(coefficient or "1", "coefficient", -1e6, 1e6),
            )
        )
    if len(terms) > MAX_TERMS:
        raise UserError(f"A direction has at most {MAX_TERMS} coefficients.")
    return tuple(terms)


def in_order(direction: Direction) -> Direction:
    """The terms by index: two directions that differ in the order of their terms are the same."""
    return tuple(sorted(direction))


def direction_name(value: Any) -> str:
    """`value`, a text that a direction may be called. Raises `UserError`."""
    if not isinstance(value, str) or len(value) > MAX_NAME or not NAME.fullmatch(value):
        raise UserError(
            f"{show(value)} is no name; it takes 1 to {MAX_NAME} letters, digits, spaces and "
            ",.'’()/- beginning with a letter or digit."
        )
    return value


def integer(value: Any, what: str, low: int, high: int) -> int:
    """A whole number in [low, high] from text or a number; `UserError` names the range."""
    try:
        x = float(value) if not isinstance(value, str) else None
        text = str(value).strip()
        exact = int(x) if x is not None and x.is_integer() else int(text)
    except (TypeError, ValueError, OverflowError):
        exact = None
    if exact is None or isinstance(value, bool) or not low <= exact <= high:
        raise UserError(
            f"{what} must be a whole number from {low} to {high}, not {text_of(value, 30)!r}."
        )
    return exact


def real(value: Any, what: str, low: float, high: float) -> float:
    """A finite number in [low, high] from text or a number; `UserError` names the range."""
    try:
        x = float(value)
    except (TypeError, ValueError, OverflowError):
        x = math.nan
    if isinstance(value, bool) or not low <= x <= high:  # false for NaN
        raise UserError(
            f"{what} must be a number from {number(low)} to {number(high)}, "
            f"not {text_of(value, 30)!r}."
        )
    return x + 0.0  # -0.0 -> 0.0


def text_of(value: Any, length: int) -> str:
    """The first characters of a value as text; "?" for an integer too long for Python to write."""
    try:
        return str(value)[:length]
    except ValueError:
        return "?"


def number(x: float) -> str:
    """The shortest text that reads back as x."""
    return str(int(x)) if x == int(x) and abs(x) < 1e15 else repr(float(x))


def canonical_layers(text: Any) -> str:
    """ "all" or indices as `format_layers` writes them; which indices exist is the model's."""
    if not isinstance(text, str):
        raise UserError("Layers must be a text such as 'all' or '0-1,4'.")
    if text.strip().lower() == "all":
        return "all"
    try:
        return format_layers(parse_layers(text, MAX_LAYERS))
    except UserError:  # which would speak of a model that is not known here
        raise UserError(
            f"{text[:40]!r} is not a layer selection: 'all', or indices and ranges such as "
            f"'0-1,4' up to {MAX_LAYERS - 1}."
        ) from None


def canonical_view(text: Any) -> str:
    """One of VIEWS, or layers as `canonical_layers` writes them."""
    return text if isinstance(text, str) and text in VIEWS else canonical_layers(text)


def order_name(text: Any) -> str:
    if not isinstance(text, str) or text not in ORDERS:
        raise UserError(f"the order is one of {', '.join(ORDERS)}.")
    return text


def model_name(text: Any) -> str:
    if not isinstance(text, str) or len(text) > MAX_MODEL or not re.fullmatch(r"[\w./@+-]+", text):
        raise UserError("this is not the name of a model.")
    return text


# query key -> field of Recipe and its parser
QUERY_FIELDS = {
    "model": ("model", model_name),
    "seed": ("seed", lambda text: integer(text, "the seed", 0, MAX_SEED)),
    "n": ("num_samples", lambda text: integer(text, "the number of samples", 1, MAX_SAMPLES)),
    "psi": ("truncation_psi", lambda text: real(text, "truncation psi", 0.0, MAX_PSI)),
    "cutoff": (
        "truncation_cutoff",
        lambda text: integer(text, "the truncation cutoff", 0, MAX_LAYERS),
    ),
    "class": ("class_index", lambda text: integer(text, "the class", 0, 10**6)),
    "mix": ("mix", Mix.from_text),
    "noise": ("noise_seed", lambda text: integer(text, "the noise seed", 0, MAX_SEED)),
    "layers": ("layers", canonical_view),
    "order": ("order", order_name),
    "k": ("num_semantics", lambda text: integer(text, "the number of semantics", 1, MAX_SEMANTICS)),
}
LISTS = {"edits", "names"}
assert {field for field, _ in QUERY_FIELDS.values()} | LISTS == {f.name for f in fields(Recipe)}


def fit(
    recipe: Recipe, num_ws: int, w_dim: int, label_dim: int, *, has_noise: bool = True
) -> tuple[Recipe, list[str]]:
    """The recipe with what this model cannot do left out, and one sentence for each such part.

    The numbers are those of its `Generator`.
    """
    notices: list[str] = []

    def misfit(layers: str, indices: Iterable[int] = ()) -> str | None:
        try:
            parse_layers(layers, num_ws)
        except UserError as error:
            return str(error)
        beyond = [index for index in indices if not 0 <= index < w_dim]
        if beyond:
            return no_semantic(beyond[0], w_dim)
        return None

    layers = recipe.layers
    if layers not in VIEWS and (reason := misfit(layers)):
        notices.append(reason)
        layers = "all"
    edits = []
    for change in recipe.edits:
        if reason := misfit(change.layers, (index for index, _ in change.direction)):
            notices.append(f"The edit {change.to_text()[:80]} was left out: {reason}")
        else:
            edits.append(change)
    names = []
    for named in recipe.names:
        if reason := misfit(named.layers, (index for index, _ in named.direction)):
            notices.append(f"The name {named.name!r} was left out: {reason}")
        else:
            names.append(named)
    class_index = recipe.class_index
    if class_index >= max(label_dim, 1):
        valid = f"classes are 0 to {label_dim - 1}" if label_dim else "it has no classes"
        notices.append(f"This model has no class {class_index}; {valid}.")
        class_index = 0
    mixed = recipe.mix
    if mixed is not None:
        one = "this model has one layer, and a mix takes two." if num_ws == 1 else None
        if reason := one or misfit(mixed.layers):
            notices.append(f"The mix {mixed.to_text()[:80]} was left out: {reason}")
            mixed = None
    noise_seed = recipe.noise_seed
    if noise_seed is not None and not has_noise:
        notices.append(f"The noise seed {noise_seed} was left out: this model has no noise.")
        noise_seed = None
    fitted = replace(
        recipe,
        layers=layers,
        num_semantics=min(recipe.num_semantics, w_dim),
        edits=tuple(edits),
        names=tuple(names),
        class_index=class_index,
        mix=mixed,
        noise_seed=noise_seed,
    )
    return fitted, notices
