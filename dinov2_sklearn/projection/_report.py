"""How well a map keeps neighbours, and the arrangement of what is far apart."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length, check_random_state, gen_batches
from sklearn.utils.validation import check_array

from ..neighbors import UnitRows, check_finite, knn, pair_sq_distances, row_blocks
from ..utils import check_int

__all__ = ["ProjectionReport", "projection_report"]

FEWEST_ROWS = 3
BATCH_SIZE = 2**24  # distances held at a time: 64 MB
TRIPLETS = 5  # a judged row
METRICS = ("cosine", "euclidean")


@dataclass(frozen=True)
class ProjectionReport:
    """What `projection_report` returns; prints as a short table.

    Attributes
    ----------
    n_rows : int
        Rows among which neighbours were looked for.
    n_judged : int
        Rows whose neighbours were looked at.
    n_neighbors : int
        Neighbours a row, itself not counted.
    metric : {"cosine", "euclidean"}
        Distance between embeddings.
    trustworthiness : float
        From 0 to 1: how near, by their embeddings, a point's neighbours on the map are.
    neighbor_recall : float
        Share of a row's neighbours by embedding that are its neighbours on the map too.
    triplet_accuracy : float
        Share of random triplets of rows of which the second and the third are in the same order of
        distance from the first on the map as by their embeddings: 0.5 is chance. It tells how much
        of the large arrangement is kept, where the other two are about neighbours.
    """

    n_rows: int
    n_judged: int
    n_neighbors: int
    metric: str
    trustworthiness: float
    neighbor_recall: float
    triplet_accuracy: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything as a plain dict.

        Returns
        -------
        report : dict
            Numbers and strings only, keyed by the attributes' names.
        """
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.n_judged} of {self.n_rows} rows judged, {self.n_neighbors} neighbours, "
                f"{self.metric} distance",
                f"trustworthiness   {self.trustworthiness:.4f}",
                f"neighbour recall  {self.neighbor_recall:.4f}",
                f"triplet accuracy  {self.triplet_accuracy:.4f}",
            ]
        )


def projection_report(
    X: ArrayLike,
    coordinates: ArrayLike,
    *,
    n_neighbors: int = 15,
    metric: str = "cosine",
    max_rows: int = 2000,
    random_state: int | np.random.RandomState | None = 42,
) -> ProjectionReport:
    """Measure how well a map keeps the neighbours and the arrangement of its rows.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
        Embeddings, at least 3.

    coordinates : array-like of shape (n_rows, n_components)
        Their points on any map.

    n_neighbors : int, default=15
        Neighbours a row, itself not counted. Where there are fewer than twice as many rows and
        one, the largest number is taken at which trustworthiness is defined.

    metric : {"cosine", "euclidean"}, default="cosine"
        Distance between embeddings. On the map it is always Euclidean.

    max_rows : int, default=2000
        With more rows than this, so many random ones are judged, each still among all rows.

    random_state : int, RandomState instance or None, default=42
        Chooses the rows to judge, and the triplets.

    Returns
    -------
    report : ProjectionReport

    Raises
    ------
    ValueError
        If there are fewer than 3 rows, a value is NaN or infinite, or an option has no meaning.

    See Also
    --------
    UMAPProjector.projection_report : The same for a projector's own map.
    sklearn.manifold.trustworthiness : Judges all rows, with memory quadratic in them.

    Notes
    -----
    Trustworthiness is that of Venna and Kaski [1]_. Equally far rows share the best of their
    ranks, so that copies of a row can stand for each other. Triplets are five random pairs of other
    rows for each judged row, after Wang et al. [2]_.

    The cost is that of ``min(max_rows, n_rows) * n_rows`` distances, computed in batches with
    memory linear in the rows.

    References
    ----------
    .. [1] Venna, J. and Kaski, S. (2001). Neighborhood preservation in nonlinear projection
       methods: an experimental study. ICANN 2001.
    .. [2] Wang, Y., Huang, H., Rudin, C. and Shaposhnik, Y. (2021). Understanding how dimension
       reduction tools work. JMLR 22 (201).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from dinov2_sklearn import projection_report
    >>> X = load_digits().data
    >>> print(projection_report(X, X[:, 20:22], metric="euclidean"))
    1797 of 1797 rows judged, 15 neighbours, euclidean distance
    trustworthiness   0.68...
    neighbour recall  0.05...
    triplet accuracy  0.6...
    """
    rows, points = (
        check_array(array, dtype=np.float32, ensure_all_finite=False, input_name=name)
        for array, name in ((X, "X"), (coordinates, "coordinates"))
    )
    check_consistent_length(rows, points)
    check_finite(rows, "X")
    check_finite(points, "coordinates")
    _check_options(len(rows), n_neighbors, metric, max_rows)
    k = min(int(n_neighbors), (len(rows) - 1) // 2)
    draw = check_random_state(random_state)
    judged = np.arange(len(rows))
    if len(rows) > max_rows:
        judged = draw.choice(len(rows), int(max_rows), replace=False)
    if metric == "cosine":
        rows = UnitRows(rows)[:]
    ranks = _ranks(rows, points, judged, k)
    worst = k * (2 * len(rows) - 3 * k - 1) / 2
    return ProjectionReport(
        n_rows=len(rows),
        n_judged=len(judged),
        n_neighbors=k,
        metric=metric,
        trustworthiness=float(1 - np.maximum(ranks - k, 0).sum(axis=1).mean() / worst),
        neighbor_recall=float((ranks <= k).mean()),
        triplet_accuracy=_triplet_accuracy(rows, points, judged, draw),
    )


def _ranks(
    rows: NDArray[np.float32], points: NDArray[np.float32], judged: NDArray[np.intp], k: int
) -> NDArray[np.intp]:
    """Rank the first k neighbours on the map of each judged row by their embeddings."""
    rows = rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    halves = (rows * rows).sum(axis=1) / 2
    tie = 4 * np.finfo(np.float32).eps * float(halves.max())
    ranks = np.empty((len(judged), k), dtype=np.intp)
    for batch in gen_batches(len(judged), max(1, BATCH_SIZE // len(rows))):
        queries = judged[batch]
        on_map, _ = knn(points, k + 1, queries=points[queries])
        # Half the squared distance but for what depends on the query alone.
        far = halves - rows[queries] @ rows.T
        far[np.arange(len(queries)), queries] = np.inf  # a row is no neighbour of its own
        for i, (query, neighbors) in enumerate(zip(queries, on_map, strict=True)):
            bounds = far[i, neighbors[neighbors != query][:k]] - tie
            ranks[batch.start + i] = 1 + np.count_nonzero(far[i] < bounds[:, None], axis=1)
    return ranks


def _triplet_accuracy(
    rows: NDArray[np.float32],
    points: NDArray[np.float32],
    judged: NDArray[np.intp],
    draw: np.random.RandomState,
) -> float:
    """Compare the order of two random rows' distances from a third, and on the map."""
    first = np.repeat(judged, TRIPLETS)
    # Steps around the circle of all rows: neither the row itself nor the same row twice.
    near = draw.randint(1, len(rows), size=len(first))
    far = 1 + (near - 1 + draw.randint(1, len(rows) - 1, size=len(first))) % (len(rows) - 1)
    orders = []
    for places in (rows, points):
        orders.append(np.empty(len(first)))
        for part in row_blocks(len(first), places.shape[1]):
            own = places[first[part]]
            second, third = (
                pair_sq_distances(own, places[(first[part] + step[part]) % len(rows)])
                for step in (near, far)
            )
            orders[-1][part] = np.sign(second - third)
    return float((orders[0] == orders[1]).mean())


def _check_options(n_rows: int, n_neighbors: Any, metric: Any, max_rows: Any) -> None:
    if n_rows < FEWEST_ROWS:
        raise ValueError(f"{n_rows} rows have no neighbourhoods to judge: give at least 3.")
    for name, value in (("n_neighbors", n_neighbors), ("max_rows", max_rows)):
        check_int(name, value)
    if metric not in METRICS:
        raise ValueError(f"metric must be 'cosine' or 'euclidean', got {metric!r}.")
