"""The web page of ProjectionDisplay: one file, plotly inside, no connection needed."""

from __future__ import annotations

import base64
import html
import io
import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._colors import HIGHLIGHT, NO_GROUP, PLAIN, Groups, group_points, is_continuous, spread

if TYPE_CHECKING:
    from ._display import ProjectionDisplay

IMAGE_SIZE = 128
NAMED_FAILURES = 20
# Above this many points WebGL draws; below, SVG does, which every browser has.
SVG_POINTS = 2000
FULL_SIZE_POINTS = 1000
CHIPS = 12

_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%(title)s</title>
<style>
* { box-sizing: border-box }
html, body { height: 100%%; margin: 0 }
body { display: flex; flex-direction: column; background: #f6f7f9; color: #23272f;
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
header { padding: 14px 22px 10px; display: flex; flex-wrap: wrap; gap: 4px 22px;
  align-items: baseline }
h1 { font-size: 19px; font-weight: 650; margin: 0 }
#facts { color: #667085 }
#chips { display: flex; flex-wrap: wrap; gap: 2px 14px; color: #475467 }
#chips i { width: 10px; height: 10px; border-radius: 50%%; display: inline-block;
  margin-right: 6px }
#map { flex: 1; min-height: 0; margin: 0 14px 14px; background: #fff; border-radius: 12px;
  box-shadow: 0 1px 3px rgba(16, 24, 40, .12); overflow: hidden }
#card { position: fixed; display: none; pointer-events: none; z-index: 10; max-width: 340px;
  background: #fff; border-radius: 10px; box-shadow: 0 6px 24px rgba(16, 24, 40, .22);
  padding: 10px 12px }
#card img, #card .missing { display: none; margin-bottom: 8px; border-radius: 6px }
#card img { max-width: 256px; max-height: 256px; min-width: 96px }
#card .missing { width: 128px; height: 96px; background: #eceef2; color: #667085;
  align-items: center; justify-content: center; text-align: center; font-size: 12px }
#card .name { font-weight: 600; overflow-wrap: anywhere }
#card .more { color: #667085 }
</style></head><body>
<header><h1>%(title)s</h1><span id="facts">%(facts)s</span>
<span id="chips">%(chips)s</span></header>
<div id="map"></div>
<div id="card"><img alt=""><div class="missing">image not readable</div>
<div class="name"></div><div class="more"></div></div>
<script>"""

_TAIL = """</script>
<script>
"use strict";
const page = JSON.parse(document.getElementById("page").textContent);
const map = document.getElementById("map"), card = document.getElementById("card");
const part = selector => card.querySelector(selector);

function describe(i) {
  const lines = [];
  if (page.groups) lines.push(page.groups[i]);
  if (page.ranks && page.ranks[i] !== null) lines.push("selected as number " + page.ranks[i]);
  return lines.join(" \\u00b7 ");
}

function showCard(i) {
  // Names are set as text: a tag in a file name is shown and not obeyed.
  part(".name").textContent = page.names ? page.names[i] : "point " + i;
  part(".more").textContent = describe(i);
  const image = page.images ? page.images[i] : null;
  part("img").style.display = image ? "block" : "none";
  if (image) part("img").src = image;
  part(".missing").style.display = page.images && !image ? "flex" : "none";
  card.style.display = "block";
  moveCard();
}

let pointer = { clientX: 0, clientY: 0 };  // plotly's 3-D events do not carry it
map.addEventListener("mousemove", event => { pointer = event; moveCard(); }, true);

function moveCard() {
  const gap = 18, box = card.getBoundingClientRect();
  const right = pointer.clientX + gap + box.width < window.innerWidth;
  const x = right ? pointer.clientX + gap : pointer.clientX - gap - box.width;
  const y = Math.min(pointer.clientY + gap, window.innerHeight - box.height - 8);
  card.style.left = Math.max(8, x) + "px";
  card.style.top = Math.max(8, y) + "px";
}

Plotly.newPlot(map, [page.trace], page.layout, page.config).then(() => {
  map.on("plotly_hover", hover => showCard(hover.points[0].pointNumber));
  map.on("plotly_unhover", () => { card.style.display = "none" });
});
</script></body></html>
"""


def render_page(
    display: ProjectionDisplay,
    *,
    names: list[str] | None,
    images: list[str | None] | None,
    title: str | None,
) -> str:
    """Write the page's HTML.

    Parameters
    ----------
    display : ProjectionDisplay
    names : list of str or None
        Each point's name.
    images : list of (str or None) or None
        Each point's image as a data URI, None where there is none to show.
    title : str or None

    Returns
    -------
    str
    """
    from plotly.offline import get_plotlyjs

    positions = spread(display.coordinates)
    labels = display.labels
    groups = None
    if labels is not None and not is_continuous(labels):
        groups = group_points(labels, positions)
    page = {
        "trace": _trace(display, positions, groups),
        "layout": _layout(positions, groups),
        "config": {"responsive": True, "displaylogo": False, "scrollZoom": True},
        "names": names,
        "images": images,
        "groups": _group_texts(labels, groups),
        "ranks": _ranks(display.selected, len(positions)),
    }
    n_points = f"{len(positions):,} points"
    texts = {
        "title": html.escape(title or f"Map of {n_points}"),
        "facts": html.escape(" \u00b7 ".join(_facts(n_points if title else "", groups, display))),
        "chips": _chips(groups),
    }
    head = _HEAD % texts
    data = f'</script><script type="application/json" id="page">{_as_json(page)}'
    return "".join([head, get_plotlyjs(), data, _TAIL])


def embed_images(paths: list[str]) -> list[str | None]:
    """Turn image files into small WebP data URIs, None for a file that cannot be read."""
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(_embed_image, paths))
    failures = [path for path, image in zip(paths, images, strict=True) if image is None]
    if failures:
        more = len(failures) - NAMED_FAILURES
        warnings.warn(
            f"{len(failures)} of {len(paths)} images cannot be read and are shown as "
            f"placeholders: {', '.join(map(repr, failures[:NAMED_FAILURES]))}"
            + (f" and {more} more." if more > 0 else "."),
            UserWarning,
            stacklevel=3,
        )
    return images


def _embed_image(path: str) -> str | None:
    from ..images import ImageDecodeError, load_image

    try:
        image = load_image(path, min_size=IMAGE_SIZE, exact=False)
    except ImageDecodeError:
        return None
    image.thumbnail((IMAGE_SIZE, IMAGE_SIZE))
    data = io.BytesIO()
    image.save(data, "WEBP", quality=70)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def _trace(
    display: ProjectionDisplay, positions: NDArray[np.float64], groups: Groups | None
) -> dict[str, Any]:
    """Describe all points as one trace, so that a point's number is its row."""
    n_points, n_dimensions = positions.shape
    kind = "scatter" if n_points <= SVG_POINTS else "scattergl"
    size = float(np.clip(9 * np.sqrt(FULL_SIZE_POINTS / n_points), 3, 9))
    is_selected = np.zeros(n_points, dtype=bool)
    if display.selected is not None:
        is_selected[display.selected] = True
    marker: dict[str, Any] = {
        "size": np.where(is_selected, size + 5, size).round(2).tolist(),
        "opacity": 0.85,
        "line": {"color": "#23272f", "width": np.where(is_selected, 1.5, 0).tolist()},
        **_marker_colors(display, groups, is_selected),
    }
    if n_dimensions == 3:  # plotly's 3-D marks have one outline width
        kind, marker["line"] = "scatter3d", {"width": 0}
    axes = dict(zip("xyz", positions.T.round(5).tolist(), strict=False))
    return {"type": kind, "mode": "markers", "hoverinfo": "none", "marker": marker, **axes}


def _marker_colors(
    display: ProjectionDisplay, groups: Groups | None, is_selected: NDArray[np.bool_]
) -> dict[str, Any]:
    if groups is not None:
        palette = [*groups.colors(), NO_GROUP]
        return {"color": [palette[code] for code in groups.codes]}
    if display.labels is None:
        return {"color": np.where(is_selected, HIGHLIGHT, PLAIN).tolist()}
    # Among numbers to be scaled, plotly takes a name of a colour for itself.
    values = [float(x) if np.isfinite(x) else NO_GROUP for x in display.labels]
    bar = {"thickness": 12, "len": 0.6, "outlinewidth": 0}
    return {"color": values, "colorscale": "Viridis", "showscale": True, "colorbar": bar}


def _layout(positions: NDArray[np.float64], groups: Groups | None) -> dict[str, Any]:
    hidden = {"visible": False}
    notes = (
        []
        if groups is None
        else [
            {
                **dict(zip("xyz", center.tolist(), strict=False)),
                "text": html.escape(name, quote=False),
                "showarrow": False,
                "font": {"size": 13, "color": "#23272f"},
                "bgcolor": "rgba(255, 255, 255, 0.65)",
                "captureevents": False,
            }
            for name, center in zip(groups.names, groups.centers, strict=True)
        ]
    )
    layout: dict[str, Any] = {
        "margin": {"l": 12, "r": 12, "t": 12, "b": 12},
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": "pan",
    }
    if positions.shape[1] == 3:
        scene = {"aspectmode": "data", "annotations": notes}
        return {
            **layout,
            "dragmode": "orbit",
            "scene": {**scene, **dict.fromkeys(("xaxis", "yaxis", "zaxis"), hidden)},
        }
    return {
        **layout,
        "annotations": notes,
        "xaxis": hidden,
        "yaxis": {**hidden, "scaleanchor": "x"},
    }


def _group_texts(labels: NDArray | None, groups: Groups | None) -> list[str] | None:
    if groups is not None:
        names = [*groups.names, "no group"]
        return [names[code] for code in groups.codes]
    return None if labels is None else [f"{value:.6g}" for value in labels]


def _ranks(selected: NDArray[np.intp] | None, n_points: int) -> list[int | None] | None:
    if selected is None:
        return None
    ranks: list[int | None] = [None] * n_points
    for rank, point in enumerate(selected.tolist(), start=1):
        ranks[point] = rank
    return ranks


def _facts(n_points: str, groups: Groups | None, display: ProjectionDisplay) -> list[str]:
    facts = [n_points] if n_points else []
    if groups is not None:
        facts.append(f"{len(groups.names):,} groups")
    if display.selected is not None:
        facts.append(f"{len(display.selected):,} selected")
    return facts


def _chips(groups: Groups | None) -> str:
    if groups is None or len(groups.names) > CHIPS:
        return ""
    return "".join(
        f'<span><i style="background:{color}"></i>{html.escape(name)}</span>'
        for name, color in zip(groups.names, groups.colors(), strict=True)
    )


def _as_json(page: dict[str, Any]) -> str:
    """Write JSON in ASCII that cannot end the script element it stands in."""
    text = json.dumps(page, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
