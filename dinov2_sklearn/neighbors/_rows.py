"""Equal rows, and work on rows whose result for one does not depend on the rows beside it."""

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.utils import gen_batches
from threadpoolctl import threadpool_limits

from ._forest import connected
from ._geometry import Rows, RowSubset, UnitRows, columns_of, exact_rows, row_blocks
from ._threads import for_each

__all__ = [
    "BLOCK_ROWS",
    "check_finite",
    "direction_tolerance",
    "first_directions",
    "first_occurrences",
    "map_blocks",
    "match_rows",
    "row_keys",
]

# Columns by which rows are told apart before all of them are read.
_FEW_COLUMNS = 8
# Neighbours in a run of like directions that are compared one by one.
_STEPS = 16
BLOCK_ROWS = 256
"""Rows handled at a time. Every block has exactly this many, the last one padded with zeros."""


def check_finite(rows: NDArray, name: str) -> None:
    """Refuse NaN and infinity, and say in which rows they are."""
    bad = np.concatenate(
        [
            start + np.flatnonzero(~np.isfinite(rows[start : start + 4096]).all(axis=1))
            for start in range(0, len(rows), 4096)
        ]
    )
    if len(bad):
        shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise ValueError(
            f"{name} contains NaN, infinity or a value too large for float32 in {len(bad)} of "
            f"{len(rows)} rows (index {shown}). Leave these rows out, or find out why their "
            "embeddings failed."
        )


def map_blocks(
    function: Callable[[NDArray], NDArray], rows: NDArray, n_columns: int
) -> NDArray[np.float32]:
    """Apply `function` to `rows` in blocks of one fixed shape, each in one thread.

    A matrix product picks its kernel, and with it the order of its sums, by the shape of its
    operands. Blocks of one shape send a row through the same arithmetic whether it comes alone or
    among a million.

    Parameters
    ----------
    function : callable
        Takes (BLOCK_ROWS, n_features) and returns (BLOCK_ROWS, n_columns); each row of the result
        is a function of that row of the argument only.
    rows : ndarray of shape (n_rows, n_features)
    n_columns : int

    Returns
    -------
    ndarray of shape (n_rows, n_columns), float32
    """
    result = np.empty((len(rows), n_columns), dtype=np.float32)

    def apply(part: slice) -> None:
        block = np.zeros((BLOCK_ROWS, rows.shape[1]), dtype=rows.dtype)
        n_rows = part.stop - part.start
        block[:n_rows] = rows[part]
        result[part] = function(block)[:n_rows]

    parts = list(gen_batches(len(rows), BLOCK_ROWS))
    # More than one are computed in one thread each anyway.
    with nullcontext() if len(parts) > 1 else threadpool_limits(limits=1):
        for_each(apply, parts)
    return result


def first_occurrences(rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Find the distinct rows.

    Parameters
    ----------
    rows : Rows of shape (n_rows, n_features)

    Returns
    -------
    is_first : ndarray of shape (n_rows,), bool
        True where a row is the first of its value.
    distinct : ndarray of shape (n_rows,), int
        For each row, its place among the rows for which `is_first` holds.
    """
    first_of = _first_by_keys(rows)
    repeated = np.flatnonzero(first_of != np.arange(len(rows)))
    if not _equal(rows, repeated, first_of[repeated]):  # two values share a key
        _, first, inverse = np.unique(rows[:], axis=0, return_index=True, return_inverse=True)
        first_of = first[inverse.reshape(-1)]
    is_first = first_of == np.arange(len(rows))
    return is_first, (np.cumsum(is_first) - 1)[first_of]


def direction_tolerance(dtype: np.dtype) -> float:
    """Say by what share of itself an entry of a unit row may differ in one of equal direction.

    Rows of one direction that were scaled and rounded differ by half a unit in the last place
    each, and so may their lengths; what float64 computes of them adds a little.
    """
    return 2 * float(np.finfo(dtype).eps) + 16 * float(np.finfo(np.float64).eps)


def first_directions(rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Find the distinct rows; unit rows are equal whose directions are, but for rounding.

    Parameters and result are those of `first_occurrences`.

    Notes
    -----
    Directions are sorted by a few of their entries and by a projection into runs, within which
    neighbours are as near as `direction_tolerance` allows. Only what is left in a run with others
    is compared. Time is that of some sorts, unless very many rows are nearly the same.
    """
    is_first, place = first_occurrences(rows)
    if not isinstance(rows, UnitRows):
        return is_first, place
    distinct = np.flatnonzero(is_first)
    first, second = _equal_directions(RowSubset(rows, distinct))
    if len(first):
        place = connected(len(distinct), first, second).astype(np.intp)[place]
        is_first = np.zeros(len(rows), dtype=bool)
        is_first[np.unique(place, return_index=True)[1]] = True
    return is_first, place


def _equal_directions(rows: RowSubset) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find pairs that connect all rows of equal directions."""
    # As they are read, in the precision of the rows, both ends may be off once more.
    tolerance = 2 * direction_tolerance(rows.dtype)
    entries = columns_of(rows, _few_columns(rows)).astype(np.float64)
    slack = tolerance * np.abs(entries) + np.finfo(rows.dtype).tiny
    left, run = np.arange(len(rows)), np.zeros(len(rows), dtype=np.intp)
    for column in range(entries.shape[1]):
        left, run = _split_runs(left, run, entries[left, column], slack[left, column])
    left, run = _split_runs(left, run, *_projection(rows, left, tolerance))
    order = np.lexsort((entries[left, 0], run))
    left, run = left[order], run[order]
    firsts, seconds, step = [left[:0]], [left[:0]], 1
    while step < min(len(left), _STEPS):
        some = np.flatnonzero(run[:-step] == run[step:])
        for column in range(entries.shape[1]):
            one, other = left[some], left[some + step]
            apart = np.abs(entries[one, column] - entries[other, column])
            some = some[apart <= np.maximum(slack[one, column], slack[other, column])]
            if column == 0 and len(some) == 0:  # in this order, all others are farther apart
                return np.concatenate(firsts), np.concatenate(seconds)
        some = some[_are_same_directions(rows, left[some], left[some + step])]
        firsts.append(left[some])
        seconds.append(left[some + step])
        # Who has found one of its direction is done.
        left, run = np.delete(left, some + step), np.delete(run, some + step)
        step = 1 if len(some) else step + 1
    # Long runs are of rows that are nearly the same: a tree tells them apart.
    for some in np.split(left, np.flatnonzero(np.diff(run)) + 1):
        if len(some) > _STEPS:
            tree = cKDTree((entries[some] - entries[some[0]]) / slack[some].max(axis=0))
            near = some[tree.query_pairs(1 + 1e-6, p=np.inf, output_type="ndarray")]
            near = near[_are_same_directions(rows, near[:, 0], near[:, 1])]
            firsts.append(near[:, 0])
            seconds.append(near[:, 1])
    return np.concatenate(firsts), np.concatenate(seconds)


def _split_runs(
    rows: NDArray[np.intp], run: NDArray[np.intp], key: NDArray, slack: NDArray
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split runs of rows where neighbours by a key are apart; leave out who is alone in one."""
    order = np.lexsort((key, run))
    rows, run, key, slack = rows[order], run[order], key[order], slack[order]
    apart = np.diff(key) > np.maximum(slack[1:], slack[:-1])
    run = np.append(0, np.cumsum(apart | (np.diff(run) != 0)))[: len(rows)]
    together = np.bincount(run)[run] > 1
    return rows[together], run[together]


def _projection(
    rows: RowSubset, some: NDArray[np.intp], tolerance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project rows on a random direction, and say how far that may be off."""
    direction = np.random.RandomState(0).normal(size=rows.shape[1])
    projected, slack = np.empty(len(some)), np.empty(len(some))
    for part in row_blocks(len(some), rows.shape[1]):
        block = exact_rows(rows, some[part])
        projected[part] = block @ direction
        slack[part] = tolerance * (np.abs(block) @ np.abs(direction))
    return projected, slack


def _are_same_directions(
    rows: RowSubset, some: NDArray[np.intp], others: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Tell which pairs of rows have one direction, but for rounding."""
    same = np.empty(len(some), dtype=bool)
    tolerance, least = direction_tolerance(rows.dtype), float(np.finfo(rows.dtype).tiny)
    for part in row_blocks(len(some), rows.shape[1]):
        one, other = exact_rows(rows, some[part]), exact_rows(rows, others[part])
        limit = tolerance * np.maximum(np.abs(one), np.abs(other)) + least
        same[part] = (np.abs(one - other) <= limit).all(axis=1)
    return same


def _few_columns(rows: Rows) -> NDArray[np.intp]:
    """Choose some columns: most rows differ from all others in these already."""
    return np.unique(np.linspace(0, rows.shape[1] - 1, _FEW_COLUMNS).astype(np.intp))


def _first_by_keys(rows: Rows) -> NDArray[np.intp]:
    """For each row the first whose key is the same."""
    few = _few_columns(rows)
    _, place, counts = np.unique(
        row_keys(columns_of(rows, few)), return_inverse=True, return_counts=True
    )
    first_of = np.arange(len(rows))
    alike = np.flatnonzero(counts[place.reshape(-1)] > 1)
    keys = row_keys(rows if len(alike) == len(rows) else RowSubset(rows, alike))
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    first_of[alike] = alike[first[place.reshape(-1)]]
    return first_of


def _equal(rows: Rows, some: NDArray[np.intp], others: NDArray[np.intp]) -> bool:
    return all(
        np.array_equal(rows[some[part]], rows[others[part]])
        for part in row_blocks(len(some), rows.shape[1])
    )


def match_rows(rows: NDArray, known: NDArray) -> NDArray[np.intp]:
    """Find each row's identical row among `known`, -1 where there is none.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
    known : ndarray of shape (n_known, n_features), distinct rows of the same dtype

    Returns
    -------
    ndarray of shape (n_rows,), int
    """
    keys, known_keys = row_keys(rows), row_keys(known)
    hits = np.flatnonzero(np.isin(known_keys, keys))
    found = np.full(len(rows), -1, dtype=np.intp)
    if len(hits):
        hits = hits[np.argsort(known_keys[hits], kind="stable")]
        at = np.searchsorted(known_keys[hits], keys).clip(max=len(hits) - 1)
        same = (known[hits[at]] == rows).all(axis=1)
        found[same] = hits[at[same]]
    return found


def row_keys(rows: Rows) -> NDArray[np.uint64]:
    """Hash each row to 64 bits, in integer arithmetic, which wraps and never rounds.

    Rows that compare equal have equal keys, also where they hold zeros of either sign.
    """
    draw = np.random.RandomState(0)
    n_words = rows.shape[1] * rows.dtype.itemsize // 4
    before, after = draw.randint(0, 2**64, size=(2, n_words), dtype=np.uint64) | np.uint64(1)
    keys = np.empty(len(rows), dtype=np.uint64)
    for start in range(0, len(rows), 1024):
        block = np.ascontiguousarray(rows[start : start + 1024]) + rows.dtype.type(0)
        mixed = (block.view(np.uint32) + np.uint64(1)) * before
        mixed ^= mixed >> np.uint64(32)
        keys[start : start + 1024] = (mixed * after).sum(axis=1, dtype=np.uint64)
    return keys
