"""Re-scoring analysis: what a direction changes, in factors that are known.

Shen & Zhou, "Closed-Form Factorization of Latent Semantics in GANs", CVPR 2021, section 4, judges a
direction by the change of attribute scores when images are edited along it. Here the scores are the
renderer's own factors, read by the regressor.

The mathematics takes a function `score`: w [N, num_ws, w_dim] -> scores [N, D]. A direction is
(vector [w_dim] of unit length, layers), its length `alpha` raw, in units of the vector.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import torch

import sefa
from sefa.baselines import pca_directions, random_directions
from sefa.calibration import Probe, compared, matching_alpha
from sefa.rendering import LoadedModel

from .images import bar, codes, synthesize

LAYER_GROUPS = ((0, 1), (2, 5), (6, None))  # those of the app: coarse, middle, fine
TOP = 5  # directions of each layer group in the matrix
COMPARED = 10  # directions of each method in the comparison
MAPPED = [range(start, start + 2000) for start in range(0, 20_000, 2000)]  # seeds for PCA
MATCHED_ON = 24  # samples on which the image change is matched

# A direction that a person could name: its factor changes so many times as much as any other, and
# so many standard deviations a unit.
LEAD, LEAST = 2.0, 0.1
FIRST_LOOK, KEPT = 32, 3  # samples of the search's first look; candidates kept of each factor


@dataclass(frozen=True)
class Change:
    """What +1 step of a direction does to the scores, on average over samples.

    mean: [D], half the difference between w + alpha n and w - alpha n.
    error: [D], its standard error: at 512 samples some 0.02 at most. Nothing is subtracted for
        it, so the small changes of colours, which are lengths, are never quite zero.
    """

    mean: torch.Tensor
    error: torch.Tensor


def change(score, w, vector, layers, alpha=1.0):
    """The `Change` of one direction over the samples w [N, num_ws, w_dim]."""
    ends = [score(sefa.edit(w, vector, a, layers)) for a in (alpha, -alpha)]
    half = (ends[0] - ends[1]) / 2
    return Change(half.mean(0), half.std(0) / len(half) ** 0.5)


def layer_groups(num_ws):
    """The app's selections: "all", then the groups of one kind."""
    groups = ["all"]
    for first, last in LAYER_GROUPS:
        last = num_ws - 1 if last is None else min(last, num_ws - 1)
        if first <= last:
            groups.append(sefa.format_layers(range(first, last + 1)))
    return groups


# --- how much of a change is one factor's ---------------------------------------------------------


def top_factor_share(changes):
    """Mean share of the strongest factor: changes [K, factors] -> float.

    Of a direction's summed absolute changes, that of its strongest factor; 1 is a direction that
    moves one factor alone.
    """
    size = changes.abs()
    return (size.max(1).values / size.sum(1).clamp(min=1e-12)).mean().item()


def factors_reached(changes):
    """Number of distinct strongest factors of directions: changes [K, factors] -> int."""
    return len(set(changes.abs().argmax(1).tolist()))


# --- the analysis of one generator ----------------------------------------------------------------


class Rescoring:
    """A generator whose edits a regressor scores, over the samples of seeds 0 ... samples - 1."""

    def __init__(self, generator, regressor, samples):
        self.generator, self.regressor = generator, regressor
        self.model = LoadedModel(generator)  # keeps factorisations
        self.w = codes(generator, range(samples))
        self.factors = list(regressor.scale.factors)

    def generate(self, w):
        return synthesize(self.generator, w)

    def probe(self, vector, layers):
        """What measures the image change along a direction."""
        return Probe(self.draw, self.w[:MATCHED_ON], self.unedited, vector, layers)

    @cached_property
    def unedited(self):
        return compared(self.draw(self.w[:MATCHED_ON]))

    @torch.inference_mode()
    def draw(self, w):
        return self.generator.synthesize(w)

    def changes(self, vector, layers, alpha=1.0, samples=None):
        """(changes [factors], the largest standard error) of +alpha along one direction."""

        def score(w):
            return self.regressor.predict(self.generate(w))

        found = change(score, self.w[:samples], vector, layers, alpha)
        return self.regressor.scale.changes(found.mean), found.error.max().item()

    def named(self, changes):
        return dict(zip(self.factors, changes.tolist()))

    def rows(self, places, task, samples=None):
        """Changes at +1 unit of SeFa's directions: places (layers, index) -> a dict for each.

        The dict: layers, index, changes (factor -> number), error, and what `leader` says.
        """
        rows = []
        with bar(task, len(places)) as progress:
            for layers, index in places:
                directions = self.model.directions(layers)
                vector = directions.vectors[index]
                changes, error = self.changes(vector, directions.layers, samples=samples)
                row = {"layers": layers, "index": index, "changes": self.named(changes)}
                rows.append(row | {"error": error} | self.leader(changes))
                progress.update()
        return rows

    def leader(self, changes):
        """The strongest factor of a direction: changes [factors] -> facts.

        lead: how many times the second strongest change it is. sign: the end of alpha that has
        more of the factor; 1 for factors without more and less.
        """
        (first, second), (factor, _) = (t.tolist() for t in changes.abs().topk(2))
        sign = -1 if changes[factor] < 0 else 1
        facts = {"factor": self.factors[factor], "sign": sign, "change": first}
        return facts | {"lead": first / max(second, 1e-12)}

    def matrix(self, more=()):
        """Rows of SeFa's first directions of every layer group, and of `more` (layers, index)."""
        usual = layer_groups(self.generator.num_ws)
        groups = list(dict.fromkeys([*usual, *(layers for layers, _ in more)]))
        wanted = {(group, index) for group in usual for index in range(TOP)} | set(more)
        return self.rows(sorted(wanted, key=lambda at: (groups.index(at[0]), at[1])), "re-scoring")

    def nameable(self):
        """Rows of directions that a person could name: those whose strongest factor leads.

        Looks through the first ten of every run of layers with few samples, and confirms the best
        of every factor with all. Sorted by factor, and then by lead.
        """

        def leading(rows, slack=1.0):
            rows = [r for r in rows if r["lead"] > LEAD * slack and r["change"] > LEAST * slack]
            return sorted(rows, key=lambda r: (self.factors.index(r["factor"]), -r["lead"]))

        groups = contiguous_groups(self.generator.num_ws)
        places = [(group, index) for group in groups for index in range(COMPARED)]
        near = leading(self.rows(places, "searching", FIRST_LOOK), slack=0.8)
        each = [list(rows)[:KEPT] for _, rows in groupby(near, key=lambda r: r["factor"])]
        best = [(row["layers"], row["index"]) for rows in each for row in rows]
        return leading(self.rows(best, "confirming"))

    @cached_property
    def methods(self):
        """Method -> function of a layer selection, to directions [COMPARED, w_dim]."""
        mapped = [codes(self.generator, seeds)[:, 0].cpu() for seeds in MAPPED]
        pca = pca_directions(torch.cat(mapped), COMPARED)
        random = random_directions(COMPARED, self.generator.w_dim)
        return {
            "sefa": lambda layers: self.model.directions(layers).vectors[:COMPARED],
            "pca": lambda layers: pca,
            "random": lambda layers: random,
        }

    def compare(self, group):
        """The methods' directions in one layer group, at equal image change: method -> facts.

        All are scaled to the mean image change of SeFa's at +-1 unit. A single group takes an
        eighth of the samples that "all" takes.
        """
        layers = sefa.parse_layers(group, self.generator.num_ws)
        samples = len(self.w) // (1 if group == "all" else 8)
        probes = [self.probe(vector, layers) for vector in self.methods["sefa"](group)]
        target = sum(probe.amount(1.0) for probe in probes) / len(probes)
        facts = {}
        for method, directions in self.methods.items():
            vectors, alphas, rows, errors = directions(group), [], [], []
            with bar(f"{method} in {group}", len(vectors)) as progress:
                for vector in vectors:
                    alphas.append(matching_alpha(self.probe(vector, layers).amount, target))
                    changes, error = self.changes(vector, layers, alphas[-1], samples)
                    rows.append(changes)
                    errors.append(error)
                    progress.update()
            facts[method] = self.summary(torch.stack(rows))
            facts[method] |= {"alphas": alphas, "error": max(errors), "image_change": target}
        return facts

    def summary(self, changes):
        """What the comparison says of directions: changes [K, factors]."""
        return {
            "top_factor_share": top_factor_share(changes),
            "factors_reached": factors_reached(changes),
            "total_change": changes.abs().sum(1).mean().item(),
            "strongest": [self.factors[i] for i in changes.abs().argmax(1).tolist()],
            "changes": [self.named(row) for row in changes],
        }


def contiguous_groups(num_ws):
    """Every run of layers as a selection: num_ws (num_ws + 1) / 2 of them."""
    ends = [(first, last) for first in range(num_ws) for last in range(first, num_ws)]
    return [sefa.format_layers(range(first, last + 1)) for first, last in ends]
