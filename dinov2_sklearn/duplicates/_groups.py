"""From pairs of near rows to groups, and which row of a group stands for it."""

import numpy as np
from numpy.typing import NDArray

from ..neighbors import (
    Pairs,
    Rows,
    connected,
    exact_rows,
    pair_sq_distances,
    relative_error,
    renumber,
    row_blocks,
)

__all__ = ["central_rows", "complete_groups", "join_first_fit", "nearest_partners"]

# Rows that join groups together, and elements of the rows whose means are taken at a time.
_BLOCK, _CHUNK = 256, 2**20


def nearest_partners(n: int, pairs: Pairs) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return each row's nearest partner, the lowest in a tie, and the squared distance.

    -1 and infinity where a row is in no pair. A spanning forest holds each row's nearest.
    """
    row = np.concatenate([pairs.first, pairs.second])
    other = np.concatenate([pairs.second, pairs.first])
    sq_distances = np.tile(pairs.sq_distances, 2)
    order = np.lexsort((other, sq_distances, row))
    order = order[np.flatnonzero(np.diff(row[order], prepend=-1))]
    nearest, nearest_sq = np.full(n, -1, dtype=np.intp), np.full(n, np.inf)
    nearest[row[order]], nearest_sq[row[order]] = other[order], sq_distances[order]
    return nearest, nearest_sq


def complete_groups(X: Rows, pairs: Pairs, limit: float) -> NDArray[np.intp]:
    """Group rows so that no pair of a group is farther apart than `limit`, squared.

    Within each connected group, row by row: a row joins the first group all of whose rows are
    near it, or founds one.
    """
    labels = connected(len(X), pairs.first, pairs.second).astype(np.intp)
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    n_groups = len(sizes)
    for members in np.split(order, np.cumsum(sizes)[:-1]):
        # A pair that is connected is near.
        if len(members) > 2 and not _all_near(X, members, limit):
            inside = join_first_fit(X, members, np.empty(0, dtype=np.intp), members[:0], limit)
            labels[members] = np.where(inside == 0, labels[members[0]], n_groups + inside - 1)
            n_groups += int(inside.max())
    return renumber(labels).astype(np.intp)


def _all_near(X: Rows, members: NDArray[np.intp], limit: float) -> bool:
    """Tell that no two rows are far apart, where their distances to their mean show it."""
    center = exact_rows(X, members[:: max(1, len(members) // 4096)]).mean(axis=0)
    farthest = max(
        pair_sq_distances(exact_rows(X, members[part]), center).max()
        for part in row_blocks(len(members), X.shape[1])
    )
    return bool(4 * farthest * (1 + 1e-9) <= limit)


def join_first_fit(
    X: Rows,
    rows: NDArray[np.intp],
    groups: NDArray[np.intp],
    grouped: NDArray[np.intp],
    limit: float,
) -> NDArray[np.intp]:
    """Let rows join, in turn, the first group all of whose rows are near, or found the next one.

    `groups` are those of the rows `grouped`, from 0 on; the groups of `rows` are returned.
    """
    everyone = np.concatenate([grouped, rows])
    group_of = np.concatenate([groups, np.zeros(len(rows), dtype=np.intp)])
    n_groups = int(groups.max(initial=-1)) + 1
    for start in range(len(grouped), len(everyone), _BLOCK):
        block = everyone[start : start + _BLOCK]
        far = _far(X, block, everyone[: start + len(block)], limit)
        for i in range(len(block)):
            barred = np.zeros(n_groups + 1, dtype=bool)
            barred[group_of[: start + i][far[i, : start + i]]] = True
            group_of[start + i] = barred.argmin()  # the first that is not barred
            n_groups = max(n_groups, int(group_of[start + i]) + 1)
    return group_of[len(grouped) :]


def _far(
    X: Rows, rows: NDArray[np.intp], others: NDArray[np.intp], limit: float
) -> NDArray[np.bool_]:
    """Tell which pairs of rows are farther apart than `limit`, by differences near it."""
    far = np.empty((len(rows), len(others)), dtype=bool)
    mine = exact_rows(X, rows)
    center = mine.mean(axis=0)
    centred = mine - center
    norms = np.einsum("ij,ij->i", centred, centred)
    for part in row_blocks(len(others), max(len(rows), X.shape[1])):
        theirs = exact_rows(X, others[part])
        shifted = theirs - center
        their_norms = np.einsum("ij,ij->i", shifted, shifted)
        table = centred @ (-2 * shifted.T)
        table += norms[:, None]
        table += their_norms
        error = relative_error(table.dtype, X.shape[1]) * (norms.max() + their_norms.max())
        far[:, part] = table > limit
        i, j = np.nonzero(np.abs(table - limit) <= error)
        far[i, part.start + j] = pair_sq_distances(mine[i], theirs[j]) > limit
    return far


def central_rows(X: Rows, members: NDArray[np.intp], starts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the row of each group that is nearest to the group's mean, the lowest in a tie.

    `members` are the rows of the groups one after another, ascending in each; `starts` says where
    each begins.
    """
    sizes = np.diff(np.append(starts, len(members)))
    # Two rows are equally far from their mean, whatever rounding says.
    central = members[starts]
    most = max(1, _CHUNK // X.shape[1])
    for group in np.flatnonzero((sizes > 2) & (sizes > most)):
        rows = members[starts[group] : starts[group] + sizes[group]]
        blocks = row_blocks(len(rows), X.shape[1])
        center = sum(exact_rows(X, rows[part]).sum(axis=0) for part in blocks) / len(rows)
        away = [pair_sq_distances(exact_rows(X, rows[part]), center) for part in blocks]
        central[group] = rows[int(np.concatenate(away).argmin())]
    small = np.flatnonzero((sizes > 2) & (sizes <= most))
    chunks = np.cumsum(sizes[small]) // most
    for groups in np.split(small, np.flatnonzero(np.diff(chunks)) + 1):
        if len(groups):
            central[groups] = _central_of_small(X, members, starts[groups], sizes[groups])
    return central


def _central_of_small(
    X: Rows, members: NDArray[np.intp], starts: NDArray[np.intp], sizes: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Do it for some groups at once."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    inner = np.cumsum(sizes) - sizes
    rows = members[np.arange(len(group)) + (starts - inner)[group]]
    block = exact_rows(X, rows)
    centers = np.add.reduceat(block, inner, axis=0) / sizes[:, None]
    order = np.lexsort((pair_sq_distances(block, centers[group]), group))
    return rows[order[inner]]
