"""Names of groups on a matplotlib map, none over another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from numpy.typing import NDArray

__all__ = ["add_labels", "arrange"]

MOST_TRIES = 2000
GAP = 1.0  # points between two names
LINE_FROM = 8.0  # points from its group at which a name gets a line to it


class LabelArranger(Artist):
    """An artist that draws nothing: before the names are drawn, it moves them apart.

    Only then are the figure's size, its limits and its resolution settled. Names have offsets in
    points, and those that matter most come first.
    """

    def __init__(self, ax: Axes, labels: Sequence[Annotation]) -> None:
        super().__init__()
        self._ax = ax
        self._labels = labels
        self.set_zorder(labels[0].get_zorder() - 0.5)
        self.set_in_layout(False)

    def draw(self, renderer: Any) -> None:
        """Give each name the place nearest to its group that is free."""
        points = renderer.points_to_pixels(1.0)
        sizes = np.array([self._size(label, renderer) for label in self._labels]) + GAP * points
        anchors = self._ax.transData.transform([label.xy for label in self._labels])
        window = self._ax.get_window_extent(renderer)
        places = arrange(anchors, sizes, np.array([window.min, window.max]))
        for label, anchor, place in zip(self._labels, anchors, places, strict=True):
            label.set_visible(bool(np.isfinite(place).all()))
            if not label.get_visible():
                continue
            offset = (place - anchor) / points
            label.set_position(tuple(offset))
            _show_line(label, bool(np.linalg.norm(offset) > LINE_FROM))

    @staticmethod
    def _size(label: Annotation, renderer: Any) -> tuple[float, float]:
        label.set_visible(True)  # an earlier drawing may have had no room for it
        _show_line(label, False)
        box = label.get_window_extent(renderer)
        return box.width, box.height


def _show_line(label: Annotation, is_visible: bool) -> None:
    assert label.arrow_patch is not None  # all have arrowprops
    label.arrow_patch.set_visible(is_visible)


def arrange(
    anchors: NDArray[np.float64], sizes: NDArray[np.float64], window: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Place boxes of (widths, heights) near their anchors, inside a window, with none overlapping.

    Each box in turn tries its anchor and then points of a spiral around it. The window is its
    lower and its upper corner. Returns the boxes' middles, NaN for a box that has no room.
    """
    places = np.full_like(anchors, np.nan)
    tries = np.arange(MOST_TRIES)
    angles = tries * np.pi * (3 - np.sqrt(5))
    spiral = np.sqrt(tries)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for box, (anchor, size) in enumerate(zip(anchors, sizes, strict=True)):
        low, high = window[0] + size / 2, window[1] - size / 2
        if (low > high).any():
            continue
        candidates = np.clip(anchor + spiral * sizes[:, 1].min() / 2, low, high)
        near = np.abs(candidates[:, None] - places[None, :box])
        free = ~(near < (size + sizes[:box]) / 2).all(axis=2).any(axis=1)
        if free.any():
            places[box] = candidates[free.argmax()]
    return places


def add_labels(
    ax: Any, names: Sequence[str], anchors: NDArray[np.float64], size: float, color: str
) -> None:
    """Write names on two-dimensional axes, those that matter most first."""
    halo = [withStroke(linewidth=3, foreground="white", alpha=0.85)]
    line = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
    labels = []
    for name, anchor in zip(names, anchors, strict=True):
        label = ax.annotate(
            name,
            anchor,
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            zorder=4,
            arrowprops=line,
            annotation_clip=False,
        )
        label.set(fontsize=size, fontweight="bold", color=color, path_effects=halo)
        label.set_parse_math(False)
        label.set_in_layout(False)  # it lies on the map, whose limits may not be settled yet
        labels.append(label)
    if labels:
        ax.add_artist(LabelArranger(ax, labels))
