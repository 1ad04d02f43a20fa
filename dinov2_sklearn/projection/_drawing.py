"""The matplotlib side of ProjectionDisplay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._colors import HIGHLIGHT, NO_GROUP, PLAIN, Groups, group_points, is_continuous
from ._palette import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FULL_SIZE_POINTS = 500
# A vector file with more marks than this is slow to open: the dots go in as a picture.
VECTOR_POINTS = 20_000
INK = "#23272F"


def new_axes(n_dimensions: int, figsize: tuple[float, float]) -> Axes:
    """Make axes in a figure that pyplot does not know."""
    from matplotlib.figure import Figure

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
    size = max(dot_size * min(1.0, FULL_SIZE_POINTS / len(positions)), min(1.0, dot_size))
    groups, palette = None, [PLAIN]
    if labels is None:
        colors = np.full(len(positions), PLAIN, dtype=object)
    elif is_continuous(labels):
        colors = _draw_scale(ax, labels, cmap)
    else:
        groups = group_points(labels, positions)
        palette = groups.colors(_palette(cmap, len(groups.names)))
        colors = np.array([*palette, NO_GROUP], dtype=object)[groups.codes]
    handles = _draw_points(ax, positions, colors, selected, size, plain=labels is None)
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


def _draw_points(
    ax: Any,  # of two dimensions or three
    positions: NDArray[np.float64],
    colors: NDArray,
    selected: NDArray[np.intp] | None,
    size: float,
    plain: bool,
) -> list[Any]:
    # In an order that mixes the groups, so that none is drawn over all others.
    order = np.random.RandomState(0).permutation(len(positions))
    ax.scatter(
        *positions[order].T,
        s=size,
        c=colors[order].tolist(),
        alpha=0.8 if selected is None else 0.35,
        linewidths=0,
        rasterized=len(positions) > VECTOR_POINTS,
    )
    if selected is None or len(selected) == 0:
        return []
    marks = [HIGHLIGHT] * len(selected) if plain else colors[selected].tolist()
    ax.scatter(
        *positions[selected].T,
        s=max(2.2 * size, 22),
        c=marks,
        edgecolors=INK,
        linewidths=1.1,
        zorder=3,
    )
    return [_dot(f"selected ({len(selected):,})", HIGHLIGHT if plain else "white", INK)]


def _draw_scale(ax: Axes, labels: NDArray, cmap: str | None) -> NDArray:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize, to_hex

    finite = np.isfinite(labels)
    limits = (labels[finite].min(), labels[finite].max()) if finite.any() else (0, 1)
    scale = ScalarMappable(Normalize(*limits), colormaps[cmap or "viridis"])
    colors = np.full(len(labels), NO_GROUP, dtype=object)
    colors[finite] = [to_hex(color) for color in scale.to_rgba(labels[finite])]
    bar = ax.figure.colorbar(scale, ax=ax, shrink=0.6, aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    return colors


def _palette(cmap: str | None, n_groups: int) -> tuple[str, ...] | None:
    if cmap is None:
        return None
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    colors = colormaps[cmap].resampled(max(n_groups, 1))
    return tuple(to_hex(colors(i)) for i in range(max(n_groups, 1)))


def _write_names(ax: Any, groups: Groups) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=3, foreground="white", alpha=0.85)]
    size = 12 if len(groups.names) <= 30 else 8
    for name, center in zip(groups.names, groups.centers, strict=True):
        text = ax.text(*center, name, ha="center", va="center", zorder=4)
        text.set(fontsize=size, fontweight="bold", color=INK, path_effects=halo)
        text.set_parse_math(False)
        text.set_in_layout(False)  # it lies on the map, whose limits may not be settled yet


def _dot(name: str, color: str, edge: str = "none") -> Any:
    from matplotlib.lines import Line2D

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
