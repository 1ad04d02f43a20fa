"""From checked arguments to a pool: who may be picked, and what each row stands for."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images.sources import is_missing
from ..neighbors import Rows, first_occurrences, knn
from ..utils import warn
from ._validation import check_n_samples

__all__ = ["Distinct", "check_groups", "count_picks", "find_distinct", "outliers", "warn_of_groups"]

# Not the nearest neighbour: a small knot of odd rows is an outlier as well.
OUTLIER_NEIGHBOR = 10


@dataclass(frozen=True)
class Distinct:
    """Rows, each set of equal ones carried as one row with a mass.

    Attributes
    ----------
    stand_in : ndarray of int of shape (n,)
        For each row the row that stands for all that equal it: a preselected one if there is one,
        otherwise the heaviest that is no outlier, of these the first. Itself for most.
    candidates : ndarray of bool of shape (n,)
        Rows that may be picked: those that stand for themselves, are not preselected, and are no
        outliers.
    mass : ndarray of shape (n,)
        Weights of all rows that a row stands for, 1 each by default; 0 for the rows that it stands
        for, and for outliers.
    weights : ndarray of shape (n,) or None
        The largest weight among equal rows.
    """

    stand_in: NDArray[np.intp]
    candidates: NDArray[np.bool_]
    mass: NDArray[np.float64]
    weights: NDArray[np.float64] | None


def find_distinct(
    X: Rows,
    preselected: NDArray[np.intp],
    weights: NDArray[np.float64] | None,
    outlier_fraction: float,
    *,
    as_rows: bool = False,
) -> Distinct:
    """Find equal rows, in linear time, and outliers, and say who may be picked.

    With `as_rows`, equal rows are rows like others.
    """
    n = len(X)
    if len(preselected) == n:
        raise ValueError(f"All {n} rows of X are preselected: nothing is left to pick.")
    n_outliers = int(outlier_fraction * n)
    out = outliers(X, n_outliers) if n_outliers else np.empty(0, dtype=np.intp)
    stand_in = np.arange(n)
    if not as_rows:
        value = first_occurrences(X)[1]
        rank = np.ones(n) if weights is None else weights.copy()
        rank[out] = -1
        rank[preselected] = np.inf
        stand_in = _first_of_largest(value, rank)[value]
    mass = np.bincount(stand_in, weights=weights, minlength=n).astype(np.float64)
    if weights is not None:
        weights = weights.copy()
        np.maximum.at(weights, stand_in, weights)
    candidates = stand_in == np.arange(n)
    # Rows that equal a preselected one are stood for by it.
    candidates[preselected] = False
    candidates[out] = False
    mass[np.setdiff1d(out, preselected)] = 0
    if not candidates.any():
        beside = f" or among the {n_outliers} outliers that outlier_fraction={outlier_fraction}"
        beside = f"{beside} leaves out" if n_outliers else " or equal to one that is"
        raise ValueError(f"All rows of X are preselected{beside}: nothing is left to pick.")
    return Distinct(stand_in, candidates, mass, weights)


def _first_of_largest(value: NDArray[np.intp], rank: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return for each value the first of its rows whose rank is the largest."""
    largest = np.full(value.max() + 1, -np.inf)
    np.maximum.at(largest, value, rank)
    rows = np.flatnonzero(rank == largest[value])[::-1]
    first = np.empty(len(largest), dtype=np.intp)
    first[value[rows]] = rows  # the last one written stays
    return first


def outliers(geometry: Rows, n_outliers: int) -> NDArray[np.intp]:
    """Return the rows farthest from their 10th nearest neighbour, the lowest indices in a tie."""
    _, sq_distances = knn(geometry, OUTLIER_NEIGHBOR)
    return np.argsort(-sq_distances[:, -1], kind="stable")[:n_outliers]


def count_picks(
    n_samples: int | float, n_rows: int, candidates: NDArray[np.bool_], owner: str
) -> int:
    """Return how many rows to pick; warn where fewer are left than `n_samples` asks for.

    `n_rows` are those that a share is a share of: the candidates, and the rows that equal one.
    """
    n_candidates = int(np.count_nonzero(candidates))
    n_picks = check_n_samples(n_samples, n_rows, owner)
    if n_picks > n_candidates:
        distinct = "distinct " if n_candidates < n_rows else ""
        asked = f"n_samples={n_samples}"
        if not isinstance(n_samples, int | np.integer):
            asked = f"{asked}, which is {n_picks},"
        warn(
            f"{asked} is more than the {n_candidates} {distinct}rows that can be picked: all of "
            "them are selected."
        )
    return min(n_picks, n_candidates)


def check_groups(groups: Any, n_rows: int) -> NDArray[np.intp]:
    """Return the number of each row's group, from 0 in order of first occurrence."""
    values = np.asarray(groups, dtype=object)
    if values.shape != (n_rows,):
        raise ValueError(
            f"groups must be 1-D with one value a row of X ({n_rows}). Got an array of shape "
            f"{values.shape}."
        )
    missing = [row for row, value in enumerate(values) if is_missing(value)]
    if missing:
        raise ValueError(
            f"groups has no value in {len(missing)} of {n_rows} rows, first in row {missing[0]}. "
            "Give such rows a group of their own, such as 'unknown', or leave them out."
        )
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.intp)


def warn_of_groups(
    groups: NDArray[np.intp],
    candidates: NDArray[np.bool_],
    preselected: NDArray[np.intp],
    n_picks: int,
    balance: str,
) -> None:
    """Warn where groups cannot all have what they are due."""
    n_groups = int(groups.max()) + 1
    reached = np.union1d(groups[candidates], groups[preselected])
    if len(reached) < n_groups:
        first = np.setdiff1d(np.arange(n_groups), reached)[0]
        row = int(np.flatnonzero(groups == first)[0])
        warn(
            f"{n_groups - len(reached)} of the {n_groups} groups have no row that can be picked, "
            f"such as that of row {row}: their rows equal rows of other groups, or are outliers. "
            "Their picks go to the others."
        )
    n_open = len(np.unique(groups[candidates]))
    if balance == "equal" and n_picks < n_open:
        warn(
            f"{n_picks} picks are fewer than the {n_open} groups to share them equally: "
            f"{n_open - n_picks} groups, drawn by the seed, get none."
        )
