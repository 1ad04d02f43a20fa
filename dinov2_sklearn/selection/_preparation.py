"""From checked arguments to a pool: who may be picked, and what each row stands for."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images.sources import is_missing
from ..neighbors import Rows, UnitRows, first_directions, knn
from ..utils import warn
from ._validation import check_n_samples
from .strategies import dues

__all__ = ["Distinct", "check_groups", "count_picks", "find_distinct", "outliers", "warn_of_groups"]

# Times that equal rows of several groups are given to one of them, if that goes on to change.
_SHARE_OUTS = 10
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
    n_distinct : ndarray of int of shape (n_groups,) or None
        Distinct rows that each group has, also those that stand for others elsewhere.
    """

    stand_in: NDArray[np.intp]
    candidates: NDArray[np.bool_]
    mass: NDArray[np.float64]
    weights: NDArray[np.float64] | None
    n_distinct: NDArray[np.intp] | None = None


def find_distinct(
    X: NDArray | UnitRows,
    preselected: NDArray[np.intp],
    weights: NDArray[np.float64] | None,
    outlier_fraction: float,
    *,
    groups: NDArray[np.intp] | None = None,
    balance: str = "proportional",
    as_rows: bool = False,
) -> Distinct:
    """Find equal rows, in linear time, and outliers, and say who may be picked.

    Rows that are equal in several groups stand for each other where their `balance` wants it. With
    `as_rows`, equal rows are rows like others.
    """
    n = len(X)
    if len(preselected) == n:
        raise ValueError(f"All {n} rows of X are preselected: nothing is left to pick.")
    n_outliers = int(outlier_fraction * n)
    out = outliers(X, n_outliers) if n_outliers else np.empty(0, dtype=np.intp)
    stand_in, n_distinct = np.arange(n), None
    if not as_rows:
        value = first_directions(X)[1]
        rank = np.ones(n) if weights is None else weights.copy()
        rank[out] = -1
        rank[preselected] = np.inf
        if groups is not None:
            elsewhere, n_distinct = _share_out(value, rank, groups, balance)
            rank[elsewhere] = -np.inf
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
    return Distinct(stand_in, candidates, mass, weights, n_distinct)


def _share_out(
    value: NDArray[np.intp], rank: NDArray[np.float64], groups: NDArray[np.intp], balance: str
) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Give each set of equal rows to one of its groups, that which has the least of its share.

    Returns
    -------
    elsewhere : ndarray of bool of shape (n,)
        Rows whose set is given to another group.
    n_distinct : ndarray of int of shape (n_groups,)
        Sets that each group has a row of.
    """
    n_groups = int(groups.max()) + 1
    largest = np.full(value.max() + 1, -np.inf)
    np.maximum.at(largest, value, rank)
    # Labelled rows stand for their set, and so do others that have weight, if there are any.
    able = np.where(np.isin(largest[value], (-1, 0, np.inf)), rank == largest[value], rank > 0)
    found, place = np.unique(value * n_groups + groups, return_inverse=True)
    is_able = np.zeros(len(found), dtype=bool)
    is_able[place[able]] = True
    n_distinct = np.bincount(found % n_groups, minlength=n_groups)
    sets, group = np.divmod(found[is_able], n_groups)
    alone = np.bincount(sets)[sets] == 1
    owned = np.bincount(group[alone], minlength=n_groups)
    sets, group = sets[~alone], group[~alone]
    starts = np.flatnonzero(np.diff(sets, prepend=-1))
    share = np.ones(n_groups) if balance == "equal" else n_distinct
    owner = np.full(len(largest), -1)
    if len(sets):
        choices = [choice.tolist() for choice in np.split(group, starts[1:])]
        owner[sets[starts]] = _give_out(choices, owned.tolist(), share.tolist())
    return ~able | ((owner[value] >= 0) & (owner[value] != groups)), n_distinct


def _give_out(choices: list[list[int]], owned: list[int], share: list[float]) -> list[int]:
    """Give each of some things to one of its possible owners, who `owned` as many things before.

    They are given in turn to who has the least for its share, and again while that changes.
    """
    owners = [-1] * len(choices)
    # What few can have is given first.
    order = sorted(range(len(choices)), key=lambda i: len(choices[i]))
    for _ in range(_SHARE_OUTS):
        before = owners.copy()
        for i in order:
            last = owners[i]
            if last >= 0:
                owned[last] -= 1
            owners[i] = min(choices[i], key=lambda g: ((owned[g] + 1) / share[g], g != last))
            owned[owners[i]] += 1
        if owners == before:
            break
    return owners


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
    distinct: Distinct,
    preselected: NDArray[np.intp],
    n_picks: int,
    balance: str,
) -> None:
    """Warn where groups cannot all have what they are due."""
    n_groups, candidates = int(groups.max()) + 1, distinct.candidates
    reached = np.union1d(groups[candidates], groups[preselected])
    if len(reached) < n_groups:
        first = np.setdiff1d(np.arange(n_groups), reached)[0]
        row = int(np.flatnonzero(groups == first)[0])
        warn(
            f"{n_groups - len(reached)} of the {n_groups} groups have no row that can be picked, "
            f"such as that of row {row}: their rows equal labelled rows or rows of other groups, "
            "or are outliers. Their picks go to the others."
        )
    n_open = len(np.unique(groups[candidates]))
    if balance == "equal" and n_picks < n_open:
        warn(
            f"{n_picks} picks are fewer than the {n_open} groups to share them equally: "
            f"{n_open - n_picks} groups, drawn by the seed, get none."
        )
    if distinct.n_distinct is not None:
        _warn_of_short_groups(groups, distinct, preselected, n_picks, balance)


def _warn_of_short_groups(
    groups: NDArray[np.intp],
    distinct: Distinct,
    preselected: NDArray[np.intp],
    n_picks: int,
    balance: str,
) -> None:
    """Warn where groups have some rows to pick, but too few for what they are due."""
    n_distinct = distinct.n_distinct
    assert n_distinct is not None
    n_groups, total = len(n_distinct), n_picks + len(preselected)
    sizes = np.bincount(groups[distinct.candidates], minlength=n_groups)
    sizes += np.bincount(groups[preselected], minlength=n_groups)
    shares = np.ones(n_groups) if balance == "equal" else n_distinct.astype(np.float64)
    got = dues(sizes, total, shares=shares)
    due = dues(np.maximum(n_distinct, sizes), total, shares=shares)
    short = np.flatnonzero((got <= due - 1) & (sizes > 0))
    if len(short):
        row = int(np.flatnonzero(groups == short[0])[0])
        warn(
            f"{len(short)} of the {n_groups} groups get fewer picks than they are due, such as "
            f"that of row {row}: too many of their rows equal labelled rows or rows of other "
            "groups, or are outliers."
        )
