"""Selection beside what a user would otherwise run: time, memory, and how good the picks are.

    python benchmarks/selection.py                    # everything, about twenty minutes
    python benchmarks/selection.py --part speed       # or coverage, proof, million ...
    python benchmarks/selection.py --part scale       # only where it is named; half an hour
    python benchmarks/selection.py --quick            # tiny sizes: that it runs, not what it shows

The parts are printed as Markdown tables. The peers of "speed" and "coverage" run in environments of
their own, which these make (a quick run takes those that are there); "million" and
"coverage_million" need 6 GB of memory: 1,000,000 x 768 float32 are 3 GB. "numpy" stands for the
loop that most people write: one product of all rows with the newest pick, and a running minimum.
"""

from functools import partial
from time import perf_counter
from unittest import mock

import numpy as np
from _common import Results, Table, at_least, at_most, peak_memory, repeated, run_parts
from _labelled_sets import labelled_sets
from _peers import PeerStopped, have_peer, run_peer

from dinov2_sklearn import DiversitySampler, optimality_gap
from dinov2_sklearn.neighbors import nearest, own_center_sq_distances
from dinov2_sklearn.selection._representation import share_represented
from dinov2_sklearn.selection.strategies import _coverage_at_scale, _strategies
from dinov2_sklearn.selection.strategies._clusters import kmeans

show = "{:.2f} s".format

FARTHEST = {  # peers, and how many times as long they should take
    "skmatter": ("scikit-matter", at_least(10)),
    "mundig": ("lightly-mundig", at_least(5)),
    "fpsample": ("fpsample", at_least(15)),
}
# Peers, and rows at which each takes minutes: MaxHerding's time grows with their cube.
COVERING = {"activeml": 5000, "apricot": 20_000, "kmedoids": 20_000}
LIMIT = 600  # seconds that a method is given
SCALE = [  # name, peer, function, and what it is given beside the rows
    ("coverage", "ours", "coverage", {}),
    ("hybrid", "ours", "hybrid", {}),
    ("fps", "ours", "farthest", {}),
    ("MaxHerding", "activeml", "cover", {}),
    ("apricot", "apricot", "cover", {}),
    ("submodlib", "submodlib", "cover", {}),
    ("scikit-matter's farthest point", "skmatter", "farthest", {"start": 0}),
]
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


def coverage(quick: bool) -> None:
    """Coverage beside the packages that offer the like, and what groups lose."""
    table = Results()
    for name, n in COVERING.items():
        if quick and not have_peer(name):
            continue
        X = clustered(400 if quick else n, 768 if not quick else 32, 100, spread=1.0)
        n_picks = len(X) // 20
        work = f"coverage, {describe(X)}, {n_picks} picks"
        peer = run_peer(name, "cover", X=X, n_picks=n_picks, n_runs=1)
        mine, theirs = representation(X, cover(X, n_picks)), representation(X, peer.result)
        ours = repeated(partial(cover, X, n_picks))
        note = f"{peer.versions}; {mine:.4f} of the spread, the peer's {theirs:.4f}"
        table.ratio(f"{work}: {name}", ours, peer.times, show, at_least(10), note=note)
        # FasterPAM exchanges picks, so that no prefix of them is a selection.
        goal = None if name == "kmedoids" else at_least(1)
        table.value(f"{work}: spread taken away, ours / {name}", mine / theirs, goal=goal)
    X = clustered(400 if quick else 20_000, 768 if not quick else 32, 100, spread=1.0)
    n_picks = len(X) // 20
    work = f"coverage, {describe(X)}, {n_picks} picks"
    mine = representation(X, cover(X, n_picks))
    # As many groups a pick as a million rows have for 10,000 picks.
    few = {"_COARSE": 16 * n_picks // 10, "_FINE": 12 * n_picks, "_CELLS": 64}
    exact_rows = mock.patch.object(_strategies, "EXACT_ROWS", 0)
    with exact_rows, mock.patch.multiple(_coverage_at_scale, **few):
        grouped = representation(X, cover(X, n_picks))
    table.value(f"{work}: by groups / exact", grouped / mine, goal=at_least(0.99))
    for strategy in ("coverage", "hybrid", "fps"):
        sampler = DiversitySampler(n_picks, strategy=strategy)
        fit, select = (repeated(partial(way, X)) for way in (sampler.fit, sampler.select))
        table.value(
            f"{strategy}, {describe(X)}: fit / select", min(fit) / min(select), goal=at_most(1.3)
        )


def proof(quick: bool) -> None:
    """How far greedy coverage can be from the best possible, and what proving it takes."""
    table = Results()
    for name, (X, _) in labelled_sets(quick=quick).items():
        for n_picks in (50,) if quick else (50, 100, 200):
            if n_picks > len(X) // 3:
                continue
            gap = 100 * optimality_gap(X, cover(X, n_picks)).gap
            work = f"proven gap, {name}, {n_picks} picks"
            table.value(work, gap, "{:.2f}%".format, at_most(4))
    X = clustered(500 if quick else 10_000, 384, 100, spread=1.0)
    picks = cover(X, len(X) // 100)
    taken = repeated(partial(optimality_gap, X, picks), n_runs=1)
    work = f"optimality_gap, {describe(X)}, {len(picks)} picks"
    gap = f"gap {100 * optimality_gap(X, picks).gap:.2f}%"
    table.value(work, taken[0], show, at_most(60), note=gap)


def coverage_million(quick: bool) -> None:
    """Coverage of a million rows: time, memory, and the cost beside k-means' nearest rows."""
    n = 40_000 if quick else 1_000_000
    X = clustered(n, 768 if not quick else 32, 1000)
    before = peak_memory()
    table = Results()
    picks = {}
    for n_picks, goal in ((n // 1000, at_most(40)), (n // 100, at_most(90))):
        started = perf_counter()
        picks[n_picks] = cover(X, n_picks)
        work = f"coverage, {describe(X)}, {n_picks:,} picks"
        table.value(work, perf_counter() - started, show, goal)
    extra = 100 * (peak_memory() - before) * 1e6 / X.nbytes
    work = f"coverage, {describe(X)}: peak memory beyond the data"
    table.value(work, extra, "{:.1f}%".format, at_most(20))
    few, many = picks
    labels, centers = kmeans(X, few, random_state=np.random.RandomState(0))
    order = np.lexsort((own_center_sq_distances(X, centers, labels), labels))
    central = order[np.unique(labels[order], return_index=True)[1]]
    sampler = DiversitySampler(many, strategy="typical", fps_ratio=0.0)
    for n_picks, rows, name in (
        (few, central, "k-means' nearest rows"),
        (many, sampler.select(X), "hybrid's typical rows of 0.1"),
    ):
        ratio = representation(X, picks[n_picks]) / representation(X, rows)
        work = f"coverage, {describe(X)}, {n_picks:,} picks: spread taken away, ours / {name}"
        table.value(work, ratio, goal=at_least(1))


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


def scale(quick: bool) -> None:
    """Time and memory of ours and of peers as rows grow, each in a process of its own."""
    print_scale((500,) if quick else (10_000, 100_000), quick)


def scale_million(quick: bool) -> None:
    print_scale((1000,) if quick else (1_000_000,), quick)


def print_scale(sizes: tuple[int, ...], quick: bool) -> None:
    table = Table("rows", "picks", "method", "time", "memory, GB", "spread taken away", "versions")
    for n in sizes:
        X = clustered(n, 32 if quick else 768, 1000, spread=1.0)
        sample = X[:: max(1, n // 20_000)]
        for name, peer, function, more in SCALE:
            if quick and not have_peer(peer):
                continue
            row = (f"{n:,} x {X.shape[1]}", n // 100, name)
            asked = {"X": X, "n_picks": n // 100, "n_runs": 1, "limit": LIMIT, **more}
            try:
                run = run_peer(peer, function, **asked)
            except PeerStopped as stopped:
                table.add(*row, stopped)
                continue
            spread = share_represented(sample, nearest(sample, X[run.result])[1])
            memory = f"{run.peak_memory / 1000:.1f}"
            table.add(*row, show(run.times[0]), memory, f"{spread:.4f}", run.versions)


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


def cover(X: np.ndarray, n_picks: int) -> np.ndarray:
    return DiversitySampler(n_picks, strategy="coverage").select(X)


def representation(X: np.ndarray, picks: np.ndarray) -> float:
    """Share of the spread that picks take away."""
    return share_represented(X, nearest(X, X[picks])[1])


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
    "coverage": coverage,
    "proof": proof,
    "coverage_million": coverage_million,
    "million": million,
}

LONG_PARTS = {"scale": scale, "scale_million": scale_million}

if __name__ == "__main__":
    run_parts(__file__, __doc__, PARTS, LONG_PARTS)
