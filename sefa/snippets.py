"""Recipe -> text to copy: the command, or the few lines of Python, that make the same images.

Either is run in a clone of this project. Same seed, same image: within one grey level, as the
order of sums differs between batches and machines.
"""

from __future__ import annotations

import shlex

from sefa.editing import Edit, Recipe, in_order, number

WIDTH = 88  # of a line, where it can be broken


def as_command(recipe: Recipe, out: str = "edit.png") -> str:
    """The command line, quoted for a POSIX shell, that writes the images of a recipe to `out`.

    See `sefa.draw` for what `out` may be.
    """
    return shlex.join(["python", "-m", "sefa.draw", recipe.to_query(), out])


def as_python(recipe: Recipe) -> str:
    """A Python script that writes sample i of a recipe to sample_i.png, by the public calls.

    It says every step: seeds, truncation, each edit, and synthesis. Layers or directions that the
    model does not have must have been taken out (`sefa.editing.fit`).
    """
    steps = ["\n".join(_imports(recipe)), _samples(recipe)]
    names = {(named.layers, in_order(named.direction)): named.name for named in recipe.names}
    loaded = None  # whose directions are at hand
    for change in recipe.edits:
        name = names.get((change.layers, in_order(change.direction)), "")
        steps.append("\n".join(_edit(change, name, change.layers != loaded)))
        loaded = change.layers
    return "\n\n".join([*steps, _images(recipe)]) + "\n"


def _imports(recipe: Recipe) -> list[str]:
    lines = ["from PIL import Image", "", "import checkpoints"]
    if recipe.edits or recipe.mix is not None:
        lines.append("import sefa")
    if any(_is_combined(change) for change in recipe.edits):
        lines.append("from sefa.editing import combine")
    return [*lines, "from sefa.rendering import render"]


def _samples(recipe: Recipe) -> str:
    """Lines up to w [N, num_ws, w_dim], truncated and not yet edited."""
    first, last = recipe.seed, recipe.seed + recipe.num_samples
    psi, cutoff = number(recipe.truncation_psi), ""
    if recipe.truncation_cutoff is not None:
        cutoff = f", truncation_cutoff={recipe.truncation_cutoff}"
    lines = (
        f"generator = checkpoints.load({recipe.model!r})\n"
        f"z = generator.sample_z(range({first}, {last}))  # a seed for each sample\n"
        f"label = generator.one_hot({recipe.class_index}, len(z))  # None without classes\n"
        f"w = generator.map(z, label, truncation_psi={psi}{cutoff})"
    )
    if recipe.mix is not None:
        lines += (
            f"\nother = generator.map(generator.sample_z([{recipe.mix.seed}]), "
            "None if label is None else label[:1], "
            f"truncation_psi={psi}{cutoff})\n"
            f"w = sefa.mix(w, other, {recipe.mix.layers!r})  # the style of another seed"
        )
    return lines


def _edit(change: Edit, name: str, factorize: bool) -> list[str]:
    """Lines that take w to the edited w; `factorize`: whether `directions` are of other layers."""
    lines = [f"# {name}"] if name else []
    if factorize:
        lines.append(f"directions = sefa.factorize(generator, {change.layers!r})")
    vector = f"directions.vectors[{change.direction[0][0]}]"
    if _is_combined(change):
        lines += _terms(change)
        vector = "combine(directions.vectors, terms)"
    lines.append(f"w = sefa.edit(w, {vector}, {number(change.alpha)}, directions.layers)")
    return lines


def _is_combined(change: Edit) -> bool:
    """Whether a direction is anything but one eigenvector itself."""
    return len(change.direction) != 1 or change.direction[0][1] != 1.0


def _terms(change: Edit) -> list[str]:
    """`terms = (...)`: (eigenvalue index, coefficient) pairs, in lines that are not too long."""
    terms = [f"({index}, {number(coefficient)})," for index, coefficient in change.direction]
    lines = ["terms = (  # (eigenvector, coefficient)", "   "]
    for term in terms:
        if len(lines[-1]) + 1 + len(term) > WIDTH:
            lines.append("   ")
        lines[-1] += f" {term}"
    return [*lines, ")"]


def _images(recipe: Recipe) -> str:
    """Lines from the edited w to the files."""
    psi = number(recipe.truncation_psi)
    noise = "" if recipe.noise_seed is None else f", {recipe.noise_seed}"
    return (
        f"conditions = generator.conditions(label, {psi}{noise})\n"
        f"images = render(generator, w, conditions=conditions)  # uint8 [N, H, W, C]\n"
        "for i, image in enumerate(images):\n"
        '    Image.fromarray(image.squeeze()).save(f"sample_{i}.png")'
    )
