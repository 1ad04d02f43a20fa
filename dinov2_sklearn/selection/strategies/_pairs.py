"""Pairs of rows and candidates near each other, from which gains follow without distances anew.

Where all rows are candidates, a product of two of them says what each is to the other.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.utils import gen_batches

from ...neighbors import for_each

__all__ = ["N_OTHERS", "N_ROWS", "Pairs", "below", "pairs_of_all", "pieces_of", "products"]

# Rows, and rows that they meet in one product: its table stays in a core's cache.
N_ROWS, N_OTHERS = 256, 2048
# Rows whose products with all later ones are one piece of work.
_ROWS_OF_WORK = 1024
# Rows whose pairs are worked on at once, which bounds the temporary arrays.
_PAIR_ROWS = 4096


class Pairs:
    """The pairs of a row and a candidate nearer to it than its nearest pick, by row.

    Parameters
    ----------
    found : list of tuples of candidates, squared distances, and counts of them for each row
        Of some rows each; the list is emptied.
    """

    def __init__(self, found: list[tuple[NDArray, ...]], n_candidates: int, n_picks: int):
        self.n_picks = n_picks
        self._n_candidates = n_candidates
        others, values, counts = (list(part) for part in zip(*found, strict=True))
        found.clear()
        self._starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        self._others = _joined(others)
        self._sq_distances = _joined(values)
        shape = (len(self._starts) - 1, n_candidates)
        marks = np.ones(len(self._others), dtype=bool)
        columns = csr_array((marks, self._others, self._starts), shape=shape).tocsc()
        self._rows, self._column_starts = columns.indices, columns.indptr

    def rows_of(self, candidate: int) -> NDArray[np.intp]:
        """List the rows that a candidate may be nearer to than their nearest pick."""
        start, stop = self._column_starts[candidate : candidate + 2]
        return self._rows[start:stop].astype(np.intp)

    def gains(
        self, distances: NDArray[np.float64], mass: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the gain of every candidate."""
        total = np.zeros(self._n_candidates)
        for rows, pairs, counts in self._parts():
            gains = np.repeat(distances[rows], counts) - self._sq_distances[pairs]
            gains = np.maximum(gains, 0) * np.repeat(mass[rows], counts)
            total += _sum_by(self._others[pairs], gains, self._n_candidates)
        return total

    def lost_gains(
        self, rows: NDArray[np.intp], before: NDArray, after: NDArray, mass: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Say what every candidate loses as the distances of some rows shrink."""
        starts = self._starts[rows]
        counts = self._starts[rows + 1] - starts
        places = np.repeat(starts - (np.cumsum(counts) - counts), counts)
        places += np.arange(len(places))
        sq_distances = self._sq_distances[places]
        lost = np.maximum(np.repeat(before, counts) - sq_distances, 0)
        lost -= np.maximum(np.repeat(after, counts) - sq_distances, 0)
        lost *= np.repeat(mass[rows], counts)
        return _sum_by(self._others[places], lost, self._n_candidates)

    def thinned(self, limits: NDArray[np.float64], n_picks: int) -> "Pairs":
        """Without the pairs that are at least `limits` of their rows apart."""
        found: list[tuple[NDArray, ...]] = []
        for rows, pairs, counts in self._parts():
            kept = self._sq_distances[pairs] < np.repeat(limits[rows], counts)
            row = np.repeat(np.arange(len(counts)), counts)[kept]
            found.append(
                (
                    self._others[pairs][kept],
                    self._sq_distances[pairs][kept],
                    np.bincount(row, minlength=len(counts)),
                )
            )
        return Pairs(found, self._n_candidates, n_picks)

    def _parts(self) -> Iterator[tuple[slice, slice, NDArray[np.intp]]]:
        """Go through the rows: some, their pairs, and how many of these each of them has."""
        for rows in gen_batches(len(self._starts) - 1, _PAIR_ROWS):
            starts = self._starts[rows.start : rows.stop + 1]
            yield rows, slice(int(starts[0]), int(starts[-1])), np.diff(starts)


def pieces_of(n_rows: int) -> list[slice]:
    """Cut rows into pieces of work, each of which meets itself and all later rows."""
    return list(gen_batches(n_rows, _ROWS_OF_WORK))


def products(X: NDArray, piece: slice) -> Iterator[tuple[slice, slice, NDArray]]:
    """Go through a piece of the rows: some, the piece or later rows, and twice their products."""
    starts = range(piece.stop, len(X), N_OTHERS)
    parts = [piece, *(slice(start, min(start + N_OTHERS, len(X))) for start in starts)]
    for start in range(piece.start, piece.stop, N_ROWS):
        some = slice(start, min(start + N_ROWS, piece.stop))
        block = 2 * X[some]
        for part in parts:
            yield some, part, block @ X[part].T


def pairs_of_all(X: NDArray, norms: NDArray, limits: NDArray) -> tuple[NDArray, ...]:
    """Find the pairs of rows that are nearer than the limit of the first, as `Pairs` takes them."""
    pieces = pieces_of(len(X))
    found: dict[int, list[tuple[NDArray, ...]]] = {}

    def find(i: int) -> None:
        found[i] = []
        for some, part, table in products(X, pieces[i]):
            sq_distances = norms[part] - table
            sq_distances += norms[some, None]
            np.maximum(sq_distances, 0, out=sq_distances)
            row, other, values = below(sq_distances, limits[some, None])
            found[i].append((row + some.start, other + part.start, values))
            if part != pieces[i]:
                other, row, values = below(sq_distances, limits[part])
                found[i].append((row + part.start, other + some.start, values))

    for_each(find, range(len(pieces)))
    # In the order of pieces, by which the candidates of a row ascend.
    parts = zip(*(some for i in range(len(pieces)) for some in found.pop(i)), strict=True)
    rows, others, values = (_joined(list(part)) for part in parts)
    table = csr_array((values, (rows, others)), shape=(len(X), len(X)))
    return table.indices, table.data, np.diff(table.indptr)


def below(table: NDArray, limits: NDArray) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray]:
    """Find where a table is below limits: rows, columns, and what is there."""
    # Several times as fast as np.nonzero with two axes.
    places = np.flatnonzero(table < limits)
    row, column = np.divmod(places.astype(np.int32), np.int32(table.shape[1]))
    return row, column, table.ravel()[places]


def _joined(parts: list[NDArray]) -> NDArray:
    """Concatenate arrays, each of which is dropped once it is copied."""
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=parts[0].dtype)
    start = 0
    for i, part in enumerate(parts):
        whole[start : start + len(part)] = part
        start += len(part)
        parts[i] = part[:0].copy()
    return whole


def _sum_by(places: NDArray, values: NDArray, n: int) -> NDArray[np.float64]:
    return np.bincount(places, values, minlength=n).astype(np.float64, copy=False)
