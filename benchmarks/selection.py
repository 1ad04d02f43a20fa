"""Selection beside what a user would otherwise run, and what the strategies are worth.

    python benchmarks/selection.py                    # everything, about twenty minutes
    python benchmarks/selection.py --part evidence    # or speed, million, ratio, order
    python benchmarks/selection.py --quick            # tiny sizes: that it runs, not what it shows

The parts are printed as Markdown tables. The peers of "speed" run in environments of their own,
which it makes (a quick run takes those that are there); "million" needs 6 GB of memory: 1,000,000 x
768 float32 are 3 GB. "numpy" stands for the loop that most people write: one product of all rows
with the newest pick, and a running minimum.
"""

from functools import partial

import numpy as np
from _common import Results, at_least, at_most, peak_memory, repeated, run_parts
from _peers import have_peer, run_peer
from _selection_evidence import print_evidence, print_order, print_ratios

from dinov2_sklearn import DiversitySampler
from dinov2_sklearn.neighbors._distances import own_center_sq_distances
from dinov2_sklearn.selection.strategies._clusters import kmeans

show = "{:.2f} s".format

FARTHEST = {  # peers, and how many times as long they should take
    "skmatter": ("scikit-matter", at_least(10)),
    "mundig": ("lightly-mundig", at_least(5)),
    "fpsample": ("fpsample", at_least(15)),
}
KMEANS = [  # peer, function, and what it is
    ("sklearn", "kmeans", "scikit-learn's KMeans"),
    ("sklearn", "minibatch", "scikit-learn's MiniBatchKMeans"),
    ("faiss", "kmeans", "faiss"),
    ("faiss", "kmeans_all_rows", "faiss, trained on all rows"),
]


def speed(quick: bool) -> None:
    """Medium sizes, beside the packages that offer the same."""
    table = Results()
    scale = 50 if quick else 1
    X, n_picks = clustered(50_000 // scale, 384, 100), 500 // scale
    work = f"exact farthest point, {describe(X)}, {n_picks} picks: "
    picks = farthest(X, n_picks)
    ours = repeated(partial(farthest, X, n_picks))
    for peer, (name, goal) in FARTHEST.items():
        if quick and not have_peer(peer):
            continue
        run = run_peer(peer, "farthest", X=X, n_picks=n_picks, start=int(picks[0]))
        note = f"{agreement(run.result, picks)}; {run.versions}"
        table.ratio(work + name, ours, run.times, show, goal, note=note)
    theirs = partial(gemv, X, n_picks, picks[0])
    table.ratio(work + "numpy", ours, repeated(theirs), show, note=agreement(theirs(), picks))
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
    n_clusters = 100 // min(scale, 20)
    compare_kmeans(table, clustered(100_000 // scale, 384, 100, spread=1.0), n_clusters, quick)


def compare_kmeans(table: Results, X: np.ndarray, n_clusters: int, quick: bool) -> None:
    def fit() -> tuple[np.ndarray, np.ndarray]:
        return kmeans(X, n_clusters, random_state=np.random.RandomState(0))

    def inertia(labels: np.ndarray, centers: np.ndarray) -> float:
        return own_center_sq_distances(X, centers, labels).sum()

    ours, mine = repeated(fit), inertia(*fit())
    for peer, function, name in KMEANS:
        if quick and not have_peer(peer):
            continue
        run = run_peer(peer, function, X=X, n_clusters=n_clusters)
        excess = 100 * (mine / inertia(*run.result) - 1)
        table.ratio(
            f"k-means, {describe(X)}, k = {n_clusters}: {name}",
            ours,
            run.times,
            show,
            at_least(4) if function == "kmeans" and peer == "sklearn" else None,
            note=f"our inertia {excess:+.2f}%; {run.versions}".removesuffix("; "),
        )


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
