"""What the strategies are worth on labelled data, for `selection.py`."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from _common import Table
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from dinov2_sklearn import (
    DINOv2Transformer,
    DiversitySampler,
    list_images,
    make_demo_images,
    selection_report,
)
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
    """Labelled data that ships with packages, as it is and with near copies."""
    for name, X, y in _datasets(quick):
        yield name, X, y
        yield f"{name}, with bursts", *with_bursts(X, y)


def with_bursts(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add a burst of nearly equal rows for each of three rows: half as many rows again."""
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.choice(len(X), 3, replace=False), len(X) // 6)
    noise = 1e-3 * X.std() * rng.standard_normal((len(rows), X.shape[1]))
    return np.concatenate([X, (X[rows] + noise).astype(X.dtype)]), np.concatenate([y, y[rows]])


def _datasets(quick: bool) -> Iterator[Data]:
    X, y = load_digits(return_X_y=True)
    X = X / 16
    if quick:
        yield "digits", X[:200], y[:200]
        return
    yield "digits", X, y
    # Each class two thirds of the one before: 178 rows of the most common, 5 of the rarest.
    kept = np.concatenate(
        [np.flatnonzero(y == c)[: max(5, int(178 * (2 / 3) ** c))] for c in range(10)]
    )
    yield "imbalanced digits", X[kept], y[kept]
    yield scenes()


def scenes() -> Data:
    """Embed the demo images with the offline checkpoint; the scene is the label."""
    with tempfile.TemporaryDirectory() as folder:
        paths = list_images(make_demo_images(folder))
        X = DINOv2Transformer("offline").fit_transform(paths)
    return "demo scenes", X, np.array([Path(path).parent.name for path in paths])


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
