"""How far one has come with labels, and what more of them would bring."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.model_selection import LearningCurveDisplay

from ..neighbors import (
    RowSubset,
    check_rows,
    connected,
    find_pairs,
    limit_of_cosine,
    nearest,
    to_geometry,
    to_metric,
)
from ..utils import check_int
from ._uncertainty import check_labels, default_classifier

__all__ = ["LabelReport", "label_report"]

_THIN = 5  # a class with fewer labels is learned from next to nothing
_LITTLE = 0.05  # of accuracy, for twice as many labels
_SHARES = (0.125, 0.25, 0.5, 1.0)
_FOLDS = 5


@dataclass(frozen=True)
class LabelReport:
    """What `label_report` returns; prints as a table.

    Attributes
    ----------
    classes : tuple
        The classes, in order.
    counts : tuple of int
        Labels of each class.
    thin : tuple
        Classes with fewer than five labels.
    untested : tuple
        Classes whose labels are all copies of one thing, which the accuracy leaves out: whatever
        they are tested on, either it or nothing of the class has been learned.
    n_rows, n_labelled : int
        All rows, and those with a label.
    distances : ndarray of shape (n_unlabelled,)
        Cosine distance of each row without a label to the nearest one with a label.
    accuracy, accuracy_error : float
        Share of labels that were predicted from other folds, and its standard error; near copies
        are in one fold and count as one.
    train_sizes : ndarray of int of shape (n_sizes,)
        Labels learned from, in the mean over the folds.
    train_scores, test_scores : ndarray of shape (n_sizes, n_folds)
        Accuracies on them, and on the fold that was left out.
    """

    classes: tuple[Any, ...]
    counts: tuple[int, ...]
    thin: tuple[Any, ...]
    untested: tuple[Any, ...]
    n_rows: int
    n_labelled: int
    distances: NDArray[np.float64]
    accuracy: float
    accuracy_error: float
    train_sizes: NDArray[np.intp]
    train_scores: NDArray[np.float64]
    test_scores: NDArray[np.float64]

    @property
    def last_doubling(self) -> tuple[float, float]:
        """What twice as many labels brought last: the gain in accuracy, and its standard error."""
        gains = self.test_scores[-1] - self.test_scores[-2]
        return float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))

    def learning_curve(self) -> LearningCurveDisplay:
        """Return scikit-learn's display of the learning curve, to be drawn with its ``plot()``.

        Returns
        -------
        display : sklearn.model_selection.LearningCurveDisplay
        """
        return LearningCurveDisplay(
            train_sizes=self.train_sizes,
            train_scores=self.train_scores,
            test_scores=self.test_scores,
            score_name="Accuracy",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as a plain dict.

        Returns
        -------
        report : dict
            Keyed by the attributes' names, with lists; of the distances their median and maximum.
        """
        known = {name: getattr(self, name) for name in ("n_rows", "n_labelled")}
        gain, error = self.last_doubling
        return {
            **known,
            "labels": {str(c): n for c, n in zip(self.classes, self.counts, strict=True)},
            "thin": [str(name) for name in self.thin],
            "untested": [str(name) for name in self.untested],
            "distance_median": float(np.median(self.distances)) if len(self.distances) else None,
            "distance_max": float(self.distances.max()) if len(self.distances) else None,
            "accuracy": self.accuracy,
            "accuracy_error": self.accuracy_error,
            "last_doubling": gain,
            "last_doubling_error": error,
            "train_sizes": self.train_sizes.tolist(),
            "test_scores": self.test_scores.mean(axis=1).tolist(),
        }

    def __str__(self) -> str:
        order = np.argsort(self.counts, kind="stable")
        lines = [f"{self.n_labelled} of {self.n_rows} rows have a label, of {len(order)} classes"]
        few = [f"{self.classes[i]} {self.counts[i]}" for i in order[:5]]
        lines.append(f"fewest  {', '.join(few)}{', ...' if len(order) > 5 else ''}")
        if self.thin:
            lines.append(f"thin    {len(self.thin)} classes with fewer than {_THIN} labels")
        if len(self.distances):
            median, most = np.median(self.distances), self.distances.max()
            lines.append(
                f"cosine distance to the nearest label  median {median:.3f}, max {most:.3f}"
            )
        if self.untested:
            lines.append(
                f"untested {len(self.untested)} classes whose labels are copies of one thing: "
                "not in the accuracy"
            )
        lines.append("")
        lines.append("labels  accuracy, cross-validated with copies in one fold")
        for size, scores in zip(self.train_sizes, self.test_scores, strict=True):
            lines.append(f"{size:6d}  {scores.mean():.3f}")
        gain, error = self.last_doubling
        lines.append(f"in all  {self.accuracy:.3f} ± {self.accuracy_error:.3f}")
        verdict = "too uncertain to say whether more pay"
        if gain > 2 * error:
            verdict = "more pay"
        elif gain + 2 * error < _LITTLE and self.accuracy_error < _LITTLE:
            verdict = "more may no longer pay"
        lines.append(f"The last doubling brought {gain:+.3f} ± {error:.3f}: {verdict}.")
        return "\n".join(lines)


def label_report(
    X: ArrayLike,
    y: Any,
    *,
    estimator: Any = None,
    min_similarity: float = 0.95,
    random_state: int = 0,
) -> LabelReport:
    """Say how many labels there are, how well a classifier does with them, and if more would pay.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
        Embeddings, finite and not zero.
    y : array-like of shape (n_rows,)
        Labels, text or whole numbers; -1, None or NaN where there is none.
    estimator : classifier, default=None
        What is cross-validated. None is the classifier of `label_uncertainty`.
    min_similarity : float, default=0.95
        Cosine from which rows are copies, which stay in one fold: see `NearDuplicates`.
    random_state : int, default=0
        Seed of the folds.

    Returns
    -------
    report : LabelReport
        Prints as a table; ``learning_curve()`` draws.

    Raises
    ------
    ValueError
        If no row has a label, all labels are the same, or no class has labels of two things.
    TypeError
        If labels are of several kinds, such as text and numbers.

    See Also
    --------
    label_quality : Says which labels look wrong.

    Notes
    -----
    The accuracy is that on rows that are no copies of what was learned from. A class with a single
    label counts as missed. Where unlabelled rows are copies of labelled ones, it is higher on them.

    It is taken on labelled rows. Where these were picked for being hard, as by `label_uncertainty`,
    it is lower than on all rows. With fewer than some five labels a class it is rough, and mostly
    too high: labels of typical images predict each other better than the rest. Label some at
    random to know.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from dinov2_sklearn import label_report
    >>> X, y = load_digits(return_X_y=True)
    >>> y[300:] = -1
    >>> report = label_report(X, y)
    >>> report.n_labelled, report.thin, report.accuracy > 0.85
    (300, (), True)
    """
    rows = check_rows(X, "cosine")
    classes, codes = check_labels(y, len(rows))
    check_int("random_state", random_state, low=0)
    known = np.flatnonzero(codes >= 0)
    geometry = to_geometry(rows, "cosine")
    labelled = RowSubset(geometry, known)
    pairs = find_pairs(labelled, limit_of_cosine(min_similarity))
    groups = connected(len(known), pairs.first, pairs.second)
    model = default_classifier() if estimator is None else estimator
    counts = np.bincount(codes[known], minlength=len(classes))
    pairs_of = np.unique(np.stack([codes[known], groups]), axis=1)
    n_things = np.bincount(pairs_of[0], minlength=len(classes))
    if n_things.max() < 2:
        raise ValueError(
            f"Each of the {len(classes)} classes has a single label, or copies of one thing alone: "
            "there is nothing to test on that is no copy of what was learned from. Label more "
            "rows, or raise min_similarity if they are no copies."
        )
    copied = (n_things < 2) & (counts > 1)
    testable = ~copied[codes[known]]
    sizes, train, test, correct = _cross_validate(
        model, rows[known], codes[known], groups, testable, random_state
    )
    # Copies are right and wrong together.
    _, tested, sizes_of = np.unique(groups[testable], return_inverse=True, return_counts=True)
    each = np.bincount(tested.reshape(-1), correct) / sizes_of
    error = float(each.std(ddof=1) / np.sqrt(len(each)))
    unlabelled = RowSubset(geometry, np.flatnonzero(codes < 0))
    return LabelReport(
        classes=tuple(classes.tolist()),
        counts=tuple(counts.tolist()),
        thin=tuple(classes[counts < _THIN].tolist()),
        untested=tuple(classes[copied].tolist()),
        n_rows=len(rows),
        n_labelled=len(known),
        distances=to_metric(nearest(unlabelled, labelled[:])[1], "cosine"),
        accuracy=float(each.mean()),
        accuracy_error=error,
        train_sizes=sizes,
        train_scores=train,
        test_scores=test,
    )


def _cross_validate(
    model: Any,
    rows: NDArray,
    codes: NDArray[np.intp],
    groups: NDArray,
    testable: NDArray[np.bool_],
    seed: int,
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Learn from growing parts of all folds but one, and predict what can be tested of that one."""
    draw = np.random.RandomState(seed)
    weights = 1 / np.bincount(groups)[groups]  # copies count as one
    folds = _deal(codes, groups, testable, draw)
    n_folds = int(folds.max()) + 1
    sizes = np.zeros(len(_SHARES))
    train, test = np.empty((2, len(_SHARES), n_folds))
    correct = np.zeros(len(rows), dtype=bool)
    for fold in range(n_folds):
        inside = draw.permutation(np.flatnonzero(folds != fold))
        outside = np.flatnonzero((folds == fold) & testable)
        for step, share in enumerate(_SHARES):
            some = inside[: max(1, round(share * len(inside)))]
            predict = _learn(model, rows[some], codes[some])
            hits = predict(rows[outside]) == codes[outside]
            train[step, fold] = np.mean(predict(rows[some]) == codes[some])
            test[step, fold] = np.average(hits, weights=weights[outside])
            sizes[step] += len(some) / n_folds
        correct[outside] = hits
    return np.round(sizes).astype(np.intp), train, test, correct[testable]


def _deal(
    codes: NDArray[np.intp],
    groups: NDArray,
    testable: NDArray[np.bool_],
    draw: np.random.RandomState,
) -> NDArray[np.intp]:
    """Deal groups into folds, class by class, so that no class is in one fold alone."""
    first = np.unique(groups, return_index=True)[1]
    order = draw.permutation(len(first))
    # What can be tested comes first, so that each fold has some of it.
    order = order[np.lexsort((codes[first[order]], ~testable[first[order]]))]
    n_folds = min(_FOLDS, int(np.count_nonzero(testable[first])))
    fold_of = np.empty(len(first), dtype=np.intp)
    fold_of[order] = np.arange(len(first)) % n_folds
    return fold_of[groups]


def _learn(model: Any, rows: NDArray, labels: NDArray) -> Any:
    """Return what predicts; of one class, that class."""
    if (labels == labels[0]).all():
        return lambda others: np.full(len(others), labels[0])
    return clone(model).fit(rows, labels).predict
