"""The matplotlib side of ProjectionDisplay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex, to_rgb
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from ..drawing._palette import PALETTE
from ._colors import HIGHLIGHT, NO_GROUP, PLAIN, Groups, group_points, is_continuous

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["arrange", "draw_frame", "draw_map", "new_axes", "shade"]

FULL_SIZE_POINTS = 500
# A vector file with more marks than this is slow to open: the dots go in as a picture.
VECTOR_POINTS = 20_000
# Of more than this, dots would hide one another: their density is drawn.
DENSITY_POINTS = 50_000
DENSITY_CELLS = 450  # along the longer side
FAINTEST = 0.25
INK = "#23272F"
COLOR_OF_NAMES = 0.55  # share of the group's colour in its name, the rest is ink
MOST_TRIES = 2000
NAME_GAP = 1.0  # points between two names
LINE_FROM = 8.0  # points from its group at which a name gets a line to it


def new_axes(n_dimensions: int, figsize: tuple[float, float]) -> Axes:
    """Make axes in a figure that pyplot does not know."""
    figure = Figure(figsize=figsize, layout="constrained")
    return figure.add_subplot(projection="3d" if n_dimensions == 3 else None)


def draw_map(
    ax: Axes,
    positions: NDArray[np.float64],
    labels: NDArray | None,
    selected: NDArray[np.intp] | None,
    *,
    dot_size: float,
    cmap: str | None,
    annotate: bool,
) -> None:
    """Draw the points, what their colours mean, and the selected ones."""
    groups, palette = None, [PLAIN]
    if labels is None:
        colors = np.tile(to_rgb(PLAIN), (len(positions), 1))
    elif is_continuous(labels):
        colors = _draw_scale(ax, labels, cmap)
    else:
        groups = group_points(labels, positions)
        palette = groups.colors(_palette(cmap, len(groups.names)))
        colors = np.array([to_rgb(color) for color in [*palette, NO_GROUP]])[groups.codes]
    is_faint, size = selected is not None, _shrunk(dot_size, len(positions))
    if len(positions) > DENSITY_POINTS and positions.shape[1] == 2:
        _draw_density(ax, positions, colors, is_faint)
    else:
        _draw_points(ax, positions, colors, size, is_faint)
    handles = _mark_selected(ax, positions, colors, selected, size, plain=labels is None)
    if groups is not None and annotate:
        _write_names(ax, groups, palette)
    elif groups is not None and len(groups.names) <= len(PALETTE):
        handles = [*map(_dot, groups.names, palette), *handles]
    if handles:
        _add_legend(ax, handles)


def draw_frame(ax: Axes, title: str | None, show_axes: bool, equal: bool) -> None:
    """Finish the axes: one scale for all coordinates, and axis lines only if asked for."""
    if equal:
        ax.set_aspect("equal", adjustable="datalim" if ax.name != "3d" else "box")
    if title is not None:
        ax.set_title(title, loc="left", fontsize=16, fontweight="bold", color=INK, parse_math=False)
    if not show_axes:
        ax.set_axis_off()


def _shrunk(dot_size: float, n_points: int) -> float:
    return max(dot_size * min(1.0, FULL_SIZE_POINTS / n_points), min(1.0, dot_size))


def _draw_points(
    ax: Any,  # of two dimensions or three
    positions: NDArray[np.float64],
    colors: NDArray[np.float64],
    size: float,
    is_faint: bool,
) -> None:
    # In an order that mixes the groups, so that none is drawn over all others.
    order = np.random.RandomState(0).permutation(len(positions))
    ax.scatter(
        *positions[order].T,
        s=size,
        c=colors[order],
        alpha=0.35 if is_faint else 0.8,
        linewidths=0,
        rasterized=len(positions) > VECTOR_POINTS,
    )


def _draw_density(
    ax: Axes, positions: NDArray[np.float64], colors: NDArray[np.float64], is_faint: bool
) -> None:
    picture, extent = shade(positions, colors)
    image = ax.imshow(
        picture,
        extent=extent,
        origin="lower",
        alpha=0.5 if is_faint else None,
        interpolation="nearest",
        aspect="auto",
    )
    image.sticky_edges.x.clear()  # or there would be no margin around it
    image.sticky_edges.y.clear()
    ax.autoscale()


def shade(
    positions: NDArray[np.float64], colors: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[float, float, float, float]]:
    """Count points in cells: a cell is as opaque as it is full, in the mean of its colours.

    Opacity goes with the logarithm of the count, from `FAINTEST` for a single point to 1 for the
    fullest cell, so that neither single points nor the inside of crowds are lost.

    Returns a picture of RGBA, from the lowest row up, and its left, right, lower and upper end.
    """
    low, high = positions.min(axis=0), positions.max(axis=0)
    cell = float((high - low).max()) / DENSITY_CELLS or 1.0
    shape = (((high - low) / cell).astype(int) + 1)[::-1]
    column, row = ((positions - low) / cell).astype(int).T
    cells = row * shape[1] + column
    n_cells = int(shape.prod())
    counts = np.bincount(cells, minlength=n_cells)
    picture = np.zeros((n_cells, 4))
    full = counts > 0
    for channel in range(3):
        total = np.bincount(cells, weights=colors[:, channel], minlength=n_cells)
        picture[full, channel] = total[full] / counts[full]
    strength = np.log(counts[full]) / max(np.log(counts.max()), 1.0)
    picture[full, 3] = FAINTEST + (1 - FAINTEST) * strength
    upper = low + shape[::-1] * cell
    extent = (float(low[0]), float(upper[0]), float(low[1]), float(upper[1]))
    return picture.reshape(*shape, 4), extent


def _mark_selected(
    ax: Any,
    positions: NDArray[np.float64],
    colors: NDArray[np.float64],
    selected: NDArray[np.intp] | None,
    size: float,
    plain: bool,
) -> list[Any]:
    if selected is None or len(selected) == 0:
        return []
    ax.scatter(
        *positions[selected].T,
        s=max(2.2 * size, 22),
        c=np.tile(to_rgb(HIGHLIGHT), (len(selected), 1)) if plain else colors[selected],
        edgecolors=INK,
        linewidths=1.1,
        zorder=3,
    )
    return [_dot(f"selected ({len(selected):,})", HIGHLIGHT if plain else "white", INK)]


def _draw_scale(ax: Axes, labels: NDArray, cmap: str | None) -> NDArray:
    is_date = labels.dtype.kind == "M"
    values = date2num(labels) if is_date else labels
    finite = np.isfinite(values)
    limits = (values[finite].min(), values[finite].max()) if finite.any() else (0, 1)
    scale = ScalarMappable(Normalize(*limits), colormaps[cmap or "viridis"])
    colors = np.tile(to_rgb(NO_GROUP), (len(labels), 1))
    colors[finite] = scale.to_rgba(values[finite])[:, :3]
    bar = ax.figure.colorbar(scale, ax=ax, shrink=0.6, aspect=30, pad=0.02)
    if is_date:
        bar.locator = AutoDateLocator()
        bar.formatter = ConciseDateFormatter(bar.locator)
        bar.update_ticks()
    bar.outline.set_visible(False)
    return colors


def _palette(cmap: str | None, n_groups: int) -> tuple[str, ...] | None:
    if cmap is None:
        return None
    colors = colormaps[cmap].resampled(max(n_groups, 1))
    return tuple(to_hex(colors(i)) for i in range(max(n_groups, 1)))


def _write_names(ax: Any, groups: Groups, palette: Sequence[str]) -> None:
    """Write each group's name, dark enough to read, in its colour: its points may lie far away."""
    sizes = np.bincount(groups.codes[groups.codes >= 0], minlength=len(groups.names))
    order = np.argsort(-sizes, kind="stable")
    size = 12 if len(groups.names) <= 30 else 8
    names = [groups.names[group] for group in order]
    inks = [_darkened(palette[group]) for group in order]
    if ax.name != "3d":
        _add_labels(ax, names, groups.centers[order], size, inks)
        return
    for name, center, ink in zip(names, groups.centers[order], inks, strict=True):
        text = ax.text(*center, name, ha="center", va="center", zorder=4)
        text.set(fontsize=size, fontweight="bold", color=ink)
        text.set_parse_math(False)
        text.set_in_layout(False)


def _darkened(color: str) -> str:
    pairs = zip(to_rgb(color), to_rgb(INK), strict=True)
    red, green, blue = (COLOR_OF_NAMES * own + (1 - COLOR_OF_NAMES) * ink for own, ink in pairs)
    return to_hex((red, green, blue))


def _dot(name: str, color: str, edge: str = "none") -> Any:
    return Line2D(
        [],
        [],
        linestyle="",
        marker="o",
        color=color,
        markeredgecolor=edge,
        markersize=8,
        label=name,
    )


def _add_legend(ax: Axes, handles: list[Any]) -> None:
    names = [handle.get_label() for handle in handles]
    # matplotlib leaves out names that begin with an underscore, and reads $ as mathematics.
    legend = ax.legend(
        handles,
        [f"{i}" for i in range(len(names))],
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
        text.set_parse_math(False)


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
        sizes = (
            np.array([self._size(label, renderer) for label in self._labels]) + NAME_GAP * points
        )
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
        for batch in gen_batches(MOST_TRIES, 100):  # most find room soon
            candidates = np.clip(anchor + spiral[batch] * sizes[:, 1].min() / 2, low, high)
            near = np.abs(candidates[:, None] - places[None, :box])
            overlaps = near < (size + sizes[:box]) / 2
            free = ~(overlaps[..., 0] & overlaps[..., 1]).any(axis=1)
            if free.any():
                places[box] = candidates[free.argmax()]
                break
    return places


def _add_labels(
    ax: Any, names: Sequence[str], anchors: NDArray[np.float64], size: float, colors: Sequence[str]
) -> None:
    """Write names on two-dimensional axes, those that matter most first."""
    halo = [withStroke(linewidth=3, foreground="white", alpha=0.85)]
    line = {"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
    labels = []
    for name, anchor, color in zip(names, anchors, colors, strict=True):
        label = ax.annotate(
            name,
            anchor,
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            zorder=4,
            arrowprops={**line, "color": color},
            annotation_clip=False,
        )
        label.set(fontsize=size, fontweight="bold", color=color, path_effects=halo)
        label.set_parse_math(False)
        label.set_in_layout(False)  # it lies on the map, whose limits may not be settled yet
        labels.append(label)
    if labels:
        ax.add_artist(LabelArranger(ax, labels))
