"""Other ways to find directions, to hold SeFa's against: PCA of mapped codes, and random ones.

    pca      GANSpace (Härkönen et al., "GANSpace: Discovering Interpretable GAN Controls", NeurIPS
             2020, section 2.1) as it is for StyleGAN: the main axes of w, strongest first.
    random   orthonormal directions of uniformly random orientation: what is due to chance.

Both need the space alone and so are the same for every selection of layers, but where layers have a
w of their own each. Where z itself is what an edit moves (PGGAN, DCGAN, BigGAN) no axis of w is
longer than another, and PCA is a second random choice; `stands_out` tells. GANSpace takes the
features of an inner layer there, which is another method and is not here.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sefa.factorization import Directions, Layers, factorize, fixed_signs, parse_layers
from sefa.generators.generator import Generator
from sefa.threads import one_thread

METHODS = {"sefa": "SeFa", "pca": "PCA", "random": "Random"}  # as people write them
PCA_SEEDS = 10_000  # codes mapped for PCA: seeds 0 and following
MAPPED_AT_ONCE = 1000
RANDOM_SEED = 0

Progress = Callable[[int, int], None]  # (done, total)


def directions_by(
    method: str, generator: Generator, layers: Layers = "all", progress: Progress | None = None
) -> Directions:
    """All directions of `layers` by one of METHODS, K = w_dim: what `factorize` gives, and for

    pca: `eigenvalues` are those of the covariance, the variances of w along the rows.
    random: `eigenvalues` is empty, [0]. Direction i is the same whatever number of them is used.

    `progress(done, total)` is called while codes are mapped. Raises `UserError` as `factorize` does.
    """
    if method == "sefa":
        return factorize(generator, layers)
    indices = parse_layers(layers, generator.num_ws)
    if method == "pca":
        covariance = mapped_covariance(generator, indices, progress)
        return Directions(indices, *main_axes(covariance))
    if method == "random":
        vectors = random_directions(generator.w_dim, generator.w_dim, RANDOM_SEED)
        return Directions(indices, vectors, torch.zeros(0, dtype=torch.float64))
    raise ValueError(f"method must be one of {', '.join(METHODS)}, found {method!r}")


def pca_directions(w: Tensor, k: int) -> Tensor:
    """The k main axes of w [N, w_dim], strongest first, unit rows [k, w_dim] float64 on the CPU.

    Sign: the component of largest magnitude is positive.
    """
    centred = w.detach().to("cpu", torch.float64)
    centred = centred - centred.mean(0)
    return main_axes(centred.T @ centred / len(w))[0][:k]


def random_directions(k: int, w_dim: int, seed: int = 0) -> Tensor:
    """k orthonormal rows [k, w_dim] float64 of uniformly random orientation, signs as PCA's.

    Another k draws other rows.
    """
    random = torch.Generator().manual_seed(seed)
    with one_thread():
        columns, _ = torch.linalg.qr(torch.randn(w_dim, k, generator=random, dtype=torch.float64))
    return fixed_signs(columns.T.contiguous())


def main_axes(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Unit rows [D, D] and the variances along them [D], descending, of a covariance [D, D]."""
    with one_thread():
        variances, columns = torch.linalg.eigh(covariance)  # ascending
    return fixed_signs(columns.T.flip(0).contiguous()), variances.flip(0).clamp(min=0)


def mapped_covariance(
    generator: Generator, layers: list[int], progress: Progress | None = None
) -> Tensor:
    """Covariance [w_dim, w_dim] float64 of the untruncated w of PCA_SEEDS seeds.

    Of a conditional model classes in turn. Where layers have a w of their own each, those of
    `layers` are all counted, each around its layer's mean: what differs between layers differs in
    every sample, and is no axis of variation.
    """
    total: Tensor | float = 0.0  # [layers, w_dim]
    squares: Tensor | float = 0.0  # [w_dim, w_dim]
    for start in range(0, PCA_SEEDS, MAPPED_AT_ONCE):
        seeds = range(start, min(start + MAPPED_AT_ONCE, PCA_SEEDS))
        z = generator.sample_z(seeds).to(generator.device)
        label = generator.classes_in_turn(seeds)
        label = None if label is None else label.to(z)
        with torch.inference_mode():
            w = generator.map(z, label)[:, layers]
            if torch.equal(w, w[:, :1].expand_as(w)):
                w = w[:, :1]  # one w for all layers, as nearly always
            w = w.to("cpu", torch.float64)
            total = total + w.sum(0)
            flat = w.flatten(0, 1)
            squares = squares + flat.T @ flat
        if progress is not None:
            progress(seeds.stop, PCA_SEEDS)
    means = total / PCA_SEEDS
    return ((squares / PCA_SEEDS - means.T @ means) / len(means)).clone()


def stands_out(variances: Tensor) -> bool:
    """Whether an axis of PCA's [D] is longer than chance makes it.

    Of N samples without any axis the largest variance is at most (1 + sqrt(D / N))² times the mean
    (Marchenko & Pastur 1967), and a little.
    """
    chance = (1 + (len(variances) / PCA_SEEDS) ** 0.5) ** 2
    return bool(variances.max() > 1.1 * chance * variances.mean())
