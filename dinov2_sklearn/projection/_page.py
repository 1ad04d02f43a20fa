"""What the web page of ProjectionDisplay is made of: points, columns, thumbnails, plotly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..pages import LEFT_OUT, compressed, make_thumbnails, packed, render_page
from ..selection.files import PAGE_FORMAT
from ._colors import HIGHLIGHT, NO_GROUP, PLAIN, group_points, is_continuous

__all__ = ["add_thumbnails", "describe_map", "render_map"]

LABEL, SELECTION = "label", "selection"
SCRIPTS = ("pictures.js", "data.js", "geometry.js", "drawing.js", "panel.js", "main.js")
SCALE_STEPS = 64
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
        "facts": " \u00b7 ".join(facts),
        "format": PAGE_FORMAT,
        "n_points": len(positions),
        "axes": [packed(axis, "<f4") for axis in positions.T],
        "columns": described,
        "picks": [] if selected is None else selected.tolist(),
        "names": names,
        "pictures": None,
        "remarks": [],
        "grey": NO_GROUP,
        "plain": PLAIN,
    }


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
    attached = {"plotly": _plotly(), "thumbnails": thumbnails}
    links = (page["pictures"] or {}).get("links", [])
    schemes = {link.partition("://")[0] for link in links} & {"http", "https"}
    sources = " ".join(f"{scheme}:" for scheme in sorted(schemes))
    return render_page(__package__, SCRIPTS, page, attached, image_sources=sources)


@lru_cache(maxsize=1)
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return compressed(get_plotlyjs().encode("utf-8"))


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
