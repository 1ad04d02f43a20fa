"""Where a point of a map is drawn, and in which colour."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..images.listings import is_missing

# After Okabe and Ito, without the two that are hard to see on white or taken by outlines and text:
# told apart with every common form of colour blindness.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6BB1")
PLAIN = PALETTE[0]
HIGHLIGHT = "#D55E00"
NO_GROUP = "#B8BCC2"


@dataclass(frozen=True)
class Groups:
    """Points in named groups.

    Attributes
    ----------
    codes : ndarray of shape (n_points,), int
        Each point's group, -1 for none.
    names : list of str
        The groups' names.
    centers : ndarray of shape (n_groups, n_dimensions)
        For each group, the point of it that is nearest to its component-wise median, so that a
        name written there is on the group even where that is bent.
    """

    codes: NDArray[np.intp]
    names: list[str]
    centers: NDArray[np.float64]

    def colors(self, palette: tuple[str, ...] = PALETTE) -> list[str]:
        """Give each group a colour; where there are too few, no near groups share one."""
        if len(self.names) <= len(palette):
            return list(palette[: len(self.names)])
        nearest = np.full((len(palette), len(self.names)), np.inf)
        chosen: list[str] = []
        for group, center in enumerate(self.centers):
            color = int(nearest[:, group].argmax())
            chosen.append(palette[color])
            distances = np.linalg.norm(self.centers - center, axis=1)
            nearest[color] = np.minimum(nearest[color], distances)
        return chosen


def spread(coordinates: NDArray) -> NDArray[np.float64]:
    """Give points of one coordinate a second, which has no meaning but keeps them apart."""
    positions = np.asarray(coordinates, dtype=np.float64)
    if positions.shape[1] > 1:
        return positions
    golden = (np.sqrt(5) - 1) / 2  # its multiples fill the strip evenly
    return np.column_stack([positions, np.arange(len(positions)) * golden % 1])


def is_continuous(labels: NDArray) -> bool:
    """Say whether labels are measurements: floats are, all else is groups."""
    return labels.dtype.kind == "f"


def group_points(labels: NDArray, positions: NDArray[np.float64]) -> Groups:
    """Sort points into groups by label.

    Parameters
    ----------
    labels : ndarray of shape (n_points,)
        Of any type. Integers below 0, None, NaN and pandas' NA mean no group.
    positions : ndarray of shape (n_points, n_dimensions)

    Returns
    -------
    Groups
    """
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
    centers = np.empty((len(values), positions.shape[1]))
    for code in range(len(values)):
        centers[code] = _middle(positions[codes == code])
    return Groups(codes, [str(value) for value in values], centers)


def as_selection(selected: ArrayLike, n_points: int) -> NDArray[np.intp]:
    """Turn indices in pick order, or a mask, into indices."""
    chosen = np.asarray(selected)
    if chosen.ndim != 1:
        raise ValueError(f"selected must be one-dimensional, got shape {chosen.shape}.")
    if chosen.dtype == bool:
        if len(chosen) != n_points:
            raise ValueError(f"The mask selected has {len(chosen)} values for {n_points} points.")
        return np.flatnonzero(chosen)
    if len(chosen) == 0:
        return np.empty(0, dtype=np.intp)
    if chosen.dtype.kind not in "iu":
        raise ValueError(f"selected must be indices or a mask, got dtype {chosen.dtype}.")
    if chosen.min() < 0 or chosen.max() >= n_points:
        raise ValueError(
            f"selected has indices from {chosen.min()} to {chosen.max()}, and there are "
            f"{n_points} points: indices run from 0 to {n_points - 1}."
        )
    return chosen.astype(np.intp)


def _middle(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    offsets = positions - np.median(positions, axis=0)
    return positions[np.argmin((offsets**2).sum(axis=1))]
