"""What near-duplicates are in data before one decides: how similar rows are, and which leak."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..images import ImageRef
from ..neighbors import check_rows, connected, find_pairs, to_geometry
from ..utils import check_same_columns
from ._groups import nearest_partners
from ._threshold import nearest_within, similarity, sq_limit

__all__ = ["LeakReport", "SimilarityReport", "identical_images", "leaks", "similarity_report"]

# A gap: within a factor of distances, next to no pairs beside those on either side of it.
_GAP_FACTOR, _GAP_SHARE, _GAP_CHANCE = 1.5, 0.02, 1e-4
# Above this similarity, pairs are as good as equal: a gap within them tells nothing of use.
_AS_GOOD_AS_EQUAL = 0.9999
_N_BARS, _BAR_WIDTH = 10, 40


@dataclass(frozen=True)
class SimilarityReport:
    """What `similarity_report` returns; prints as a table.

    Attributes
    ----------
    n_rows : int
        Rows of the data.
    n_equal : int
        Rows that equal, or point the same way as, a row before them.
    lowest : float
        The similarity from which on rows were compared.
    nearest_similarity : ndarray of shape (n_rows,)
        Cosine of each row and its nearest other row; NaN where it is below `lowest`.
    thresholds : tuple of float
        What was tried as ``min_similarity``.
    n_groups, largest_group, n_duplicates : tuple of int
        For each of the thresholds: groups, rows of the largest one, and rows that would go.
    suggested : float or None
        A threshold in a gap between near-duplicates and all other pairs; None where there is no
        gap.
    """

    n_rows: int
    n_equal: int
    lowest: float
    nearest_similarity: NDArray[np.float64]
    thresholds: tuple[float, ...]
    n_groups: tuple[int, ...]
    largest_group: tuple[int, ...]
    n_duplicates: tuple[int, ...]
    suggested: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as a plain dict.

        Returns
        -------
        report : dict
            Keyed by the attributes' names; arrays and tuples as lists.
        """
        return {
            name: np.asarray(value).tolist() if isinstance(value, np.ndarray | tuple) else value
            for name, value in asdict(self).items()
        }

    def __str__(self) -> str:
        lines = [
            f"{self.n_rows} rows, {self.n_equal} of them equal to one before them",
            "nearest other row, by cosine",
        ]
        edges = np.linspace(self.lowest, 1, _N_BARS + 1)
        known = self.nearest_similarity[~np.isnan(self.nearest_similarity)]
        counts = np.histogram(known, edges)[0]
        bars = [(f"below {self.lowest:.2f}", self.n_rows - len(known))]
        bars += [(f"from  {edge:.2f}", count) for edge, count in zip(edges, counts, strict=False)]
        longest = max(count for _, count in bars) or 1
        for name, count in bars:
            bar = "#" * int(np.ceil(_BAR_WIDTH * count / longest))
            lines.append(f"  {name} {count:>9} {bar}".rstrip())
        lines.append(f"{'min_similarity':<16}{'groups':>9}{'largest':>9}{'would go':>10}")
        columns = zip(
            self.thresholds, self.n_groups, self.largest_group, self.n_duplicates, strict=True
        )
        for threshold, n_groups, largest, n_duplicates in columns:
            lines.append(f"{threshold:<16.12g}{n_groups:>9}{largest:>9}{n_duplicates:>10}")
        if self.suggested is None:
            lines.append("no gap tells near-duplicates from other rows: look at pairs and decide")
        else:
            suggested = _rounded_down(self.suggested)
            lines.append(f"a gap suggests min_similarity={suggested}: look at pairs there")
        return "\n".join(lines)


def similarity_report(
    X: ArrayLike,
    *,
    thresholds: tuple[float, ...] = (0.9, 0.95, 0.98, 0.99),
    lowest: float = 0.8,
    n_jobs: int | None = None,
) -> SimilarityReport:
    """Tell how similar rows are to their nearest other rows, and what thresholds would group.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
        Embeddings.
    thresholds : tuple of float, default=(0.9, 0.95, 0.98, 0.99)
        Values of ``min_similarity`` to try, with connected groups.
    lowest : float, default=0.8
        Rows that are less similar are not told apart. A lower value takes longer.
    n_jobs : int or None, default=None
        Threads; None is as many as matrix products take.

    Returns
    -------
    report : SimilarityReport
        Printing it gives a table.

    Raises
    ------
    ValueError
        If a threshold is below `lowest` or above 1, or if X holds NaN, infinity or a zero row.

    See Also
    --------
    NearDuplicates : Groups the rows.
    NearDuplicatesDisplay : Shows pairs around a threshold: the numbers do not say what is alike.

    Notes
    -----
    The suggested threshold lies where next to no pairs of a minimum spanning forest are, within
    a factor of 1.5 of distances. A gap that tells only identical images from all others counts
    where there is no other.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn import similarity_report
    >>> rows = np.random.RandomState(0).normal(size=(50, 30))
    >>> copies = rows[:20] + 0.1 * np.random.RandomState(1).normal(size=(20, 30))
    >>> report = similarity_report(np.concatenate([rows, copies]))
    >>> report.n_duplicates
    (20, 20, 20, 20)
    >>> report.suggested
    0.95...
    """
    thresholds = tuple(np.atleast_1d(thresholds).tolist())
    limits = [sq_limit(threshold, None, "cosine") for threshold in thresholds]
    limit = sq_limit(lowest, None, "cosine")
    for threshold, its in zip(thresholds, limits, strict=True):
        if its > limit:
            raise ValueError(
                f"thresholds holds {threshold}, which is below lowest={lowest}: pairs there are "
                "not searched. Lower `lowest` as well."
            )
    geometry = to_geometry(check_rows(X, "cosine"), "cosine")
    n = len(geometry)
    pairs = find_pairs(geometry, limit, n_jobs=n_jobs)
    sizes = []
    for its in limits:
        near = pairs.sq_distances <= its
        sizes.append(np.bincount(connected(n, pairs.first[near], pairs.second[near])))
    nearest, sq_distances = nearest_partners(n, pairs)
    found = similarity(np.where(nearest < 0, 0, sq_distances), "cosine")
    found[nearest < 0] = np.nan
    return SimilarityReport(
        n_rows=n,
        n_equal=int(np.count_nonzero(similarity(pairs.sq_distances, "cosine") == 1)),
        lowest=float(lowest),
        nearest_similarity=found,
        thresholds=tuple(map(float, thresholds)),
        n_groups=tuple(len(size) for size in sizes),
        largest_group=tuple(int(size.max()) for size in sizes),
        n_duplicates=tuple(n - len(size) for size in sizes),
        suggested=_suggest(pairs.sq_distances, n, limit),
    )


def _rounded_down(cosine: float) -> str:
    """Write a cosine with digits enough for its distance from 1, and none above it."""
    digits = max(4, 2 - Decimal(1 - cosine).adjusted())
    return f"{Decimal(cosine).quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR).normalize():f}"


def _suggest(sq_distances: NDArray[np.float64], n: int, limit: float) -> float | None:
    """Find a gap in the distances at which rows join, the widest in the emptiest place."""
    distances = np.sort(np.sqrt(sq_distances))
    equal = np.sqrt(sq_limit(_AS_GOOD_AS_EQUAL, None, "cosine"))
    start = np.maximum(distances, equal)
    n_in_front = np.arange(1, len(distances) + 1)
    inside = np.searchsorted(distances, start * _GAP_FACTOR, side="right") - n_in_front
    # The next distance beyond; where there is none, rows lie beyond what was searched.
    after = np.append(distances, np.sqrt(limit))[n_in_front + inside]
    n_behind = n - 1 - n_in_front - inside
    few = inside <= _GAP_SHARE * np.minimum(n_in_front, n_behind)
    # Where distances thin out evenly, those in front leave as wide a gap by so small a chance.
    chance = (start / after) ** n_in_front
    usable = few & (n_behind > 0) & (after >= start * _GAP_FACTOR) & (chance < _GAP_CHANCE)
    if not usable.any():
        return None
    # Behind equal rows the gap is often the widest, and would leave out all copies that differ.
    differ = usable & (distances > equal)
    at = int(np.argmax(np.where(differ if differ.any() else usable, after / start, 0)))
    return float(1 - start[at] * after[at] / 2)


@dataclass(frozen=True)
class LeakReport:
    """What `leaks` returns; prints as one or two lines.

    Attributes
    ----------
    n_train, n_test : int
        Rows on either side.
    test_indices, train_indices : ndarray of shape (n_leaks,)
        Test rows with a near-duplicate in training, in ascending order, and for each the nearest
        of these.
    similarity : ndarray of shape (n_leaks,)
        How similar the two are: the cosine, or minus the distance.
    nearest_similarity : ndarray of shape (n_test,)
        The same of every test row and its nearest training row.
    share : float
        Share of the test rows that leak.
    """

    n_train: int
    n_test: int
    test_indices: NDArray[np.intp]
    train_indices: NDArray[np.intp]
    similarity: NDArray[np.float64]
    nearest_similarity: NDArray[np.float64]
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything as a plain dict.

        Returns
        -------
        report : dict
            Keyed by the attributes' names; arrays as lists.
        """
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in asdict(self).items()
        }

    def __str__(self) -> str:
        text = (
            f"{len(self.test_indices)} of {self.n_test} test rows ({self.share:.1%}) have a "
            f"near-duplicate among {self.n_train} training rows"
        )
        if len(self.similarity):
            at = int(self.similarity.argmax())
            text += (
                f"\nthe nearest: test row {self.test_indices[at]} and training row "
                f"{self.train_indices[at]}, similarity {self.similarity[at]:.4g}"
            )
        return text


def leaks(
    X_train: ArrayLike,
    X_test: ArrayLike,
    min_similarity: float = 0.95,
    *,
    metric: str = "cosine",
    max_distance: float | None = None,
) -> LeakReport:
    """Find test rows that have a near-duplicate in training.

    Parameters
    ----------
    X_train, X_test : array-like of shape (n_train, n_features) and (n_test, n_features)
        Embeddings of both sides.
    min_similarity : float, default=0.95
        Cosine from which two rows are near-duplicates.
    metric : {"cosine", "euclidean"}, default="cosine"
        How rows are compared.
    max_distance : float, default=None
        Distance up to which two rows are near-duplicates, with ``metric="euclidean"``.

    Returns
    -------
    report : LeakReport
        Printing it gives a summary.

    Raises
    ------
    ValueError
        If the two sides have other features, or data frames with their columns in another order,
        a row cannot be compared, or the threshold makes no sense.

    See Also
    --------
    NearDuplicates : Its `labels_` are groups that scikit-learn's splitters keep on one side.

    Notes
    -----
    Exact, O(n_train n_test n_features) time at the speed of matrix products.

    Examples
    --------
    >>> from dinov2_sklearn import leaks
    >>> report = leaks([[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.1], [1.0, 1.0]])
    >>> report.test_indices, report.train_indices
    (array([0]), array([0]))
    >>> print(report)
    1 of 2 test rows (50.0%) have a near-duplicate among 2 training rows
    the nearest: test row 0 and training row 0, similarity 0.9988
    """
    limit = sq_limit(min_similarity, max_distance, metric)
    check_same_columns(X_train, X_test)
    train, test = check_rows(X_train, metric), check_rows(X_test, metric)
    if train.shape[1] != test.shape[1]:
        raise ValueError(
            f"X_train has {train.shape[1]} features and X_test {test.shape[1]}: they are not from "
            "the same model."
        )
    dtype = np.result_type(train, test)
    nearest, sq_distances = nearest_within(
        to_geometry(test.astype(dtype, copy=False), metric),
        to_geometry(train.astype(dtype, copy=False), metric),
        limit,
    )
    found = similarity(sq_distances, metric)
    leaking = np.flatnonzero(sq_distances <= limit)
    return LeakReport(
        n_train=len(train),
        n_test=len(test),
        test_indices=leaking,
        train_indices=nearest[leaking],
        similarity=found[leaking],
        nearest_similarity=found,
        share=len(leaking) / len(test),
    )


def identical_images(
    images: Sequence[str | os.PathLike[str]], labels: ArrayLike | None = None
) -> NDArray[np.intp]:
    """Tell files that are byte for byte the same from those that only look the same.

    Parameters
    ----------
    images : sequence of path-like
        Files and URLs.
    labels : array-like of shape (n_images,), default=None
        Their groups, such as `NearDuplicates.labels_`: only images of one group are compared, and
        those that are alone in theirs are not read.

    Returns
    -------
    first : ndarray of int of shape (n_images,)
        For each image the first one with the same bytes, if that is another; else -1. Also -1
        where an image cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from dinov2_sklearn.duplicates import identical_images
    >>> with TemporaryDirectory() as folder:
    ...     files = [Path(folder, name) for name in ("a.jpg", "b.jpg", "c.jpg")]
    ...     for file, content in zip(files, (b"1", b"2", b"1")):
    ...         _ = file.write_bytes(content)
    ...     identical_images(files)
    array([-1, -1,  0])
    """
    images = list(images)  # what a pandas Series holds at a number depends on its index
    groups = np.zeros(len(images), dtype=np.intp) if labels is None else np.asarray(labels)
    if groups.shape != (len(images),):
        raise ValueError(
            f"labels must hold one group an image ({len(images)}). Got an array of shape "
            f"{groups.shape}."
        )
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    codes = codes.reshape(-1)
    seen: dict[tuple[int, bytes], int] = {}
    first = np.full(len(images), -1, dtype=np.intp)
    for row in np.flatnonzero(sizes[codes] > 1).tolist():
        digest = ImageRef(os.fspath(images[row])).digest()
        if digest is not None:
            at = seen.setdefault((int(codes[row]), digest), row)
            first[row] = -1 if at == row else at
    return first
