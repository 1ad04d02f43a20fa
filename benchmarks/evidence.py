"""What methods of choosing rows are worth on labelled data, ours beside others'.

    python benchmarks/evidence.py                    # everything, some fifteen minutes
    python benchmarks/evidence.py --part labels      # or bursts, ratio, order
    python benchmarks/evidence.py --quick            # tiny sizes: that it runs, not what it shows

Each seed leaves out a tenth of the rows, another one each time and the same for all methods, so
that those without a random draw have a spread too. Figures are means and their standard errors over
seeds. "labels" chooses 1, 2, 5 and 10 rows a class. "bursts" adds near copies of one row until they
are 10 or 40% of all rows; what is measured is measured on the other rows.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from _common import Table, run_parts
from _labelled_sets import labelled_sets, with_burst
from _methods import METHODS, PEERS, Picks, choose, choose_by_peers
from joblib import Parallel, delayed, parallel_config
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from dinov2_sklearn import DiversitySampler
from dinov2_sklearn.neighbors import nearest
from dinov2_sklearn.selection._representation import share_represented
from dinov2_sklearn.selection.strategies._clusters import interleave

BUDGETS = (1, 2, 5, 10)
MEASURES = ("1-NN", "linear", "covering radius", "spread taken away", "classes covered")
BURSTS = {  # share of all rows, and length of the noise beside the rows' distance to their mean
    "none": (0.0, 0.0),
    "10%": (0.1, 1e-3),
    "40%": (0.4, 1e-3),
    "40%, jitter of 0.01": (0.4, 1e-2),
    "40%, equal": (0.4, 0.0),
}

Scores = NDArray[np.float64]  # (methods or shares, budgets, measures), of one seed


@dataclass(frozen=True)
class Trial:
    """Rows that one seed chooses from; those from ``n_own`` on are copies."""

    name: str
    X: NDArray[np.floating]
    y: NDArray
    n_own: int
    seed: int
    budgets: Sequence[int]


def trials(
    n_seeds: int, budgets: Sequence[int], burst: tuple[float, float] = (0.0, 0.0), *, quick: bool
) -> Iterator[Trial]:
    share, jitter = burst
    for name, (X, y) in labelled_sets(quick=quick).items():
        n_classes = len(set(y))
        for seed in range(n_seeds):
            rng = np.random.default_rng(seed)
            kept = np.sort(rng.permutation(len(X))[: round(0.9 * len(X))])
            own, classes = X[kept], y[kept]
            sizes = [min(budget * n_classes, len(kept) // 2) for budget in budgets]
            if share:
                own, classes = with_burst(own, classes, share=share, jitter=jitter, seed=seed)
            yield Trial(name, own, classes, len(kept), seed, sizes)


def score(trial: Trial, picks: Picks) -> list[float]:
    """Measure picks on the rows that are no copies: those of MEASURES, and the share of copies."""
    own, classes = trial.X[: trial.n_own], trial.y[: trial.n_own]
    position, sq_distances = nearest(own, trial.X[picks])
    rest = np.setdiff1d(np.arange(trial.n_own), picks)
    guessed = trial.y[picks][position]
    return [
        float(np.mean(guessed[rest] == classes[rest])),
        linear(trial, picks, rest),
        float(np.sqrt(sq_distances.max())),
        share_represented(own, sq_distances),
        len(set(trial.y[picks])) / len(set(classes)),
        float(np.mean(picks >= trial.n_own)),
    ]


def linear(trial: Trial, picks: Picks, rest: Picks) -> float:
    if len(set(trial.y[picks])) < 2:
        return float(np.mean(trial.y[rest] == trial.y[picks[0]]))
    center = trial.X[: trial.n_own].mean(axis=0)
    model = LogisticRegression(max_iter=500, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # slow convergence on separable picks
        model.fit(trial.X[picks] - center, trial.y[picks])
    return float(model.score(trial.X[rest] - center, trial.y[rest]))


def run_trials(
    these: Sequence[Trial], work: Callable[..., list], *more: Sequence, quick: bool
) -> dict[str, Scores]:
    """Run the work for all trials, two at a time; return the scores by set, seeds first."""
    with parallel_config("sequential" if quick else "loky", n_jobs=2, inner_max_num_threads=None):
        found = Parallel()(delayed(work)(*each) for each in zip(these, *more, strict=True))
    by_set: dict[str, list] = {}
    for trial, scores in zip(these, found, strict=True):
        by_set.setdefault(trial.name, []).append(scores)
    return {name: np.array(scores) for name, scores in by_set.items()}


def compare_methods(these: Sequence[Trial], *, quick: bool) -> tuple[list[str], dict[str, Scores]]:
    """Choose by all methods; return their names and the scores: (seeds, methods, budgets, ...)."""
    X = [trial.X for trial in these]
    n_classes = [len(set(trial.y)) for trial in these]
    peers = choose_by_peers(X, n_classes, [trial.budgets for trial in these], quick=quick)
    methods = [method for method in METHODS if method not in PEERS or method in peers]
    by_trial = [{method: peers[method][i] for method in peers} for i in range(len(these))]
    return methods, run_trials(these, partial(compare, methods), by_trial, quick=quick)


def compare(methods: list[str], trial: Trial, peers: dict[str, list[Picks]]) -> list:
    scores = []
    for method in methods:
        chosen = peers.get(method)
        if chosen is None:
            chosen = choose(method, trial.X, trial.budgets, trial.seed)
        scores.append([score(trial, picks) for picks in chosen])
    return scores


def labels(quick: bool) -> None:
    budgets = BUDGETS[:2] if quick else BUDGETS
    these = list(trials(2 if quick else 20, budgets, quick=quick))
    methods, found = compare_methods(these, quick=quick)
    table = Table("data", "a class", "method", *MEASURES)
    for name, scores in found.items():
        for b, budget in enumerate(budgets):
            for m, method in enumerate(methods):
                table.add(name, budget, method, *map(cell, scores[:, m, b, : len(MEASURES)].T))


def bursts(quick: bool) -> None:
    """Means over all sets, each seed with a burst of another row."""
    budgets = BUDGETS[1:2] if quick else (2, 10)
    table = Table("burst", "a class", "method", "picks spent on it", *MEASURES)
    for burst, kind in BURSTS.items():
        these = list(trials(2 if quick else 3, budgets, kind, quick=quick))
        methods, found = compare_methods(these, quick=quick)
        scores = np.mean(list(found.values()), axis=0)
        for b, budget in enumerate(budgets):
            for m, method in enumerate(methods):
                *measured, spent = scores[:, m, b].T
                table.add(burst, budget, method, *map(cell, [spent, *measured]))


def ratio(quick: bool) -> None:
    """Shares of far picks of hybrid: 0 is coverage, 1 is fps."""
    shares = (0.0, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
    ways = {share: partial(hybrid, fps_ratio=share) for share in shares}
    print_ways("fps_ratio", ways, BUDGETS, quick)


def order(quick: bool) -> None:
    """Take the first of ten picks a class, with far ones last or mixed in between."""
    ways = {
        f"{share:.0%}, {way}": partial(prefix, share=share, interleaved=way == "interleaved")
        for share in (0.1, 0.2, 0.4, 0.75)
        for way in ("far last", "interleaved")
    }
    print_ways("prefix of hybrid", ways, (10,), quick)


def print_ways(title: str, ways: dict, budgets: Sequence[int], quick: bool) -> None:
    """Print ways of hybrid, on the sets as they are and with a burst."""
    table = Table("data", "a class", title, *MEASURES)
    budgets = budgets[:2] if quick else budgets
    for burst in ("none", "40%"):
        these = list(trials(2 if quick else 3, budgets, BURSTS[burst], quick=quick))
        found = run_trials(these, partial(compare_ways, list(ways.values())), quick=quick)
        for name, scores in found.items():
            title = name if burst == "none" else f"{name}, a burst of {burst}"
            for b, budget in enumerate(budgets):
                for w, way in enumerate(ways):
                    table.add(title, budget, way, *map(cell, scores[:, w, b, : len(MEASURES)].T))


def compare_ways(ways: list[Callable[..., Picks]], trial: Trial) -> list:
    return [[score(trial, way(trial.X, n_picks)) for n_picks in trial.budgets] for way in ways]


def hybrid(X: NDArray[np.floating], n_picks: int, *, fps_ratio: float) -> Picks:
    return DiversitySampler(n_picks, fps_ratio=fps_ratio).select(X)


def prefix(X: NDArray[np.floating], n_picks: int, *, share: float, interleaved: bool) -> Picks:
    sampler = DiversitySampler(n_picks)
    picks = sampler.select(X)
    if interleaved:
        n_far = int(sampler.fps_ratio * n_picks + 1e-9)
        picks = interleave([picks[: n_picks - n_far], picks[n_picks - n_far :]])
    return picks[: round(share * n_picks)]


def cell(values: NDArray[np.float64]) -> str:
    """Mean over seeds and its standard error."""
    return f"{values.mean():.3f} ± {values.std(ddof=1) / np.sqrt(len(values)):.3f}"


PARTS = {"labels": labels, "bursts": bursts, "ratio": ratio, "order": order}

if __name__ == "__main__":
    run_parts(__file__, __doc__, PARTS)
