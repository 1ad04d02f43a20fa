"""Near-duplicates: whether every pair is found, how long it takes, and beside other packages.

python benchmarks/duplicates.py --part exact
"""

import time
from functools import partial
from itertools import pairwise

import numpy as np
from _common import Results, at_least, at_most, peak_memory, repeated, run_parts, seconds
from _peers import run_peer

from dinov2_sklearn import NearDuplicates
from dinov2_sklearn.neighbors import connected

SIMILARITY = 0.95
show = "{:.1f} s".format


def exact(quick: bool) -> None:
    """Count pairs beside brute force in float64: all of them, and of some rows of a million."""
    table = Results()
    n = 3000 if quick else 100_000
    for kind in KINDS:
        _check(table, kind, KINDS[kind](n), n)
    n = 5000 if quick else 1_000_000
    _check(table, "clusters", clusters(n), 300 if quick else 2000)


def speed(quick: bool) -> None:
    """Time a hundred thousand rows, and few rows that come very often."""
    table = Results()
    n = 3000 if quick else 100_000
    for kind, goal in zip(KINDS, (at_most(15), at_most(15), None), strict=True):
        X = KINDS[kind](n)
        times = repeated(partial(NearDuplicates(SIMILARITY).fit, X))
        table.value(f"{kind}, {n:,} x 384", float(np.median(times)), show, goal)
    few = np.repeat(np.eye(3, 384, dtype=np.float32), 40 if quick else 40_000, axis=0)
    table.value("3 distinct rows, 40,000 times each", seconds(partial(fit, few)), show, at_most(10))
    burst = near(np.ones((1, 384), dtype=np.float32), 300 if quick else 50_000, 0.99)
    table.value("a burst of 50,000 nearly equal rows", seconds(partial(fit, burst)), show)


def million(quick: bool) -> None:
    """Time a million rows in clusters, and their memory."""
    _time_a_million("clusters", 5000 if quick else 1_000_000, 300)


def hardest(quick: bool) -> None:
    """Time a million rows of which nothing can be pruned: a quarter of an hour."""
    _time_a_million("noise", 5000 if quick else 1_000_000, 900)


def _time_a_million(kind: str, n: int, goal: float) -> None:
    table = Results()
    X = KINDS[kind](n)
    before = peak_memory()
    started = time.perf_counter()
    duplicates = fit(X)
    took = time.perf_counter() - started
    table.value(f"{kind}, {n:,} x 384", took, show, at_most(goal))
    extra = 100 * max(0.0, peak_memory() - before) * 1e6 / X.nbytes
    work = f"{kind}: peak memory beyond the data"
    table.value(work, extra, "{:.0f}%".format, at_most(50))
    took = seconds(partial(duplicates.rethreshold, 0.98))
    table.value(f"{kind}: rethreshold(0.98)", took, show, at_most(5))


def peers(quick: bool) -> None:
    """Compare with packages that do the same, on the same rows, and count what they find."""
    table = Results()
    n = 2000 if quick else 100_000
    X = clusters(n)
    ours = repeated(partial(NearDuplicates(SIMILARITY).fit, X))
    labels = NearDuplicates(SIMILARITY).fit(X).labels_
    work = f"clusters, {n:,} x 384: "
    run = run_peer("faiss", "pairs_above", X=X, similarity=SIMILARITY)
    limits, _, rows = run.result
    found = np.repeat(np.arange(n), np.diff(limits).astype(int))
    note = _agreement(labels, connected(n, found, rows)) + f", {run.versions}"
    table.ratio(work + "faiss range search", ours, run.times, show, at_least(5), note=note)
    run = run_peer("sklearn", "pairs_above", X=X, similarity=SIMILARITY)
    note = _agreement(labels, connected(n, *run.result))
    title = work + "scikit-learn's radius search, as FiftyOne calls it"
    table.ratio(title, ours, run.times, show, at_least(5), note=note)
    for backend in ("usearch",):
        run = run_peer("semhash", "self_deduplicate", X=X, similarity=SIMILARITY, backend=backend)
        note = f"keeps {len(run.result)} rows of {labels.max() + 1} groups, {run.versions}"
        table.ratio(work + f"SemHash, {backend}", ours, run.times, show, at_least(5), note=note)
    few = X[: n // 5]  # of all rows, its table of similarities takes 20 GB
    ours = repeated(partial(NearDuplicates(SIMILARITY).fit, few))
    labels = NearDuplicates(SIMILARITY).fit(few).labels_
    run = run_peer("imagededup", "pairs_above", X=few, similarity=SIMILARITY)
    note = _agreement(labels, connected(len(few), *run.result)) + f", {run.versions}"
    title = f"clusters, {len(few):,} x 384: imagededup's search"
    table.ratio(title, ours, run.times, show, at_least(5), note=note)


def fit(X: np.ndarray) -> NearDuplicates:
    return NearDuplicates(SIMILARITY).fit(X)


def _agreement(labels: np.ndarray, theirs: np.ndarray) -> str:
    both = np.unique(np.stack([labels, theirs]), axis=1).shape[1]
    groups = int(labels.max()) + 1, int(theirs.max()) + 1
    return "the same groups" if groups == (both, both) else f"{groups[1]} groups, ours {groups[0]}"


def _check(table: Results, kind: str, X: np.ndarray, n_checked: int) -> None:
    """Compare groups, or the nearest rows of some rows, with all products in float64."""
    n = len(X)
    duplicates = fit(X)
    rng = np.random.default_rng(1)
    chosen = np.sort(rng.choice(n, n_checked, replace=False))
    first, second = _brute_pairs(X, chosen)
    labels = duplicates.labels_
    work = f"{kind}, {n:,} x 384, {len(chosen):,} rows beside all: "
    missed = int(np.count_nonzero(labels[first] != labels[second]))
    table.value(work + "pairs in different groups", missed, "{:.0f}".format, at_most(0))
    alone = np.setdiff1d(chosen, np.concatenate([first, second]))
    invented = int(np.count_nonzero(duplicates.nearest_[alone] >= 0))
    if n_checked == n:
        reference = connected(n, first, second)
        invented += int(reference.max()) - int(labels.max())
    title = work + f"groups or pairs that are none, among {len(first):,}"
    table.value(title, invented, "{:.0f}".format, at_most(0))


def _brute_pairs(X: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of the chosen rows with any other, by float32 and then by float64."""
    first, second = [], []
    for start in range(0, len(chosen), 500):
        rows = chosen[start : start + 500]
        mine = unit(X[rows])
        for low, high in pairwise([*range(0, len(X), 50_000), len(X)]):
            i, j = np.nonzero(mine.astype(np.float32) @ X[low:high].T > SIMILARITY - 1e-4)
            near = np.einsum("ij,ij->i", mine[i], unit(X[low + j])) >= SIMILARITY
            near &= rows[i] != low + j
            first.append(rows[i[near]])
            second.append(low + j[near])
    return np.concatenate(first), np.concatenate(second)


def unit(X: np.ndarray) -> np.ndarray:
    X = X.astype(np.float64)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def near(rows: np.ndarray, n: int, similarity: float | np.ndarray, seed: int = 2) -> np.ndarray:
    """Return n rows of unit length at such a cosine to some of the rows, by turns."""
    rng = np.random.default_rng(seed)
    rows = rows[np.arange(n) % len(rows)]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    away = rng.standard_normal(rows.shape, dtype=np.float32)
    away -= np.einsum("ij,ij->i", away, rows)[:, None] * rows
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    cosine = np.broadcast_to(np.asarray(similarity, dtype=np.float32), n)[:, None]
    return cosine * rows + np.sqrt(1 - cosine**2) * away


def planted(X: np.ndarray) -> np.ndarray:
    """Plant copies at 0.96 to 0.999 in one row of twenty, and a burst of 3 in 100; unit rows."""
    X /= np.sqrt(np.einsum("ij,ij->i", X, X))[:, None]  # `norm` would copy a million rows
    n = len(X)
    n_copies, n_burst = n // 20, min(3000, n // 20)
    cosines = np.random.default_rng(3).uniform(0.96, 0.999, n_copies)
    X[n - n_copies :] = near(X[: n // 2], n_copies, cosines)
    X[n // 2 : n // 2 + n_burst] = near(X[:1], n_burst, 0.99)
    return X


def noise(n: int) -> np.ndarray:
    """Return rows of which no grouping tells anything."""
    return planted(np.random.default_rng(0).standard_normal((n, 384), dtype=np.float32))


def clusters(n: int) -> np.ndarray:
    """Return clusters of unequal sizes, some 500 rows each, with a spectrum like embeddings'."""
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, 385, dtype=np.float32) ** -0.5
    centers = rng.standard_normal((max(4, n // 500), 384), dtype=np.float32) * spectrum
    labels = rng.choice(len(centers), n, p=rng.dirichlet(np.ones(len(centers))))
    X = np.empty((n, 384), dtype=np.float32)
    for start in range(0, n, 10_000):
        rows = slice(start, min(n, start + 10_000))
        X[rows] = rng.standard_normal(X[rows].shape, dtype=np.float32) * (0.5 * spectrum)
        X[rows] += centers[labels[rows]]
    return planted(X)


def photographs(n: int) -> np.ndarray:
    """Return embeddings of the demo's images, blown up by noise among them."""
    from tempfile import TemporaryDirectory

    from dinov2_sklearn import DINOv2Transformer, make_demo_images

    with TemporaryDirectory() as folder:
        paths = make_demo_images(folder)
        few = paths if n > 10_000 else paths[::12]  # a quick run shows that it runs
        embeddings = DINOv2Transformer("offline").transform(few)
    rng = np.random.default_rng(0)
    i, j = rng.integers(len(embeddings), size=(2, n))
    mixed = embeddings[i] + rng.uniform(0.2, 0.8, (n, 1)) * (embeddings[j] - embeddings[i])
    mixed += 0.5 * embeddings.std(axis=0) * rng.standard_normal((n, embeddings.shape[1]))
    return planted(mixed.astype(np.float32))


KINDS = {"noise": noise, "clusters": clusters, "photographs": photographs}

if __name__ == "__main__":
    parts = {"exact": exact, "speed": speed, "million": million, "peers": peers}
    run_parts(__file__, __doc__, parts, {"hardest": hardest})
