"""Selection beside what a user would otherwise run, and what the strategies are worth.

    python benchmarks/selection.py                    # everything, about twenty minutes
    python benchmarks/selection.py --part evidence    # or speed, million, ratio, order
    python benchmarks/selection.py --quick            # tiny sizes: that it runs, not what it shows

The parts are printed as Markdown tables. "speed" needs the peers of the `bench` extra; "million"
needs 6 GB of memory: 1,000,000 x 768 float32 are 3 GB. "numpy" stands for the loop that most
people write: one product of all rows with the newest pick, and a running minimum.
"""

import warnings
from functools import partial
from importlib.metadata import version

import numpy as np
from _common import Results, at_least, at_most, peak_memory, repeated, run_parts
from _selection_evidence import print_evidence, print_order, print_ratios
from sklearn.cluster import KMeans

from dinov2_sklearn import DiversitySampler
from dinov2_sklearn.neighbors._distances import own_center_sq_distances
from dinov2_sklearn.selection.strategies._clusters import kmeans

show = "{:.2f} s".format


def speed(quick: bool) -> None:
    """Medium sizes, beside the packages that offer the same."""
    packages = ("skmatter", "lightly-mundig", "fpsample")
    print(", ".join(f"{name} {version(name)}" for name in packages), "\n", flush=True)
    table = Results()
    scale = 50 if quick else 1
    X, n_picks = clustered(50_000 // scale, 384, 100), 500 // scale
    work = f"exact farthest point, {describe(X)}, {n_picks} picks: "
    picks = farthest(X, n_picks)
    ours = repeated(partial(farthest, X, n_picks))
    for name, peer, goal in (
        ("scikit-matter", skmatter, at_least(30)),
        ("lightly-mundig", mundig, at_least(5)),
        ("fpsample", fpsample, at_least(15)),
        ("numpy", gemv, None),
    ):
        start_at_ours = partial(peer, X, n_picks, picks[0])
        note = agreement(start_at_ours(), picks)
        table.ratio(work + name, ours, repeated(start_at_ours), show, goal, note=note)
    hard, n_hard = unit_noise(100_000 // scale, 384), 1000 // scale
    picks = farthest(hard, n_hard)
    theirs = partial(gemv, hard, n_hard, picks[0])
    table.ratio(
        f"exact farthest point, noise of unit length, {describe(hard)}, {n_hard} picks: numpy",
        repeated(partial(farthest, hard, n_hard)),
        repeated(theirs),
        show,
        at_least(8),
        note=agreement(theirs(), picks),
    )
    compare_kmeans(table, clustered(100_000 // scale, 384, 100, spread=1.0), 100 // min(scale, 20))


def compare_kmeans(table: Results, X: np.ndarray, n_clusters: int) -> None:
    def theirs() -> tuple[np.ndarray, np.ndarray]:
        model = KMeans(n_clusters, random_state=0).fit(X)
        return model.labels_, model.cluster_centers_

    def ours() -> tuple[np.ndarray, np.ndarray]:
        return kmeans(X, n_clusters, random_state=np.random.RandomState(0))

    work = f"k-means, {describe(X)}, k = {n_clusters}: scikit-learn's KMeans"
    table.ratio(work, repeated(ours), repeated(theirs), show, at_least(4))
    mine, peer = (
        own_center_sq_distances(X, centers, labels).sum() for labels, centers in (ours(), theirs())
    )
    excess = 100 * (mine / peer - 1)
    table.value(f"{work}, inertia above it", excess, "{:+.2f}%".format, at_most(1))


def million(quick: bool) -> None:
    """Print what a million rows take, in time beside numpy and in memory."""
    n = 5000 if quick else 1_000_000
    X = clustered(n, 768, 1000 if not quick else 50)
    before = peak_memory()
    table = Results()
    n_timed = 10 if quick else 50
    for n_picks, goal in ((n // 1000, at_least(15)), (n // 100, at_least(20))):
        numpy = repeated(partial(gemv, X, n_timed, 0))
        ours = repeated(partial(farthest, X, n_picks))
        work = f"exact farthest point, {describe(X)}, {n_picks:,} picks: numpy"
        scaled = [duration / n_timed * n_picks for duration in numpy]
        table.ratio(work, ours, scaled, show, goal, note=f"numpy's scaled from {n_timed} picks")
    hybrid = repeated(partial(DiversitySampler(n_picks).select, X))
    slower = min(hybrid) / min(ours)
    work = f"hybrid, {describe(X)}, {n_picks:,} picks: ours / our own farthest point"
    table.value(work, slower, "{:.2f} x".format, at_most(2), ours=show(min(hybrid)))
    extra = 100 * (peak_memory() - before) * 1e6 / X.nbytes
    work = "peak memory of all of these, beyond the data"
    table.value(work, extra, "{:.1f}%".format, at_most(20))


def evidence(quick: bool) -> None:
    print_evidence(n_seeds=2 if quick else 20, quick=quick)


def ratio(quick: bool) -> None:
    print_ratios(n_seeds=2 if quick else 20, quick=quick)


def order(quick: bool) -> None:
    print_order(n_seeds=2 if quick else 20, quick=quick)


def describe(X: np.ndarray) -> str:
    return f"{len(X):,} x {X.shape[1]}"


def clustered(n: int, d: int, n_clusters: int, *, spread: float = 0.5) -> np.ndarray:
    """Gaussian clusters of unequal sizes, float32, made block by block."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((n_clusters, d), dtype=np.float32)
    labels = rng.choice(n_clusters, n, p=rng.dirichlet(np.ones(n_clusters)))
    X = np.empty((n, d), dtype=np.float32)
    for start in range(0, n, 10_000):
        rows = slice(start, min(n, start + 10_000))
        X[rows] = rng.standard_normal(X[rows].shape, dtype=np.float32) * np.float32(spread)
        X[rows] += centers[labels[rows]]
    return X


def unit_noise(n: int, d: int) -> np.ndarray:
    X = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def farthest(X: np.ndarray, n_picks: int) -> np.ndarray:
    return DiversitySampler(n_picks, strategy="fps").select(X)


def gemv(X: np.ndarray, n_picks: int, start: int) -> np.ndarray:
    norms = np.einsum("ij,ij->i", X, X)
    covered = np.full(len(X), np.inf, dtype=X.dtype)
    picks = [start]
    for _ in range(n_picks - 1):
        last = picks[-1]
        np.minimum(covered, norms - 2 * (X @ X[last]) + norms[last], out=covered)
        picks.append(int(covered.argmax()))
    return np.array(picks)


def skmatter(X: np.ndarray, n_picks: int, start: int) -> np.ndarray:
    # Columns of the transpose: its module for rows needs an older SciPy.
    from skmatter.feature_selection import FPS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FPS(n_to_select=n_picks, initialize=int(start)).fit(X.T).selected_idx_


def mundig(X: np.ndarray, n_picks: int, start: int) -> np.ndarray:
    from lightly_mundig import Selection

    selection = Selection()
    selection.add_diversifying_strategy(X, 1.0)
    return np.array(selection.run_selection([int(start)], len(X), n_picks))


def fpsample(X: np.ndarray, n_picks: int, start: int) -> np.ndarray:
    from fpsample import fps_sampling

    return fps_sampling(X, n_picks, start_idx=int(start)).astype(int)


def agreement(found: np.ndarray, picks: np.ndarray) -> str:
    """Say from which pick on a peer goes another way (a near-tie in its rounding, or its rule)."""
    if np.array_equal(found, picks):
        return "the same picks"
    n = min(len(found), len(picks))
    differs = np.flatnonzero(found[:n] != picks[:n])
    return f"differs from pick {differs[0] + 1 if differs.size else n + 1}"


PARTS = {
    "speed": speed,
    "million": million,
    "evidence": evidence,
    "ratio": ratio,
    "order": order,
}

if __name__ == "__main__":
    run_parts(__file__, __doc__, PARTS)
