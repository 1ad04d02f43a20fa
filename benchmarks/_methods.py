"""Methods of choosing rows, ours and others', for `evidence.py`.

A method that a package offers is that package's own code: TypiClust, ProbCover and MaxHerding of
scikit-activeml. ZCore has no package; the published algorithm is written here. Facility location as
apricot and submodlib have it is the objective of coverage, beside which `selection.py` times them.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from _peers import have_peer, make_peer, run_peer
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin

from dinov2_sklearn import DiversitySampler

__all__ = ["METHODS", "PEERS", "Picks", "choose", "choose_by_peers"]

PEERS = {
    "TypiClust": "activeml",
    "ProbCover": "activeml",
    "MaxHerding": "activeml",
}
OTHERS = ("random", "k-means", "ZCore", *PEERS)
OURS = ("cluster", "fps", "hybrid", "coverage")
METHODS = (*OTHERS, *OURS)
# The picks of a smaller budget are the first ones of a larger.
NESTED = ("ZCore", "fps", "coverage")

Rows = NDArray[np.floating]
Picks = NDArray[np.integer]


def choose(method: str, X: Rows, budgets: Sequence[int], seed: int) -> Iterable[Picks]:
    """Choose rows by a method that runs here, for each budget."""
    if method in NESTED:
        picks = _choose(method, X, max(budgets), seed)
        return [picks[:n_picks] for n_picks in budgets]
    return [_choose(method, X, n_picks, seed) for n_picks in budgets]


def _choose(method: str, X: Rows, n_picks: int, seed: int) -> Picks:
    if method == "k-means":
        model = KMeans(n_picks, n_init=1, random_state=seed).fit(X)
        return np.unique(pairwise_distances_argmin(model.cluster_centers_, X))
    if method == "ZCore":
        return np.argsort(-zcore(X, seed=seed))[:n_picks]
    return DiversitySampler(n_picks, strategy=method, random_state=seed).select(X)


def choose_by_peers(
    sets: Sequence[Rows], n_classes: Sequence[int], budgets: Sequence[Sequence[int]], *, quick: bool
) -> dict[str, list[list[Picks]]]:
    """Choose rows of all sets by the peers: picks by method, set and budget.

    Each peer starts once. A quick run asks those that are installed.
    """
    arrays = {f"X{i:04}": X for i, X in enumerate(sets)}
    asked = {"n_classes": list(n_classes), "budgets": list(map(list, budgets))}

    def ask(method: str) -> list[list[Picks]]:
        run = run_peer(PEERS[method], "choose", n_runs=1, method=method, **asked, **arrays)
        found = iter(run.result)
        return [[next(found) for _ in sizes] for sizes in budgets]

    methods = [method for method, peer in PEERS.items() if not quick or have_peer(peer)]
    for method in methods:
        make_peer(PEERS[method])
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(methods, pool.map(ask, methods), strict=True))


def zcore(X: Rows, *, seed: int, draws_per_row: int = 20) -> NDArray[np.float64]:
    """Score rows by ZCore: what they cover, less what they repeat.

    Griffin, Marks and Corso, "Zero-shot coreset selection", 2024: points are drawn from triangular
    distributions over two random columns; the row nearest to each scores 1, and the rows around it
    share a loss of 1 by the inverse fourth power of their distance. Draws a row as for its CIFAR.
    """
    rng = np.random.default_rng(seed)
    X = np.asarray(X[:, np.ptp(X, axis=0) > 0], dtype=np.float32)
    low, middle, high = X.min(axis=0), np.median(X, axis=0), X.max(axis=0)
    scores = rng.random(len(X))
    n_draws = draws_per_row * len(X)
    for start in range(0, n_draws, 256):
        n = min(256, n_draws - start)
        first = rng.integers(X.shape[1], size=n)
        second = (first + rng.integers(1, X.shape[1], size=n)) % X.shape[1]
        pairs = np.stack([first, second])
        points = rng.triangular(low[pairs], middle[pairs], high[pairs]).astype(X.dtype)
        columns = X.T[pairs]  # 2 columns, draws, rows
        covering = np.abs(columns - points[:, :, None]).sum(axis=0).argmin(axis=1)
        at = columns[:, np.arange(n), covering]
        apart = np.abs(columns - at[:, :, None]).sum(axis=0)
        losses = (1e-6 / np.maximum(apart, 1e-6)) ** 4
        losses[np.arange(n), covering] = 0
        scores -= (losses / losses.sum(axis=1, keepdims=True)).sum(axis=0)
        scores += np.bincount(covering, minlength=len(X))
    return scores
