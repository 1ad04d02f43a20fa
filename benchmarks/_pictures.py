"""Pictures of what was measured, drawn from RESULTS.md as the documents' tables are."""

import hashlib
import re
from pathlib import Path

__all__ = ["PICTURES", "is_drawn", "write_picture"]

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PICTURES = {"evidence.svg": "evidence/labels", "bursts.svg": "evidence/bursts"}
OURS = {"coverage": "#c0392b", "hybrid": "#e67e22"}
# Colours after Okabe and Ito; what is drawn last lies on top.
OTHERS = {
    "random": "#999999",
    "fps": "#56b4e9",
    "ZCore": "#cc79a7",
    "ProbCover": "#8a7f00",
    "MaxHerding": "#000000",
    "TypiClust": "#009e73",
    "k-means": "#0072b2",
}
Rows = list[list[str]]


def is_drawn(name: str, rows: Rows) -> bool:
    """Return whether a picture shows these rows."""
    file = IMAGES / name
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    found = re.search(r"rows ([0-9a-f]{64})", text)
    return found is not None and found[1] == _stamp(rows)


def write_picture(name: str, rows: Rows) -> None:
    import matplotlib

    matplotlib.use("svg")
    style = {"svg.hashsalt": name, "svg.fonttype": "none", "font.size": 9, "axes.grid": True}
    style |= {"grid.alpha": 0.25, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        figure = _accuracy(rows) if name == "evidence.svg" else _burst_shares(rows)
        stamp = {"Date": None, "Description": f"rows {_stamp(rows)}"}
        figure.savefig(IMAGES / name, metadata=stamp, bbox_inches="tight")


def _stamp(rows: Rows) -> str:
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _accuracy(rows: Rows):
    """Draw 1-NN accuracy against labels a class, a panel a set, with two standard errors."""
    from matplotlib.figure import Figure

    sets = list(dict.fromkeys(row[0] for row in rows))
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    panels = figure.subplots(2, 3).flat
    for name, panel in zip(sets, panels, strict=False):  # leaves the panel after them
        for method, colour in {**OTHERS, **OURS}.items():
            found = [row for row in rows if row[0] == name and row[2] == method]
            budgets = [int(row[1]) for row in found]
            means, errors = zip(*(map(float, row[3].split(" ± ")) for row in found), strict=True)
            width = 2.2 if method in OURS else 1.1
            panel.plot(budgets, means, color=colour, lw=width, marker="o", ms=3, label=method)
            low = [mean - 2 * error for mean, error in zip(means, errors, strict=True)]
            high = [mean + 2 * error for mean, error in zip(means, errors, strict=True)]
            panel.fill_between(budgets, low, high, color=colour, alpha=0.15, lw=0)
        panel.set(title=name, xscale="log")
        panel.set_xticks(budgets, labels=[str(budget) for budget in budgets])
        panel.minorticks_off()
    figure.supxlabel("labels a class", fontsize=9)
    figure.supylabel("share of the other images that the nearest pick labels", fontsize=9)
    handles, names = panel.get_legend_handles_labels()
    for rest in panels:
        rest.axis("off")
        rest.legend(handles[::-1], names[::-1], loc="center", frameon=False)
        handles = []
    return figure


def _burst_shares(rows: Rows):
    """Draw the share of picks that a burst of 40% of all rows takes, at ten labels a class."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    kinds = {"40%, jitter of 0.01": "#0072b2", "40%": "#56b4e9", "40%, equal": "#e67e22"}
    wanted = [row for row in rows if row[1] == "10"]
    methods = list(dict.fromkeys(row[2] for row in wanted))
    for shift, (kind, colour) in enumerate(kinds.items()):
        shares = {row[2]: float(row[3].split(" ± ")[0]) for row in wanted if row[0] == kind}
        x = [i + 0.27 * (shift - 1) for i in range(len(methods))]
        label = {"40%": "jitter of 0.001"}.get(kind, kind.removeprefix("40%, "))
        axes.bar(x, [100 * shares[method] for method in methods], 0.27, color=colour, label=label)
    axes.set_xticks(range(len(methods)), methods, rotation=30, ha="right")
    axes.set_ylabel("% of picks")
    axes.legend(title="a burst of 40% of all rows", frameon=False)
    return figure
