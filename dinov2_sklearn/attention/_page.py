"""The web page of one image: one file, no connection needed."""

import base64
import html
import io
import json
import re
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ._maps import AttentionMaps

__all__ = ["render_page"]


def render_page(maps: AttentionMaps, *, model_name: str, title: str) -> str:
    """Write the page's HTML.

    The page computes the attention that it shows from queries and keys, since the attention of
    every token in every head would be many times as large.

    Parameters
    ----------
    maps : AttentionMaps
        What an inspector found in the image.
    model_name, title : str
        Named on the page.

    Returns
    -------
    str
    """
    from matplotlib import colormaps

    assert maps._again is not None
    looker = maps._again.looker(maps.layers)
    queries, keys = looker.queries_and_keys(maps.image)
    _, n_tokens, n_heads, head_dim = keys.shape
    rows, columns = maps.grid
    colors = np.rint(255 * colormaps["inferno"](np.linspace(0, 1, 256))[:, :3]).astype(int)
    page = {
        "grid": [rows, columns],
        "first_patch": n_tokens - rows * columns,
        "layers": list(maps.layers),
        "n_heads": n_heads,
        "head_dim": head_dim,
        "queries": [_half(layer) for layer in queries],
        "keys": [_half(layer) for layer in keys],
        "patch_tokens": _half(maps.patch_tokens),
        "image": _image_uri(maps.image),
        "colors": colors.ravel().tolist(),
        "facts": f"{rows} x {columns} patches, {len(maps.layers)} layers of {n_heads} heads of "
        f"{model_name}",
    }
    texts = {
        "title": html.escape(title),
        "data": _as_json(page),
        "script": _resource("page.js"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: texts[match[1]], _resource("page.html"))


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _half(numbers: NDArray[np.float32]) -> str:
    half = np.clip(numbers, -65504, 65504).astype("<f2")
    return base64.b64encode(half.tobytes()).decode("ascii")


def _image_uri(image: NDArray[np.uint8]) -> str:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "WEBP", quality=92)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def _as_json(page: dict[str, Any]) -> str:
    """Write JSON in ASCII that cannot end the script element it stands in."""
    text = json.dumps(page, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
