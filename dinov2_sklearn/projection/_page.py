"""What the web page of ProjectionDisplay is made of: points, columns, neighbours, thumbnails."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..drawing._palette import COLORS
from ..neighbors import Rows, RowSubset, knn, nearest, to_geometry, to_metric
from ..pages import LEFT_OUT, make_thumbnails, packed, render_page
from ..selection.files import PAGE_FORMAT
from ._axes import along_axes, principal_axes
from ._colors import HIGHLIGHT, NO_GROUP, PLAIN, group_points, is_continuous

__all__ = ["add_neighbors", "add_thumbnails", "describe_map", "render_map", "standing_for"]

LABEL, SELECTION, DISTANCE = "label", "selection", "distance to the nearest pick"
SCALE_STEPS = 64
NEIGHBORS, AXES = 12, 32
# Rows up to which neighbours are searched for each, and how many of more beside the picks.
MOST_SEARCHED, SAMPLED = 50_000, 5_000
# Base64 of a thumbnail's length, width and height, none of which compress well.
BYTES_A_THUMBNAIL = 11


def describe_map(
    positions: NDArray[np.float64],
    labels: NDArray | None,
    more: Mapping[str, NDArray],
    selected: NDArray[np.intp] | None,
    names: list[str] | None,
    title: str | None,
) -> dict[str, Any]:
    """Describe a map as the page's scripts take it, in what JSON can hold."""
    columns = {} if labels is None else {LABEL: labels}
    for name in more:
        if name in columns or name == SELECTION:
            raise ValueError(f"The column title {name!r} is taken: give it another.")
    columns |= more
    n_points = f"{len(positions):,} points"
    described = [_describe_column(title, values, positions) for title, values in columns.items()]
    facts = [n_points] if title else []
    if selected is not None:
        described.append(_describe_selection(selected, positions))
        facts.append(f"{len(selected):,} picked")
    return {
        "title": title or f"Map of {n_points}",
        "id": _identity(positions, names, title),
        "facts": " \u00b7 ".join(facts),
        "format": PAGE_FORMAT,
        "n_points": len(positions),
        "axes": [packed(axis, "<f4") for axis in positions.T],
        "columns": described,
        "picks": [] if selected is None else selected.tolist(),
        "names": names,
        "links": None,
        "pictures": None,
        "neighbors": None,
        "stand_for": None,
        "remarks": [],
        "grey": NO_GROUP,
        "plain": PLAIN,
        "palette": COLORS,
    }


def _identity(positions: NDArray[np.float64], names: list[str] | None, title: str | None) -> str:
    """Tell pages apart, so that a browser finds the labels of this one again.

    A page of the same images goes on with them, however its map has changed.
    """
    known = [title, names or packed(positions, "<f4")]
    return hashlib.sha256(json.dumps(known).encode("ascii")).hexdigest()[:24]


def standing_for(groups: NDArray, selected: NDArray[np.intp] | None) -> NDArray[np.intp]:
    """Return for each point the one of its group that stands for it: the first picked, or first."""
    n_points = len(groups)
    codes = group_points(groups, np.zeros((n_points, 1))).codes
    alone = codes < 0
    codes[alone] = codes.max(initial=-1) + 1 + np.arange(alone.sum())
    order = np.concatenate(
        [np.empty(0, np.intp) if selected is None else selected, range(n_points)]
    )
    found, first = np.unique(codes[order.astype(np.intp)], return_index=True)
    return order[first[np.searchsorted(found, codes)]].astype(np.intp)


def add_neighbors(page: dict[str, Any], rows: NDArray, metric: str) -> None:
    """Enter what embeddings say of points: the nearest of each, and how far it is from a pick."""
    geometry, picks = to_geometry(rows, metric), np.array(page["picks"], dtype=np.intp)
    known = None
    if len(rows) <= MOST_SEARCHED:
        ids = knn(geometry, NEIGHBORS)[0]
    else:
        sample = np.random.RandomState(0).choice(len(rows), SAMPLED, replace=False)
        known = np.union1d(picks, sample)
        ids = _neighbors_of(geometry, known)
    page["neighbors"] = {
        "k": ids.shape[1],
        "ids": packed(ids, "<i4"),
        "rows": None if known is None else packed(known, "<i4"),
        "sketch": packed(_sketch(geometry), "|i1") if known is None else None,
    }
    if len(picks) and DISTANCE not in [column["title"] for column in page["columns"]]:
        far = to_metric(nearest(geometry, geometry[picks])[1], metric)
        page["columns"].append(_describe_scale(DISTANCE, far))


def _neighbors_of(geometry: Rows, queries: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the nearest other rows of some rows."""
    ids = knn(geometry, NEIGHBORS + 1, queries=RowSubset(geometry, queries))[0]
    is_self = ids == queries[:, None]
    # Among more rows that are equal than were asked for, a row may not have found itself.
    is_self[~is_self.any(axis=1), -1] = True
    return ids[~is_self].reshape(len(ids), -1)


def _sketch(geometry: Rows) -> NDArray[np.int8]:
    """Return the first principal coordinates in a byte each: enough to sort by likeness."""
    rows = geometry[:]
    axes = principal_axes(rows, AXES)
    places = along_axes(rows, axes.mean, axes.components)
    return np.rint(places * (127 / (np.abs(places).max() or 1))).astype(np.int8)


def add_thumbnails(page: dict[str, Any], paths: Sequence[str], side: int, most_bytes: int) -> str:
    """Enter thumbnails into a description, those of picks first; return their text."""
    n_points, picks = page["n_points"], np.array(page["picks"], dtype=np.intp)
    made = make_thumbnails(paths, picks, side, most_bytes - BYTES_A_THUMBNAIL * n_points)
    page["pictures"] = made.describe(side)
    left_out = int((made.lengths == LEFT_OUT).sum())
    if left_out:
        page["remarks"].append(f"Thumbnails: {n_points - left_out:,} of {n_points:,} points.")
    return made.text


def render_map(page: dict[str, Any], thumbnails: str = "") -> str:
    """Write the HTML of a described map."""
    links = [link for link in page["links"] or [] if link]
    schemes = {link.partition("://")[0] for link in links} & {"http", "https"}
    sources = " ".join(f"{scheme}:" for scheme in sorted(schemes))
    return render_page(__package__, page, {"thumbnails": thumbnails}, image_sources=sources)


def _describe_column(title: str, values: NDArray, positions: NDArray[np.float64]) -> dict[str, Any]:
    if is_continuous(values):
        return _describe_scale(title, values)
    groups = group_points(values, positions)
    return {
        "title": title,
        "kind": "groups",
        "none": "no group",
        "names": groups.names,
        "colors": groups.colors(),
        "centers": groups.centers.tolist(),
        "codes": packed(groups.codes + 1, "<i4"),
        "counts": np.bincount(groups.codes + 1, minlength=len(groups.names) + 1).tolist(),
    }


def _describe_scale(title: str, labels: NDArray) -> dict[str, Any]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    values, is_date = labels.astype(np.float64), labels.dtype.kind == "M"
    if is_date:  # milliseconds since 1970, as JavaScript has them
        values = labels.astype("datetime64[ms]").astype(np.float64)
        values[np.isnat(labels)] = np.nan
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
    steps = colormaps["viridis"](np.linspace(0, 1, SCALE_STEPS))
    return {
        "title": title,
        "kind": "scale",
        "none": "no value",
        "is_date": is_date,
        "low": float(low),
        "high": float(high),
        "colors": [to_hex(color) for color in steps],
        "values": packed(values, "<f8"),
        "counts": [int((~finite).sum()), int(finite.sum())],
    }


def _describe_selection(
    selected: NDArray[np.intp], positions: NDArray[np.float64]
) -> dict[str, Any]:
    codes = np.full(len(positions), -1)
    codes[selected] = 0
    column = _describe_column(SELECTION, codes, positions)
    if len(selected):
        # There is one group, and its name on the map would say nothing.
        column |= {"names": ["picked"], "colors": [HIGHLIGHT], "centers": [None]}
    return column | {"none": "not picked", "is_selection": True}
