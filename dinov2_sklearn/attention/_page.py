"""What the web page of one image is made of: queries, keys and tokens, from which it computes."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..pages import packed, render_page
from ._maps import AttentionMaps

__all__ = ["render_image_page"]


def render_image_page(
    maps: AttentionMaps,
    queries: NDArray[np.float32],
    keys: NDArray[np.float32],
    *,
    model_name: str,
    title: str,
) -> str:
    """Write the HTML of an image's page.

    Queries and keys, (n_layers, n_tokens, n_heads, head_dim) each, are those of the maps' layers:
    the attention of every token in every head would be many times as large.
    """
    from matplotlib import colormaps

    _, n_tokens, n_heads, head_dim = keys.shape
    rows, columns = maps.grid
    colors = np.rint(255 * colormaps["inferno"](np.linspace(0, 1, 256))[:, :3]).astype(int)
    page = {
        "title": title,
        "facts": f"{rows} x {columns} patches, {len(maps.layers)} layers of {n_heads} heads of "
        f"{model_name}",
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
    }
    return render_page(__package__, ["main.js"], page)


def _half(numbers: NDArray[np.float32]) -> str:
    return packed(np.clip(numbers, -65504, 65504), "<f2")


def _image_uri(image: NDArray[np.uint8]) -> str:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "WEBP", quality=92)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode("ascii")
