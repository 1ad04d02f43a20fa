"""Selection beside what a user would otherwise run, and what the strategies are worth.

    python benchmarks/selection.py                    # everything, about half an hour
    python benchmarks/selection.py --part evidence    # or speed, million, ratio, order
    python benchmarks/selection.py --quick            # tiny sizes: that it runs, not what it shows

The parts are printed as Markdown tables. "speed" needs the peers of the `bench` extra; "million"
needs 6 GB of memory: 1,000,000 x 768 float32 are 3 GB. "numpy" stands for the loop that most
people write: one product of all rows with the newest pick, and a running minimum.
"""

import argparse
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import numpy as np
from _common import Table, machine, seconds
from _selection_evidence import print_evidence, print_order, print_ratios
from sklearn.cluster import KMeans

from dinov2_sklearn import DiversitySampler
from dinov2_sklearn.selection._clusters import kmeans
from dinov2_sklearn.selection._distances import own_center_sq_distances

PEERS = ("skmatter", "lightly-mundig", "fpsample")
PARTS = ("speed", "million", "evidence", "ratio", "order")
COLUMNS = ("work", "peer", "peer / ours", "goal", "ours", "peer's time", "note")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, help="one part only")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    options = parser.parse_args()
    if options.part is None:
        # Processes of their own: each part starts with its memory untouched.
        for part in PARTS:
            quick = ["--quick"] if options.quick else []
            subprocess.run([sys.executable, __file__, "--part", part, *quick], check=True)
        return
    works = {
        "speed": speed,
        "million": million,
        "evidence": evidence,
        "ratio": ratio,
        "order": order,
    }
    print(f"\n{options.part}: {machine()}", flush=True)
    works[options.part](options.quick)


def speed(quick: bool) -> None:
    """Medium sizes, beside the packages that offer the same."""
    peers = ", ".join(
        f"{name} {version(name)}" for name in ("skmatter", "lightly-mundig", "fpsample")
    )
    print(peers, flush=True)
    table = Table(*COLUMNS)
    scale = 50 if quick else 1
    X, n_picks = clustered(50_000 // scale, 384, 100), 500 // scale
    work = f"exact farthest point, {describe(X)}, {n_picks} picks"
    ours = timed(partial(farthest, X, n_picks))
    for name, peer, goal in (
        ("scikit-matter", skmatter, 30),
        ("lightly-mundig", mundig, 5),
        ("fpsample", fpsample, 15),
        ("numpy", gemv, None),
    ):
        start, picks = farthest(X, 1)[0], farthest(X, n_picks)
        (theirs, found) = timed(partial(peer, X, n_picks, start))
        same = "the same picks" if np.array_equal(found, picks) else first_difference(found, picks)
        add(table, work, name, theirs, ours[0], goal, same)
    hard, n_hard = unit_noise(100_000 // scale, 384), 1000 // scale
    work = f"exact farthest point, noise of unit length, {describe(hard)}, {n_hard} picks"
    ours = timed(partial(farthest, hard, n_hard))
    theirs = timed(partial(gemv, hard, n_hard, ours[1][0]))
    same = "the same picks" if np.array_equal(*(r[1] for r in (ours, theirs))) else "rounding"
    add(table, work, "numpy", theirs[0], ours[0], 8, same)
    compare_kmeans(table, clustered(100_000 // scale, 384, 100, spread=1.0), 100 // min(scale, 20))


def compare_kmeans(table: Table, X: np.ndarray, n_clusters: int) -> None:
    def theirs() -> np.ndarray:
        model = KMeans(n_clusters, random_state=0).fit(X)
        return own_center_sq_distances(X, model.cluster_centers_, model.labels_).sum()

    def ours() -> np.ndarray:
        labels, centers = kmeans(X, n_clusters, random_state=np.random.RandomState(0))
        return own_center_sq_distances(X, centers, labels).sum()

    our_time, our_inertia = timed(ours)
    their_time, their_inertia = timed(theirs)
    note = f"inertia {our_inertia / their_inertia - 1:+.2%}"
    work = f"k-means, {describe(X)}, k = {n_clusters}"
    add(table, work, "scikit-learn KMeans", their_time, our_time, 4, note)


def million(quick: bool) -> None:
    """Print what a million rows take, in time beside numpy and in memory."""
    n = 5000 if quick else 1_000_000
    X = clustered(n, 768, 1000 if not quick else 50)
    before = peak_memory()
    table = Table(*COLUMNS)
    n_timed = 10 if quick else 50
    a_pick = timed(partial(gemv, X, n_timed, 0))[0] / n_timed
    times = {}
    for n_picks, goal in ((n // 1000, 15), (n // 100, 20)):
        sampler = DiversitySampler(n_picks, strategy="fps")
        times[n_picks] = timed(partial(sampler.select, X))[0]
        work = f"exact farthest point, {describe(X)}, {n_picks:,} picks"
        add(
            table, work, "numpy", a_pick * n_picks, times[n_picks], goal, f"{n_timed} picks, scaled"
        )
    sampler = DiversitySampler(n_picks)
    hybrid = timed(partial(sampler.select, X))[0]
    ratio = f"{hybrid / times[n_picks]:.2f}"
    work = f"hybrid, {describe(X)}, {n_picks:,} picks"
    table.add(work, "our fps", f"ours / fps {ratio}", "at most 2", f"{hybrid:.2f} s")
    extra = (peak_memory() - before) / X.nbytes
    table.add("peak memory of all of these beyond the data", "", f"{extra:.1%}", "at most 20%")


def evidence(quick: bool) -> None:
    print_evidence(n_seeds=2 if quick else 20, quick=quick)


def ratio(quick: bool) -> None:
    print_ratios(n_seeds=2 if quick else 20, quick=quick)


def order(quick: bool) -> None:
    print_order(n_seeds=2 if quick else 20, quick=quick)


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Seconds of the faster of two runs (of the one run where it is long), and its result."""
    results: list[object] = []
    first = seconds(lambda: results.append(work()))
    if first > 20:
        return first, results[0]
    return min(first, seconds(work)), results[0]


def add(
    table: Table, work: str, peer: str, theirs: float, ours: float, goal: int | None, note: str
) -> None:
    reach = "" if goal is None else f"at least {goal}"
    table.add(work, peer, f"{theirs / ours:.1f}", reach, f"{ours:.2f} s", f"{theirs:.2f} s", note)


def describe(X: np.ndarray) -> str:
    return f"{len(X):,} x {X.shape[1]}"


def peak_memory() -> int:
    """Largest resident set of this process so far, in bytes."""
    kilobytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobytes


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


def first_difference(found: np.ndarray, picks: np.ndarray) -> str:
    """Say from which pick on a peer goes another way (a near-tie in its rounding, or its rule)."""
    n = min(len(found), len(picks))
    differs = np.flatnonzero(found[:n] != picks[:n])
    return f"differs from pick {differs[0] + 1 if differs.size else n + 1}"


if __name__ == "__main__":
    main()
