"""Where a point of a map is drawn, and in which colour."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..drawing._palette import COLORS, PALETTE, color_distances
from ..images.sources import is_missing

__all__ = ["HIGHLIGHT", "NO_GROUP", "PLAIN", "Groups", "group_points", "is_continuous", "spread"]

PLAIN = PALETTE[0]
HIGHLIGHT = "#D55E00"
NO_GROUP = "#B8BCC2"
MOST_ARRANGED = 1000  # groups whose colours are chosen by their places


@dataclass(frozen=True)
class Groups:
    """Points in named groups."""

    codes: NDArray[np.intp]
    """Each point's group, -1 for none."""
    names: list[str]
    centers: NDArray[np.float64]
    """For each group, the point of it that is nearest to its component-wise median: a name written
    there is on the group even where that is bent."""

    def colors(self, palette: tuple[str, ...] | None = None) -> list[str]:
        """Give each group a colour of a palette, near groups unlike ones.

        All are different where the palette suffices. Otherwise each colour is taken about equally
        often, by groups far from each other. None is `COLORS`.
        """
        n_groups = len(self.names)
        palette = palette or COLORS[:n_groups]
        if n_groups <= len(PALETTE):
            return list(palette[:n_groups])
        if n_groups > MOST_ARRANGED:
            return [palette[group % len(palette)] for group in range(n_groups)]
        return [palette[color] for color in _arrange(self.centers, color_distances(palette))]


def _arrange(centers: NDArray[np.float64], unlike: NDArray[np.float64]) -> list[int]:
    """Choose a colour for each group in turn: near groups get unlike colours.

    Of the colours used least so far, a group takes the one that is farthest from the colours of
    the groups before it, each counted the more the nearer that group is.
    """
    chosen: list[int] = []
    uses = np.zeros(len(unlike), dtype=int)
    for group, center in enumerate(centers):
        apart = np.linalg.norm(centers[:group] - center, axis=1)
        # Where a colour repeats, the least difference still lets the distance on the map count.
        scores = (apart[:, None] * (unlike[chosen] + 0.01)).min(axis=0, initial=np.inf)
        scores[uses > uses.min()] = -1
        chosen.append(int(scores.argmax()))
        uses[chosen[-1]] += 1
    return _part_nearest(chosen, centers)


def _part_nearest(chosen: list[int], centers: NDArray[np.float64]) -> list[int]:
    """Where a group was left with the colour of its nearest one, swap it with a group far away."""
    colors = np.array(chosen)
    apart = np.linalg.norm(centers[:, None] - centers, axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = apart.argmin(axis=1)
    np.fill_diagonal(apart, -1)

    def clashes(group: int) -> bool:
        near = np.append(np.flatnonzero(nearest == group), nearest[group])
        return bool((colors[near] == colors[group]).any())

    for group in np.flatnonzero(colors == colors[nearest]).tolist():
        for other in apart[group].argsort()[::-1][:-1].tolist():
            if not clashes(group):
                break
            colors[[group, other]] = colors[[other, group]]
            if clashes(group) or clashes(other):
                colors[[group, other]] = colors[[other, group]]
    return colors.tolist()


def spread(coordinates: NDArray) -> NDArray[np.float64]:
    """Give points of one coordinate a second, which has no meaning but keeps them apart."""
    positions = np.asarray(coordinates, dtype=np.float64)
    if positions.shape[1] > 1:
        return positions
    golden = (np.sqrt(5) - 1) / 2  # its multiples fill the strip evenly
    return np.column_stack([positions, np.arange(len(positions)) * golden % 1])


def is_continuous(labels: NDArray) -> bool:
    """Say whether labels are on a scale: floats and times are, all else is groups."""
    return labels.dtype.kind in "fM"


def group_points(labels: NDArray, positions: NDArray[np.float64]) -> Groups:
    """Sort points into groups by label; integers below 0, None, NaN and NA mean no group."""
    if labels.dtype.kind == "i":
        has_group = labels >= 0
    elif labels.dtype.kind == "O":
        has_group = np.array([not is_missing(label) for label in labels], dtype=bool)
    else:
        has_group = np.ones(len(labels), dtype=bool)
    kept = labels[has_group]
    if labels.dtype.kind == "O":
        kept = kept.astype(str)
    values, inverse = np.unique(kept, return_inverse=True)
    codes = np.full(len(labels), -1, dtype=np.intp)
    codes[has_group] = inverse
    members = np.split(
        np.argsort(codes, kind="stable"), np.searchsorted(np.sort(codes), range(len(values)))
    )
    centers = np.empty((len(values), positions.shape[1]))
    for code, rows in enumerate(members[1:]):
        centers[code] = _middle(positions[rows])
    return Groups(codes, [str(value) for value in values], centers)


def _middle(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    offsets = positions - np.median(positions, axis=0)
    return positions[np.argmin((offsets**2).sum(axis=1))]
