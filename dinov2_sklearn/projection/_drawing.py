"""The matplotlib side of ProjectionDisplay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ..drawing._palette import PALETTE
from ._colors import HIGHLIGHT, NO_GROUP, PLAIN, Groups, group_points, is_continuous
from ._labels import add_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_frame", "draw_map", "new_axes", "shade"]

FULL_SIZE_POINTS = 500
# A vector file with more marks than this is slow to open: the dots go in as a picture.
VECTOR_POINTS = 20_000
# Of more than this, dots would hide one another: their density is drawn.
DENSITY_POINTS = 50_000
DENSITY_CELLS = 450  # along the longer side
FAINTEST = 0.25
INK = "#23272F"


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
        _write_names(ax, groups)
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
    finite = np.isfinite(labels)
    limits = (labels[finite].min(), labels[finite].max()) if finite.any() else (0, 1)
    scale = ScalarMappable(Normalize(*limits), colormaps[cmap or "viridis"])
    colors = np.tile(to_rgb(NO_GROUP), (len(labels), 1))
    colors[finite] = scale.to_rgba(labels[finite])[:, :3]
    bar = ax.figure.colorbar(scale, ax=ax, shrink=0.6, aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    return colors


def _palette(cmap: str | None, n_groups: int) -> tuple[str, ...] | None:
    if cmap is None:
        return None
    colors = colormaps[cmap].resampled(max(n_groups, 1))
    return tuple(to_hex(colors(i)) for i in range(max(n_groups, 1)))


def _write_names(ax: Any, groups: Groups) -> None:
    sizes = np.bincount(groups.codes[groups.codes >= 0], minlength=len(groups.names))
    order = np.argsort(-sizes, kind="stable")
    size = 12 if len(groups.names) <= 30 else 8
    names = [groups.names[group] for group in order]
    if ax.name != "3d":
        add_labels(ax, names, groups.centers[order], size, INK)
        return
    for name, center in zip(names, groups.centers[order], strict=True):
        text = ax.text(*center, name, ha="center", va="center", zorder=4)
        text.set(fontsize=size, fontweight="bold", color=INK)
        text.set_parse_math(False)
        text.set_in_layout(False)


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
