"""From neighbours to a map: the first layout, UMAP's optimisation of it, and where new rows go."""

import threading
import warnings
from typing import NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state

__all__ = [
    "average_by_distance",
    "draw_seed",
    "import_umap",
    "membership_strengths",
    "principal_axes",
    "principal_layout",
    "refine_positions",
    "similarity_curve",
    "umap_layout",
]

# Of placing a new row.
N_STEPS = 50
N_NEGATIVES = 64
FIRST_STEP = 0.25
REPULSION = 5.0  # negatives drawn for each attraction, as umap does
LONGEST_PULL = 4.0  # umap clips each component of each force
N_START = 7

# numba's portable threading layer ends the process when two threads enter it at once.
_UMAP_LOCK = threading.Lock()


def draw_seed(random_state: int | np.random.RandomState | None) -> int | None:
    """Turn a `random_state` parameter into a seed, None where nothing is to be repeated."""
    if random_state is None:
        return None
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


class Axes(NamedTuple):
    """Principal axes of a matrix."""

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    loss: float
    """The share of the variance that the axes leave out."""


def principal_axes(rows: NDArray[np.float32], n_components: int, seed: int | None) -> Axes:
    """Find the first principal axes, at most as many as the matrix has rows or columns."""
    # Scaled, so that no square overflows float32.
    scale = float(np.abs(rows).max()) or 1.0
    pca = PCA(min(n_components, *rows.shape), random_state=seed)
    with np.errstate(invalid="ignore", divide="ignore"):  # one row, or all rows alike
        pca.fit(rows / np.float32(scale))
    left_out = 1.0 - float(np.sum(pca.explained_variance_ratio_, dtype=np.float64))
    loss = min(max(left_out, 0.0), 1.0) if np.isfinite(left_out) else 0.0
    return Axes(pca.mean_ * np.float32(scale), pca.components_, loss)


def principal_layout(
    rows: NDArray[np.float32], n_components: int, seed: int | None
) -> NDArray[np.float32]:
    """Lay rows out on their first principal axes, the largest coordinate scaled to 10."""
    axes = principal_axes(rows, n_components, seed)
    scale = float(np.abs(rows).max()) or 1.0
    scores = ((rows.astype(np.float64) - axes.mean) / scale) @ axes.components.T
    layout = np.zeros((len(rows), n_components))
    layout[:, : scores.shape[1]] = scores
    largest = np.abs(layout).max()
    if largest > np.finfo(np.float32).eps:
        layout *= 10 / largest
    else:
        layout[:] = 0
    return layout.astype(np.float32)


def umap_layout(
    rows: NDArray[np.float32],
    neighbors: tuple[NDArray[np.intp], NDArray[np.float64]],
    n_components: int,
    *,
    curve: tuple[float, float],
    n_epochs: int | None,
    seed: int | None,
    n_jobs: int | None,
    verbose: bool,
) -> NDArray[np.float32]:
    """Optimise UMAP's layout of `rows`, given each row's neighbours, itself first.

    The principal layout is the start: it needs no eigensolver on a graph, which fails on small
    graphs and takes long on large ones, and on the data measured it ends as well.

    There are at least 3 rows, and from 2 to n_rows - 1 neighbours. `curve` is UMAP's ``a`` and
    ``b``, see `similarity_curve`. Without a seed it runs in `n_jobs` threads, all with None, and no
    two such runs end alike.
    """
    start = principal_layout(rows, n_components, seed)
    # Separates equal points, and gives an axis without extent one.
    start += np.random.RandomState(seed).normal(0, 1e-4, start.shape).astype(np.float32)
    indices, distances = neighbors
    with _UMAP_LOCK:
        umap = import_umap()
        model = umap.UMAP(
            n_components=int(n_components),
            n_neighbors=indices.shape[1],
            metric="euclidean",
            a=curve[0],
            b=curve[1],
            init=start,
            n_epochs=None if n_epochs is None else int(n_epochs),
            random_state=seed,
            n_jobs=1 if seed is not None else _n_threads(n_jobs),
            precomputed_knn=(indices.astype(np.int32), distances.astype(np.float32)),
            tqdm_kwds={"disable": not verbose},
        )
        with warnings.catch_warnings():
            # umap says that its own transform will not work; ours takes its place.
            warnings.filterwarnings("ignore", message="precomputed_knn", category=UserWarning)
            return np.ascontiguousarray(model.fit(rows).embedding_, dtype=np.float32)


def similarity_curve(min_dist: float) -> tuple[float, float]:
    """Fit UMAP's ``1 / (1 + a * d ** (2 * b))`` to a curve that is flat up to `min_dist`."""
    with _UMAP_LOCK:
        a, b = import_umap().umap_.find_ab_params(1.0, float(min_dist))
    return float(a), float(b)


def import_umap():
    with warnings.catch_warnings():
        # Its optional parts warn when tensorflow or notebook widgets are not installed.
        warnings.simplefilter("ignore")
        import umap
    return umap


def _n_threads(n_jobs: int | None) -> int:
    from numba import config

    wanted = joblib.effective_n_jobs(-1 if n_jobs is None else n_jobs)
    return max(1, min(wanted, int(vars(config)["NUMBA_NUM_THREADS"])))


def membership_strengths(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn distances to neighbours into UMAP's membership strengths.

    Each row's strengths are ``exp(-d / sigma)``, with sigma such that those of all neighbours but
    the nearest sum to ``log2(n_neighbors)``. As in umap for new rows, the nearest neighbour's
    distance is not taken off.

    Distances are of shape (n_rows, n_neighbors), ascending, of at least 2 neighbours; strengths are
    from 0 to 1.
    """
    target = np.log2(distances.shape[1])
    low = np.zeros(len(distances))
    high = np.full(len(distances), np.inf)
    sigma = np.ones(len(distances))
    for _ in range(64):
        total = np.exp(-distances[:, 1:] / sigma[:, None]).sum(axis=1)
        too_wide = total > target
        high = np.where(too_wide, sigma, high)
        low = np.where(too_wide, low, sigma)
        sigma = np.where(np.isinf(high), 2 * sigma, (low + high) / 2)
    sigma = np.maximum(sigma, 1e-3 * distances.mean(axis=1))
    return np.exp(-distances / np.maximum(sigma, np.finfo(float).tiny)[:, None])


def average_by_distance(
    points: NDArray[np.float64], distances: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Average the points of each row's neighbours, weighted by inverse distance."""
    nearest = np.maximum(distances[:, :1], np.finfo(float).tiny)
    weights = nearest / np.maximum(distances, nearest)
    return (weights[:, :, None] * points).sum(axis=1) / weights.sum(axis=1)[:, None]


def refine_positions(
    points: NDArray[np.float64],
    strengths: NDArray[np.float64],
    anchors: NDArray[np.float32],
    a: float,
    b: float,
) -> NDArray[np.float64]:
    """Place rows by UMAP's objective, each row for itself.

    A row starts at the component-wise median of its nearest neighbours' points and then descends
    UMAP's cross-entropy with those points fixed. The repelling term is averaged over
    `N_NEGATIVES` anchors, others at each step but the same for every row and every call, so that
    the result is a function of the row alone.

    Points are of shape (n_rows, n_neighbors, n_components), nearest first, strengths of shape
    (n_rows, n_neighbors), and anchors, the fitted map, of shape (n_anchors, n_components). The
    map's similarity at distance d is ``1 / (1 + a * d ** (2 * b))``.
    """
    draw = np.random.RandomState(0)
    pull = strengths / strengths.max(axis=1, keepdims=True)
    push = REPULSION * pull.sum(axis=1)
    # Coordinates first: numpy then sums over them, and over neighbours, along whole rows.
    attractors = np.ascontiguousarray(points.transpose(2, 0, 1))
    position = np.median(attractors[:, :, :N_START], axis=2)
    for step in range(N_STEPS):
        negatives = anchors[draw.randint(len(anchors), size=N_NEGATIVES)].T.astype(np.float64)
        force = (pull * _attraction(position[:, :, None] - attractors, a, b)).sum(axis=2)
        force += push * _repulsion(position[:, :, None] - negatives[:, None, :], a, b).mean(axis=2)
        position = position + FIRST_STEP * (1 - step / N_STEPS) * force
    return position.T


def _attraction(offsets: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    squared = (offsets * offsets).sum(axis=0)
    # b - 1 may be negative; at distance 0 the offset itself is 0 and so is the force.
    power = np.maximum(squared, np.finfo(float).tiny) ** (b - 1)
    scale = -2 * a * b * power / (a * power * squared + 1)
    return np.clip(scale * offsets, -LONGEST_PULL, LONGEST_PULL)


def _repulsion(offsets: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    squared = (offsets * offsets).sum(axis=0)
    scale = 2 * b / ((0.001 + squared) * (a * squared**b + 1))
    return np.clip(scale * offsets, -LONGEST_PULL, LONGEST_PULL)
