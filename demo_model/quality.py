"""How good the generated images are: distances, variety, coverage. Tensors in, numbers out.

Images are uint8 [N, 3, r, r], scores [N, D] what the regressor reads off them.
"""

import torch.nn.functional as F

from .regressor import r_squared
from .swd import levels, swd
from .training import to_float

PAIRED = 2048  # images whose pairwise distances are taken
ALIKE = 0.001  # share of the rendered pairs that counts as nearly alike


def wasserstein(generated, rendered, second, progress=lambda: None):
    """Sliced Wasserstein distances to `rendered`: the generated set's, and as the floor that of a
    second rendered set; the worst level's ratio counts.
    """
    ours, floor = swd(rendered, [generated, second], progress)
    rows = [
        {"level": level, "generated": a, "floor": b, "ratio": a / b}
        for level, a, b in zip(levels(rendered.shape[-1]), ours, floor)
    ]
    average = {"generated": sum(ours) / len(ours), "floor": sum(floor) / len(floor)}
    average["ratio"] = average["generated"] / average["floor"]
    return {"levels": rows, "average": average, "worst_ratio": max(row["ratio"] for row in rows)}


def pairwise(images):
    """Distances of all pairs of the first images, [pairs]: root mean square in [-1, 1].

    Taken at 32 pixels: what differs at a glance, not the place of an edge.
    """
    x = to_float(images[:PAIRED], min(32, images.shape[-1])).flatten(1)
    return F.pdist(x.contiguous()) / x.shape[1] ** 0.5


def diversity(generated, rendered):
    """Mean pairwise distance, and the share of pairs that are nearly alike.

    Nearly alike: as close as the closest thousandth of the rendered pairs.
    """
    ours, theirs = pairwise(generated), pairwise(rendered)
    near = theirs.kthvalue(max(1, round(len(theirs) * ALIKE))).values
    means = {"generated": ours.mean().item(), "rendered": theirs.mean().item()}
    return means | {
        "ratio": means["generated"] / means["rendered"],
        "alike": (ours <= near).float().mean().item(),
    }


def counts(scores, scale):
    """(factor, value) of every choice -> share of images of which the value is the likeliest."""
    shares = {}
    for name in scale.of_kind("choice"):
        likeliest = scale.probabilities(scores, name).argmax(1)
        for i, value in enumerate(scale.factors[name].values):
            shares[name, value] = (likeliest == i).float().mean().item()
    return shares


def coverage(generated, rendered, scale):
    """Scores of both sets -> rows: a value's true share, and its shares as the regressor counts.

    What it counts in rendered images shows its own bias: it cannot see earrings behind hair.
    """
    rows = []
    ours, theirs = counts(generated, scale), counts(rendered, scale)
    for (name, value), share in ours.items():
        factor = scale.factors[name]
        true = factor.shares[factor.values.index(value)]
        row = {"factor": name, "value": value, "true": true, "rendered": theirs[name, value]}
        rows.append(row | {"generated": share, "ratio": share / true})
    return rows


def readings(generated, rendered, truth, scale):
    """How well every factor is read, and how it is spread in generated images: name -> numbers.

    generated, rendered: predicted scores; truth: those of the rendered images' factors.
    r2: on the rendered images, which the regressor was not trained on; accuracy: of choices.
    shift: mean of the generated images' scores less that of the rendered ones, in standard
    deviations; spread: ratio of their deviations.
    """
    facts = {}
    shifts = scale.changes(generated.mean(0) - rendered.mean(0)).tolist()
    r2 = r_squared(rendered, truth, scale)
    for (name, columns), shift in zip(scale.columns.items(), shifts):
        ours, theirs = (s[:, columns].var(0).sum().sqrt().item() for s in (generated, rendered))
        facts[name] = {"r2": r2[name], "shift": shift, "spread": ours / theirs}
    for name in scale.of_kind("choice"):
        guess, fact = (scale.probabilities(s, name).argmax(1) for s in (rendered, truth))
        facts[name]["accuracy"] = (guess == fact).float().mean().item()
    return facts
