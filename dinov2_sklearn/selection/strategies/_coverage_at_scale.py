"""Coverage of more rows than can be compared with each other, by way of small groups of them.

A group of rows with mass w, mean m and spread s costs ``w |m - c|^2 + s`` with the pick c: for
squared distances that is exact, if c is the nearest pick of all of them. So the means, with their
masses, stand for all rows, and what is lost is only that a group is not divided between picks.
Groups lose far less than samples of as many rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.utils import gen_batches

from ...neighbors import Rows, RowSubset, divide_evenly, for_each, nearest
from ._clusters import kmeans
from ._coverage import cover

__all__ = ["cover_by_groups"]

# Cells of like rows, in which groups are made; each is compared with these many others.
_CELLS, _NEAR_CELLS, _CELL_TRAIN_ROWS = 256, 4, 64
# Times the mean size that a cell may have: the time is the sum of the squares of sizes.
_LARGE_CELL = 2
# Groups for the first picks, all of which are compared with each other, and for the later ones.
_COARSE, _FINE = 16_000, 76_000
# Groups that a pick stands for: with fewer, it would matter where a group is divided.
_GROUPS_A_PICK = 16
# Groups whose rows are looked through for the best pick, and the rows that are evaluated.
_GROUPS_SEARCHED, _FINALISTS = 32, 32
# Rows that tell the spread of a cell, and those that are compared at once.
_SPREAD_ROWS, _ROWS_AT_ONCE = 512, 2048

Near = list[tuple[NDArray[np.intp], NDArray[np.intp]]]


@dataclass(frozen=True)
class _Groups:
    """Small groups of rows, cell by cell.

    Attributes
    ----------
    means : ndarray of shape (g, d)
    mass : ndarray of shape (g,)
        Of all rows of each group.
    medoids : ndarray of int of shape (g,)
        The candidate nearest to the mean; -1 for a group without candidates.
    cells : ndarray of int of shape (g,)
        Ascending.
    members : ndarray of int of shape (n,)
        Rows, group by group.
    sizes : ndarray of int of shape (g,)
    """

    means: NDArray
    mass: NDArray[np.float64]
    medoids: NDArray[np.intp]
    cells: NDArray[np.intp]
    members: NDArray[np.intp]
    sizes: NDArray[np.intp]


def cover_by_groups(
    X: Rows,
    n_picks: int,
    *,
    candidates: NDArray[np.bool_],
    mass: NDArray[np.float64],
    covered: NDArray,
    min_sq_distance: float = 0.0,
) -> NDArray[np.intp]:
    """Pick rows one by one, each one that lowers the cost most, as far as groups can tell.

    Parameters and result are those of `cover`, of which this returns the indices; there may be
    fewer than `n_picks`. Rows are read in blocks and never copied whole.

    Notes
    -----
    k-means divides the rows into cells, and each cell into groups: some in proportion to its
    spread, so that a burst of nearly equal rows makes one group. The first picks are those of
    `cover` for the coarse groups, where a pick stands for sixteen of them at least; the candidates
    are the rows nearest to the groups' means. The later ones come from a finer division, in which
    groups are compared with those of cells nearby. Which division a pick comes from depends on its
    rank alone: fewer picks are a prefix of more.
    """
    # A constant seed: the groups are a means, and no user wants another draw of them.
    random_state = np.random.RandomState(0)
    cells, centers = _make_cells(X, mass, random_state)
    first = min(n_picks, _COARSE // _GROUPS_A_PICK)
    left = candidates.copy()
    groups = _divide(X, cells, centers, _COARSE, left, mass, seed=1)
    picks = _cover_groups(X, groups, first, left, covered, min_sq_distance, None)
    if first < n_picks:
        left[picks] = False
        del groups
        groups = _divide(X, cells, centers, _FINE, left, mass, seed=2)
        known = np.concatenate([covered, X[picks]])
        near = _near_groups(groups, centers)
        n_left = n_picks - len(picks)
        later = _cover_groups(X, groups, n_left, left, known, min_sq_distance, near)
        picks = np.concatenate([picks, later])
    return picks


def _make_cells(
    X: Rows, mass: NDArray[np.float64], random_state: np.random.RandomState
) -> tuple[list[NDArray[np.intp]], NDArray]:
    """Divide rows into cells of like ones, none of them much larger than the others."""

    def split(rows: NDArray[np.intp], n_parts: int) -> tuple[NDArray[np.intp], NDArray]:
        return kmeans(
            RowSubset(X, rows),
            n_parts,
            random_state=random_state,
            weights=mass[rows],
            train_rows=_CELL_TRAIN_ROWS,
        )

    return divide_evenly(len(X), -(-len(X) // _CELLS), _LARGE_CELL, split)


def _cover_groups(
    X: Rows,
    groups: _Groups,
    n_picks: int,
    candidates: NDArray[np.bool_],
    covered: NDArray,
    min_sq_distance: float,
    near: Near | None,
) -> NDArray[np.intp]:
    """Pick by the groups, and in place of each medoid the best row of the groups around it."""
    medoids = groups.medoids[groups.medoids >= 0]
    search = _RowSearch(X, groups, candidates, covered, min_sq_distance)
    cover(
        RowSubset(X, medoids),
        min(n_picks, len(medoids)),
        candidates=np.ones(len(medoids), dtype=bool),
        mass=groups.mass,
        references=groups.means,
        near=near,
        covered=covered,
        min_sq_distance=min_sq_distance,
        improve=search.best_near,
    )
    return np.array(search.picks, dtype=np.intp)


class _RowSearch:
    """Looks for the best row near a medoid, among the rows of the groups that it would cover."""

    def __init__(
        self,
        X: Rows,
        groups: _Groups,
        candidates: NDArray[np.bool_],
        covered: NDArray,
        min_sq_distance: float,
    ):
        self.picks: list[int] = []
        self._X, self._groups = X, groups
        self._open = candidates.copy()
        self._min_sq_distance = min_sq_distance
        self._taken = covered
        self._ends = np.cumsum(groups.sizes)
        self._medoids = groups.medoids[groups.medoids >= 0]
        # Which candidate a row is, if any.
        self._candidate_of = {int(row): i for i, row in enumerate(self._medoids)}

    def best_near(
        self, candidate: int, groups: NDArray[np.intp], sq_distances: NDArray[np.float64]
    ) -> tuple[NDArray, NDArray[np.intp]]:
        """Return the row to pick in place of a candidate, and which candidates it rules out."""
        row = medoid = int(self._medoids[candidate])
        origin = self._X[medoid]
        means, mass = self._groups.means[groups] - origin, self._groups.mass[groups]
        norms = np.einsum("ij,ij->i", means, means)
        served = (norms < sq_distances) & (mass > 0)
        if served.any():
            center = mass[served] @ means[served] / mass[served].sum()
            near = self._rows_around(origin, center, groups[served], means[served])
            rows = np.append(near, medoid)
            block = self._X[rows] - origin
            table = norms - 2 * (block @ means.T) + np.einsum("ij,ij->i", block, block)[:, None]
            # Where nothing is covered yet, all that counts is the distance itself.
            bounds = np.where(np.isinf(sq_distances), 2 * table.max(), sq_distances)
            gains = np.maximum(bounds - np.maximum(table, 0), 0) @ mass
            row = int(rows[gains.argmax()])
        self.picks.append(row)
        self._open[[row, medoid]] = False
        if self._min_sq_distance > 0:
            self._taken = np.concatenate([self._taken, self._X[[row]]])
        barred = {candidate, self._candidate_of.get(row, candidate)}
        return self._X[row], np.array(sorted(barred))

    def _rows_around(
        self, origin: NDArray, center: NDArray, groups: NDArray[np.intp], means: NDArray
    ) -> NDArray[np.intp]:
        """Candidates among the rows of some groups that are nearest to ``origin + center``.

        `means` are differences from the origin, too.
        """
        center = center.astype(means.dtype)
        away = np.einsum("ij,ij->i", means - center, means - center)
        groups = groups[np.argsort(away, kind="stable")[:_GROUPS_SEARCHED]]
        ends, sizes = self._ends[groups], self._groups.sizes[groups]
        spans = map(slice, ends - sizes, ends)
        rows = np.concatenate([self._groups.members[span] for span in spans])
        rows = rows[self._open[rows]]
        block = self._X[rows] - (origin + center)
        rows = rows[np.argsort(np.einsum("ij,ij->i", block, block), kind="stable")[:_FINALISTS]]
        if self._min_sq_distance > 0 and len(rows) and len(self._taken):
            rows = rows[nearest(self._X[rows], self._taken)[1] >= self._min_sq_distance]
        return rows


def _divide(
    X: Rows,
    cells: list[NDArray[np.intp]],
    centers: NDArray,
    n_groups: int,
    candidates: NDArray[np.bool_],
    mass: NDArray[np.float64],
    *,
    seed: int,
) -> _Groups:
    """Divide each cell into groups."""
    spreads = np.empty(len(cells))

    def measure(i: int) -> None:
        few = cells[i][:: max(1, len(cells[i]) // _SPREAD_ROWS)]
        block = X[few] - centers[i]
        spreads[i] = mass[few] @ np.einsum("ij,ij->i", block, block) * len(cells[i]) / len(few)

    for_each(measure, range(len(cells)))
    sizes = np.array([len(rows) for rows in cells])
    total = spreads.sum()
    shares = spreads / total if total > 0 else sizes / sizes.sum()
    wanted = np.clip(np.ceil(n_groups * shares).astype(int), 1, sizes)
    # The means are most of what is kept: they are written in place, and close up afterwards.
    means = np.empty((wanted.sum(), X.shape[1]), dtype=X.dtype)
    starts = np.cumsum(wanted) - wanted
    found: dict[int, list[NDArray]] = {}

    def divide(i: int) -> None:
        rng = np.random.RandomState((seed, i))
        some, *found[i] = _divide_cell(X, cells[i], int(wanted[i]), candidates, mass, i, rng)
        means[starts[i] : starts[i] + len(some)] = some

    for_each(divide, np.argsort(-sizes * wanted, kind="stable").tolist())
    n_groups = 0
    for i in range(len(cells)):
        n_made = len(found[i][0])
        means[n_groups : n_groups + n_made] = means[starts[i] : starts[i] + n_made]
        n_groups += n_made
    parts = zip(*(found[i] for i in range(len(cells))), strict=True)
    return _Groups(means[:n_groups], *(np.concatenate(part) for part in parts))


def _divide_cell(
    X: Rows,
    rows: NDArray[np.intp],
    n_groups: int,
    candidates: NDArray[np.bool_],
    mass: NDArray[np.float64],
    cell: int,
    rng: np.random.RandomState,
) -> tuple[NDArray, ...]:
    """Divide one cell: the nearest of some of its rows, and then of their groups' means."""
    means = X[np.sort(rng.permutation(rows)[:n_groups])]
    origin = means.mean(axis=0)
    means -= origin
    labels, sq_distances = np.empty(len(rows), dtype=np.intp), np.empty(len(rows), dtype=X.dtype)
    for _ in range(2):
        sums, norms = np.zeros(means.shape), np.einsum("ij,ij->i", means, means)
        for part in gen_batches(len(rows), _ROWS_AT_ONCE):
            block = X[rows[part]] - origin
            table = block @ (-2 * means.T)
            table += norms
            labels[part] = table.argmin(axis=1)
            sq_distances[part] = table.min(axis=1) + np.einsum("ij,ij->i", block, block)
            shape, every = (len(means), len(block)), np.arange(len(block))
            weights = mass[rows[part]].astype(X.dtype)
            sums += csr_array((weights, (labels[part], every)), shape=shape) @ block
        used, labels = np.unique(labels, return_inverse=True)
        total = np.bincount(labels, mass[rows])
        # A group without mass, of labelled rows or outliers, is nothing to be covered.
        means = (sums[used] / np.where(total > 0, total, 1)[:, None]).astype(X.dtype)
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(len(means)))
    # As near as the means that the rows were divided by can tell.
    sq_distances[~candidates[rows]] = np.inf
    nearest_first = np.lexsort((sq_distances, labels))[starts]
    medoids = np.where(np.isfinite(sq_distances[nearest_first]), rows[nearest_first], -1)
    sizes = np.diff(starts, append=len(rows))
    return means + origin, total, medoids, np.full(len(means), cell), rows[order], sizes


def _near_groups(groups: _Groups, centers: NDArray) -> Near:
    """Pair the groups of each cell with the candidates of the cells next to it."""
    n_cells = len(centers)
    centers = centers - centers.mean(axis=0)
    norms = np.einsum("ij,ij->i", centers, centers)
    order = np.argsort(norms - 2 * centers @ centers.T, axis=1, kind="stable")
    has_candidate = groups.medoids >= 0
    place = np.cumsum(has_candidate) - 1
    bounds = np.searchsorted(groups.cells, np.arange(n_cells + 1))
    near: Near = []
    for cell in range(n_cells):
        inside = np.arange(bounds[cell], bounds[cell + 1])
        beside = np.sort(order[cell, :_NEAR_CELLS])
        others = np.concatenate([np.arange(bounds[i], bounds[i + 1]) for i in beside])
        others = place[others[has_candidate[others]]]
        near.extend((some, others) for some in np.array_split(inside, -(-len(inside) // 1024)))
    return near
