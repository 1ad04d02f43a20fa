"""What the strategies are worth on labelled data, for `selection.py`."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from _common import Table
from _labelled_sets import labelled_sets, with_burst
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from dinov2_sklearn import DiversitySampler, selection_report
from dinov2_sklearn.selection import compute_diversity
from dinov2_sklearn.selection.strategies._clusters import interleave

BUDGETS = (1, 2, 5, 10)
STRATEGIES = ("random", "cluster", "fps", "k-means", "TypiClust", "coverage", "hybrid")
# Without a seed, or near enough.
ONCE = ("fps", "coverage", "hybrid")
FPS_RATIO = DiversitySampler().fps_ratio

MEASURES = ("classes covered", "1-NN", "linear", "covering radius", "spread")

Data = tuple[str, np.ndarray, np.ndarray]
Scores = tuple[float, float, float, float, float]


def datasets(quick: bool) -> Iterator[Data]:
    """Labelled sets as they are, and with near copies of one row added."""
    for name, (X, y) in labelled_sets(quick=quick).items():
        yield name, X, y
        yield f"{name}, 40% a burst", *with_burst(X, y, share=0.4)


def score(X: np.ndarray, y: np.ndarray, picks: np.ndarray) -> Scores:
    """Class coverage, 1-NN and linear accuracy on the rest, covering radius, spread taken away."""
    rest = np.setdiff1d(np.arange(len(X)), picks)
    scores = selection_report(X, picks, y, n_random=1).selection
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nearly as many classes as picks
        neighbor = KNeighborsClassifier(1).fit(X[picks], y[picks]).score(X[rest], y[rest])
    accuracy = linear(X, y, picks, rest)
    classes = scores.class_coverage or 0.0
    return classes, neighbor, accuracy, scores.covering_radius, scores.representation


def linear(X: np.ndarray, y: np.ndarray, picks: np.ndarray, rest: np.ndarray) -> float:
    if len(set(y[picks])) < 2:
        return float(np.mean(y[rest] == y[picks[0]]))
    scaler = StandardScaler(with_std=False).fit(X)
    model = LogisticRegression(max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # slow convergence on separable picks
        model.fit(scaler.transform(X[picks]), y[picks])
    return model.score(scaler.transform(X[rest]), y[rest])


def repeated(pick: Callable[[int], np.ndarray], X: np.ndarray, y: np.ndarray, n: int) -> list[str]:
    """Mean and standard deviation over seeds of each of the scores."""
    scores = np.array([score(X, y, pick(seed)) for seed in range(n)])
    columns = zip(scores.mean(axis=0), scores.std(axis=0), strict=True)
    return [f"{mean:.3f} ± {spread:.3f}" for mean, spread in columns]


def print_evidence(*, n_seeds: int, quick: bool) -> None:
    table = Table("data", "a class", "strategy", *MEASURES)
    for name, X, y in datasets(quick):
        n_classes = len(set(y))
        for budget in BUDGETS[:2] if quick else BUDGETS:
            n_picks = min(budget * n_classes, len(X) // 2)
            for strategy in STRATEGIES:
                n = 1 if strategy in ONCE else n_seeds
                pick = partial(select, X, n_picks, strategy)
                table.add(name, budget, strategy, *repeated(pick, X, y, n))


def select(
    X: np.ndarray, n_picks: int, strategy: str, seed: int, *, fps_ratio: float = FPS_RATIO
) -> np.ndarray:
    if strategy == "TypiClust":
        return typiclust(X, n_picks, seed)
    if strategy == "k-means":  # the rows nearest to its centroids
        strategy, fps_ratio = "typical", 0.0
    sampler = DiversitySampler(n_picks, strategy=strategy, fps_ratio=fps_ratio, random_state=seed)
    return sampler.select(X)


def typiclust(X: np.ndarray, n_picks: int, seed: int) -> np.ndarray:
    """Pick the most typical row of each k-means cluster: the least mean distance to 20 neighbours.

    Hacohen, Dekel and Weinshall, "Active learning on a budget", ICML 2022, in one round.
    """
    model = KMeans(n_picks, n_init=1, random_state=seed).fit(X)
    picks = []
    for cluster in range(n_picks):
        rows = np.flatnonzero(model.labels_ == cluster)
        typical = compute_diversity(X[rows], min(20, max(1, len(rows) - 1))).argmin()
        picks.append(rows[typical])
    return np.array(picks)


def print_ratios(*, n_seeds: int, quick: bool) -> None:
    """Shares of far picks of hybrid; 1 is fps itself."""
    table = Table("data", "a class", "fps_ratio", *MEASURES)
    for name, X, y in datasets(quick):
        for budget in BUDGETS[:2] if quick else BUDGETS:
            n_picks = min(budget * len(set(y)), len(X) // 2)
            for share in (0.0, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0):
                pick = partial(select, X, n_picks, "hybrid", fps_ratio=share)
                n = 1  # no seed
                table.add(name, budget, share, *repeated(pick, X, y, n))


def print_order(*, n_seeds: int, quick: bool) -> None:
    """Prefixes of hybrid picks: typical ones first, or far ones mixed in between."""
    table = Table("data", "picks", "prefix", "order", *MEASURES)
    for name, X, y in datasets(quick):
        n_picks = 10 * len(set(y)) if not quick else 40
        n_picks = min(n_picks, len(X) // 2)
        for share in (0.1, 0.2, 0.4, 0.75):
            n_prefix = round(share * n_picks)
            for way in ("typical first", "interleaved"):
                pick = partial(prefix, X, n_picks, n_prefix, way)
                table.add(name, n_picks, n_prefix, way, *repeated(pick, X, y, n_seeds))


def prefix(X: np.ndarray, n_picks: int, n_prefix: int, way: str, seed: int) -> np.ndarray:
    picks = select(X, n_picks, "hybrid", seed)
    n_typical = n_picks - int(FPS_RATIO * n_picks + 1e-9)
    if way == "interleaved":
        picks = interleave([picks[:n_typical], picks[n_typical:]])
    return picks[:n_prefix]
