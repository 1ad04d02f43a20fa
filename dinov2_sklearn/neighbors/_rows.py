"""Equal rows, and work on rows whose result for one does not depend on the rows beside it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ._geometry import Rows, RowSubset, columns_of, row_blocks

__all__ = [
    "BLOCK_ROWS",
    "check_finite",
    "first_occurrences",
    "map_blocks",
    "match_rows",
    "row_keys",
]

# Columns by which rows are told apart before all of them are read.
_FEW_COLUMNS = 8
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
    """Apply `function` to `rows` in blocks of one fixed shape.

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
    block = np.zeros((BLOCK_ROWS, rows.shape[1]), dtype=rows.dtype)
    for start in range(0, len(rows), BLOCK_ROWS):
        part = rows[start : start + BLOCK_ROWS]
        block[: len(part)] = part
        block[len(part) :] = 0
        result[start : start + len(part)] = function(block)[: len(part)]
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


def _first_by_keys(rows: Rows) -> NDArray[np.intp]:
    """For each row the first whose key is the same."""
    # Most rows differ from all others in a few columns already.
    few = np.unique(np.linspace(0, rows.shape[1] - 1, _FEW_COLUMNS).astype(np.intp))
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
