"""How good a selection is, beside random ones of the same size."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_consistent_length, check_random_state

from ..images.sources import is_missing
from ..neighbors import (
    Rows,
    check_rows,
    knn,
    nearest,
    sq_distances_to_earlier,
    to_geometry,
    to_metric,
)
from ..utils import check_indices
from ._optimality import optimality_gap
from ._representation import share_represented
from ._validation import check_metric

__all__ = ["SelectionReport", "SelectionScores", "compute_diversity", "selection_report"]


@dataclass(frozen=True)
class SelectionScores:
    """Measures of one selection, or their means over several.

    Attributes
    ----------
    covering_radius : float
        Largest distance of a row to its nearest pick. Smaller is better.
    radius_q99, radius_q95 : float
        99% and 95% quantiles of the distances to the nearest pick. Smaller is better.
    mean_distance : float
        Mean distance of a row to its nearest pick. Smaller is better.
    min_pick_distance : float
        Smallest distance between two picks; infinite for one pick. Larger means less redundancy.
    class_coverage : float or None
        Share of the classes that have a pick, from 0 to 1; None without labels.
    representation : float
        How much of the spread the picks take away: 1 - the sum of squared distances to the
        nearest pick / that to the best single row. At most 1; larger is better.
    """

    covering_radius: float
    radius_q99: float
    radius_q95: float
    mean_distance: float
    min_pick_distance: float
    class_coverage: float | None = None
    representation: float = float("nan")


_NAMES = {
    "covering_radius": "covering radius",
    "radius_q99": "99% of rows within",
    "radius_q95": "95% of rows within",
    "mean_distance": "mean distance to a pick",
    "min_pick_distance": "smallest pick distance",
    "class_coverage": "classes covered",
    "representation": "share of spread taken away",
}


@dataclass(frozen=True)
class SelectionReport:
    """What `selection_report` returns; prints as a table.

    Attributes
    ----------
    n_rows, n_picks : int
        Rows of the data and rows selected.
    metric : {"euclidean", "cosine"}
        Metric of all distances.
    n_random : int
        Random selections drawn.
    selection, random : SelectionScores
        The measures of the selection, and their means over the random ones.
    gap : float or None
        By how much the picks' summed squared distance can exceed the least that as many rows can
        have, as a share of it; see `optimality_gap`. None where it was not asked for.
    """

    n_rows: int
    n_picks: int
    metric: str
    n_random: int
    selection: SelectionScores
    random: SelectionScores
    gap: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as a plain nested dict.

        Returns
        -------
        report : dict
            Numbers and strings only, keyed by the attributes' names.
        """
        return asdict(self)

    def __str__(self) -> str:
        draws = f"random (mean of {self.n_random})"
        lines = [
            f"{self.n_picks} of {self.n_rows} rows, {self.metric} distance",
            f"{'':<28}{'selection':>12}{draws:>22}",
        ]
        for field in fields(SelectionScores):
            mine, theirs = getattr(self.selection, field.name), getattr(self.random, field.name)
            if mine is not None:
                lines.append(f"{_NAMES[field.name]:<28}{mine:>12.4g}{theirs:>22.4g}")
        share = self.selection.representation
        sentence = f"these {self.n_picks} rows take away {share:.0%} of the spread"
        if self.gap is not None:
            least = f"the least cost that {self.n_picks} rows can have"
            sentence += f";\nproven within {self.gap:.1%} of {least}"
        return "\n".join([*lines, sentence])


def selection_report(
    X: ArrayLike,
    indices: ArrayLike,
    labels: Sequence[Any] | np.ndarray | None = None,
    *,
    metric: str = "euclidean",
    n_random: int = 20,
    prove: bool = False,
    random_state: int | np.random.RandomState | None = 42,
) -> SelectionReport:
    """Measure how well some rows stand for all rows, beside random rows.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
        Embeddings.
    indices : array-like of shape (n_picks,)
        The selected rows: distinct row numbers, or a boolean mask of length `n_rows`.
    labels : sequence of length n_rows, default=None
        Class of each row, to count the classes that the selection covers. None, NaN and pandas'
        NA are no class.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between rows. Cosine distance is one minus the cosine.
    n_random : int, default=20
        Random selections of the same size that the report compares with.
    prove : bool, default=False
        Whether to prove how far the selection can be from the best possible one, as
        `optimality_gap` does: seconds for thousands of rows, and 20,000 at most.
    random_state : int, RandomState instance or None, default=42
        Seed of the random selections.

    Returns
    -------
    report : SelectionReport
        Its ``selection`` and ``random`` hold the measures; printing it gives a table.

    Raises
    ------
    ValueError
        If `indices` is empty, repeats a row or names a row that is not there, or if `X` holds
        NaN, infinity or, for cosine, a zero row.

    See Also
    --------
    DiversitySampler : Selects the rows.
    optimality_gap : Proves how far a selection can be from the best possible.

    Notes
    -----
    Exact and blocked: O(n_random * n_rows * n_picks * n_features) time, and memory for a block
    of distances beside `X`. The picks themselves are among the rows, at distance 0.

    Examples
    --------
    >>> from dinov2_sklearn import selection_report
    >>> X = [[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]]
    >>> report = selection_report(X, [1, 4], labels=["a", "a", "a", "b", "b", "b"])
    >>> report.selection.covering_radius
    1.0
    >>> print(report)
    2 of 6 rows, euclidean distance
                                   selection   random (mean of 20)
    covering radius                        1                   4.9
    99% of rows within                     1                 4.873
    95% of rows within                     1                 4.763
    mean distance to a pick           0.6667                 2.317
    smallest pick distance                10                   6.9
    classes covered                        1                 0.825
    share of spread taken away         0.984                0.5888
    these 2 rows take away 98% of the spread
    """
    geometry = to_geometry(check_rows(X, check_metric(metric)), metric)
    indices = check_indices(indices, len(geometry), "indices")
    if len(indices) == 0:
        raise ValueError("indices is empty: there is no selection to measure.")
    _check_positive_int(n_random, "n_random")
    classes = None
    if labels is not None:
        check_consistent_length(geometry, labels)
        classes = _class_codes(labels)
    rng = check_random_state(random_state)
    draws = [
        _scores(geometry, rng.choice(len(geometry), len(indices), replace=False), classes, metric)
        for _ in range(n_random)
    ]
    return SelectionReport(
        n_rows=len(geometry),
        n_picks=len(indices),
        metric=metric,
        n_random=n_random,
        selection=_scores(geometry, indices, classes, metric),
        random=_mean(draws),
        gap=optimality_gap(X, indices, metric=metric).gap if prove else None,
    )


def _scores(
    geometry: Rows, indices: np.ndarray, classes: np.ndarray | None, metric: str
) -> SelectionScores:
    picks = geometry[indices]
    sq_distances = nearest(geometry, picks)[1]
    distances = to_metric(sq_distances, metric)
    between = to_metric(sq_distances_to_earlier(picks, picks[:0]), metric)
    q95, q99 = np.quantile(distances, [0.95, 0.99])
    coverage = None
    if classes is not None and (n_classes := classes.max() + 1):
        picked = classes[indices]
        coverage = len(np.unique(picked[picked >= 0])) / n_classes
    return SelectionScores(
        covering_radius=float(distances.max()),
        radius_q99=float(q99),
        radius_q95=float(q95),
        mean_distance=float(distances.mean()),
        min_pick_distance=float(between.min()),
        class_coverage=coverage,
        representation=share_represented(geometry, sq_distances),
    )


def _class_codes(labels: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Give each row the number of its class, from 0 by first occurrence; -1 for no class."""
    codes: dict[Any, int] = {}
    return np.array(
        [
            -1 if is_missing(label) else codes.setdefault(label, len(codes))
            for label in np.asarray(labels, dtype=object)
        ]
    )


def _mean(scores: list[SelectionScores]) -> SelectionScores:
    columns: dict[str, Any] = {}
    for name in asdict(scores[0]):
        values = [getattr(score, name) for score in scores]
        columns[name] = None if values[0] is None else float(np.mean(values))
    return SelectionScores(**columns)


def compute_diversity(
    X: ArrayLike, n_neighbors: int = 10, *, metric: str = "euclidean"
) -> np.ndarray:
    """Measure how alone each row is: its mean distance to its nearest other rows.

    Small values mark near-duplicates, large ones rare rows; the mean over all rows says how
    diverse the data is.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Embeddings.
    n_neighbors : int, default=10
        Nearest other rows that are averaged over, at least 1. All other rows where there are
        fewer.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between rows.

    Returns
    -------
    diversity : ndarray of shape (n,), float64
        Mean distance of each row to its neighbours; 0 for a row that has none.

    Raises
    ------
    ValueError
        If `n_neighbors` is below 1 or no int, or if `X` holds NaN, infinity or, for cosine, a
        zero row.

    Notes
    -----
    Exact and blocked, O(n^2 d) time.

    Examples
    --------
    >>> from dinov2_sklearn.selection import compute_diversity
    >>> compute_diversity([[0.0], [1.0], [2.0], [10.0]], n_neighbors=1)
    array([1., 1., 1., 8.])
    """
    _check_positive_int(n_neighbors, "n_neighbors")
    geometry = to_geometry(check_rows(X, check_metric(metric)), metric)
    distances = to_metric(knn(geometry, n_neighbors)[1], metric)
    if distances.shape[1] == 0:
        return np.zeros(len(geometry))
    return distances.mean(axis=1)


def _check_positive_int(value: Any, name: str) -> None:
    # bool is an int to Python
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be an int of at least 1. Got {value!r}.")
