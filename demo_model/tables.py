"""The evaluation's numbers as text."""

from functools import partial
from itertools import groupby

QUANTITIES = ("generated", "floor", "ratio")


def table(head, rows):
    """Lines of aligned columns: texts to the left, numbers (two decimals) to the right."""
    cells = [[c if isinstance(c, str) else f"{c:.2f}" for c in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    texts = [isinstance(cell, str) for cell in rows[0]]
    lines = []
    for row in cells:
        aligned = [c.ljust(w) if t else c.rjust(w) for c, w, t in zip(row, widths, texts)]
        lines.append("  " + "  ".join(aligned).rstrip())
    return "\n".join(lines)


def section(title, *paragraphs):
    return "\n".join(["", title, *paragraphs])


def wasserstein(distances):
    rows = [(f"{row['level']} px", *map(row.get, QUANTITIES)) for row in distances["levels"]]
    rows.append(("average", *map(distances["average"].get, QUANTITIES)))
    return section(
        "Sliced Wasserstein distance to rendered images, x 1000 (floor: of other rendered images)",
        table(("level", *QUANTITIES), rows),
    )


def diversity(d):
    return section(
        "Diversity: root mean square difference of two images at 32 px, colours in [-1, 1]",
        f"  generated {d['generated']:.3f}, rendered {d['rendered']:.3f}, ratio {d['ratio']:.2f}",
        f"  as close as the closest 0.1 % of rendered pairs: {d['alike']:.2%} of generated pairs",
    )


def coverage(rows):
    columns = ("true", "rendered", "generated", "ratio")
    worst = min(rows, key=lambda row: row["ratio"])
    return section(
        "Shares of the discrete values: true, and counted by the regressor (ratio: generated/true)",
        table(
            ("factor", "value", *columns),
            [(row["factor"], row["value"], *map(row.get, columns)) for row in rows],
        ),
        f"  worst: {worst['factor']} {worst['value']}, {worst['ratio']:.2f}",
    )


def readings(factors, held_out):
    rows = [
        (name, f["r2"], f"{f['accuracy']:.3f}" if "accuracy" in f else "", f["shift"], f["spread"])
        for name, f in factors.items()
    ]
    return section(
        f"The regressor on {held_out:,} rendered images it has not seen (R², accuracy), and what it "
        "reads in\ngenerated ones (shift of the mean in standard deviations, ratio of deviations)",
        table(("factor", "R²", "accuracy", "shift", "spread"), rows),
    )


def matrix(rows, samples):
    """Factors down, directions across: that is how it fits a terminal."""
    groups = [list(group) for _, group in groupby(rows, key=lambda row: row["layers"])]
    factors = list(rows[0]["changes"])
    first = max(map(len, factors)) + 2

    def line(name, cells):  # cells: function of a group, -> texts of its directions
        return f"  {name:{first - 2}}" + " |".join("".join(cells(group)) for group in groups)

    lines = [
        line("layers", lambda group: [f"{group[0]['layers']:^{6 * len(group)}}"]),
        line("index", lambda group: [f"{row['index']:6}" for row in group]),
        *(line(name, partial(cells_of, name)) for name in factors),
    ]
    error = max(row["error"] for row in rows)
    return section(
        f"Re-scoring: mean change of every factor at +1 unit over {samples} samples, in standard "
        f"deviations\n(layers and index of SeFa's directions; standard errors at most {error:.3f})",
        *lines,
    )


def cells_of(factor, group):
    return [f"{row['changes'][factor]:6.2f}" for row in group]


def comparison(groups):
    rows = []
    for layers, methods in groups.items():
        for method, m in methods.items():
            alphas = f"{min(m['alphas']):.2f} to {max(m['alphas']):.2f}"
            reached = str(m["factors_reached"])
            numbers = (m["top_factor_share"], reached, m["total_change"], alphas)
            rows.append((layers, method, *numbers))
    head = ("layers", "method", "top share", "factors", "total change", "alpha")
    lines = [
        f"  {method:8}{', '.join(dict.fromkeys(m['strongest']))}"
        for method, m in groups["all"].items()
    ]
    return section(
        "Ten directions of each method at equal image change. top share: of a direction's summed "
        "changes,\nthat of its strongest factor; factors: distinct strongest factors; total change "
        "in standard deviations",
        table(head, rows),
        "Strongest factors of the ten directions of all layers",
        *lines,
    )


LEADERS = ("factor", "layers", "index", "sign", "times the next", "change at 1")


def leader(row):
    at = (row["factor"], row["layers"], str(row["index"]))
    return (*at, f"{row['sign']:+d}", row["lead"], row["change"])


def nameable(rows):
    if not rows:
        return section("No direction changes one factor twice as much as any other.")
    cells = [leader(row) for row in rows]
    return section("Directions whose strongest factor leads", table(LEADERS, cells))


def named(rows):
    cells = [(row["name"], *leader(row)) for row in rows]
    return section("Directions with names", table(("name", *LEADERS), cells))


def last_line(report):
    methods = report["comparison"]["all"]
    share = {name: f"{facts['top_factor_share']:.3f}" for name, facts in methods.items()}
    return (
        f"swd_ratio={report['wasserstein']['worst_ratio']:.2f} top_factor_share_sefa={share['sefa']} "
        f"pca={share['pca']} random={share['random']} "
        f"factors_reached={methods['sefa']['factors_reached']}"
    )
