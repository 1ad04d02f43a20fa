"""The web page of ProjectionDisplay: one file that needs no connection.

The page itself, its style and its scripts are files in ``_web``. Here they are put together with
plotly and the data, both compressed. What users named (files, groups, columns) stands in the page
only inside that, so that nothing of it can be taken for markup.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..pages._thumbnails import LEFT_OUT, Sprites
from ..selection.files import PAGE_FORMAT
from ._colors import HIGHLIGHT, NO_GROUP, PLAIN, group_points, is_continuous
from ._interactive import SELECTION

SCRIPTS = ("data.js", "pictures.js", "geometry.js", "drawing.js", "panel.js", "main.js")
SCALE_STEPS = 64


def describe_map(
    positions: NDArray[np.float64],
    columns: Mapping[str, NDArray],
    selected: NDArray[np.intp] | None,
    names: list[str] | None,
    title: str | None,
) -> dict[str, Any]:
    """Describe a map as the page's scripts take it.

    Parameters
    ----------
    positions : ndarray of shape (n_points, 2 or 3)
    columns : mapping of str to ndarray of shape (n_points,)
        What the points can be coloured by; floats are measurements, all else is groups.
    selected : ndarray of int, or None
        Rows in pick order.
    names : list of str, or None
    title : str or None
        None says how many points there are.

    Returns
    -------
    dict
        Of what JSON can hold.
    """
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
        "axes": [_packed(axis, "<f4") for axis in positions.T],
        "columns": described,
        "picks": [] if selected is None else selected.tolist(),
        "names": names,
        "pictures": None,
        "remarks": [],
        "grey": NO_GROUP,
        "plain": PLAIN,
    }


def add_sprites(page: dict[str, Any], sprites: Sprites) -> None:
    """Enter thumbnails into a description, and a remark where some are missing."""
    page["pictures"] = {
        "slots": _packed(sprites.slots, "<i4"),
        "sizes": _packed(sprites.sizes, "<u2"),
        "side": sprites.side,
        "columns": sprites.columns,
        "per_sheet": sprites.columns**2,
    }
    left_out = int((sprites.slots == LEFT_OUT).sum())
    if left_out:
        n_points = len(sprites.slots)
        page["remarks"].append(f"Thumbnails: {n_points - left_out:,} of {n_points:,} points.")


def render_page(page: dict[str, Any], sheets: list[str]) -> str:
    """Write the page's HTML.

    Parameters
    ----------
    page : dict
        Made by `describe_map`.
    sheets : list of str
        Sprite sheets in base64.

    Returns
    -------
    str
    """
    data = json.dumps(page, allow_nan=False, separators=(",", ":")).encode("ascii")
    elements = [
        f'<script type="text/plain" id="sheet{i}">{sheet}</script>'
        for i, sheet in enumerate(sheets)
    ]
    before, after = _template().split("<!-- data -->")
    middle, end = after.split("<!-- sheets -->")
    return "".join([before, _compressed(data), middle, "\n".join(elements), end])


@lru_cache(maxsize=1)
def _template() -> str:
    """Put together what is the same in every page."""
    from plotly.offline import get_plotlyjs

    web = files(__package__) / "_web"
    texts = {
        "style": (web / "page.css").read_text(encoding="utf-8"),
        "plotly": _compressed(get_plotlyjs().encode("utf-8")),
        "script": "\n".join((web / name).read_text(encoding="utf-8") for name in SCRIPTS),
    }
    template = (web / "page.html").read_text(encoding="utf-8")
    for name, text in texts.items():
        template = template.replace(f"<!-- {name} -->", text)
    return template


def _describe_column(title: str, values: NDArray, positions: NDArray[np.float64]) -> dict[str, Any]:
    if is_continuous(values):
        return _describe_scale(title, values.astype(np.float64))
    groups = group_points(values, positions)
    return {
        "title": title,
        "kind": "groups",
        "none": "no group",
        "names": groups.names,
        "colors": groups.colors(),
        "centers": groups.centers.tolist(),
        "codes": _packed(groups.codes + 1, "<i4"),
        "counts": np.bincount(groups.codes + 1, minlength=len(groups.names) + 1).tolist(),
    }


def _describe_scale(title: str, values: NDArray[np.float64]) -> dict[str, Any]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
    steps = colormaps["viridis"](np.linspace(0, 1, SCALE_STEPS))
    return {
        "title": title,
        "kind": "scale",
        "none": "no value",
        "low": float(low),
        "high": float(high),
        "colors": [to_hex(color) for color in steps],
        "values": _packed(values, "<f8"),
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


def _packed(values: NDArray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")


def _compressed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, mtime=0)).decode("ascii")
