"""What an inspector writes: pictures, pages and patch tokens."""

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..drawing import check_extension
from ..images import ImageRef
from ..pages import check_page_name, packed, render_page
from ..utils import atomic_write, fit_context
from ._display import AttentionDisplay
from ._features import save_patch_features
from ._maps import AttentionMaps

__all__ = ["ImageLike", "OutputsMixin"]

ImageLike = str | os.PathLike | Image.Image | np.ndarray


class OutputsMixin:
    """The part of `PatchAttentionInspector` that writes files."""

    if TYPE_CHECKING:
        model_name: str
        layer: int
        head_reduction: str
        inspect: Any
        _run: Any
        _start: Any

    def visualize_attention(
        self,
        image_path: ImageLike,
        output_path: str | os.PathLike,
        layer: int = -1,
        head: int | None = None,
    ) -> None:
        """Save a picture: the image, and beside it the attention laid over it.

        Parameters
        ----------
        image_path : str, PathLike, PIL.Image.Image or ndarray
            The image.
        output_path : str or PathLike
            The file to write; its extension says the format (.png, .jpg, .pdf, .svg, ...). The
            file is complete or not there.
        layer : int, default=-1
            The block, in place of the inspector's own.
        head : int, default=None
            The head, in place of the inspector's own. None reduces all heads by
            ``head_reduction``.

        Raises
        ------
        ImageDecodeError
            If the image cannot be decoded.
        ValueError
            If there is no such layer or head, or the extension names no known format.

        See Also
        --------
        AttentionDisplay : Other drawings, of several images, of each head or each layer.
        """
        check_extension(output_path)
        display = AttentionDisplay([self.inspect(image_path, layers=layer)])
        display.plot(head=head, head_reduction=self.head_reduction).save(output_path)

    @fit_context(prefer_skip_nested_validation=True)
    def visualize_interactive(
        self,
        image_path: ImageLike,
        output_path: str | os.PathLike,
        layers: int | Sequence[int] | None = None,
        *,
        title: str | None = None,
    ) -> None:
        """Save a web page to explore one image, which needs no connection and no other file.

        The pointer on a patch shows where it looks, in any layer and head, or which patches are
        like it.

        Parameters
        ----------
        image_path : str, PathLike, PIL.Image.Image or ndarray
            The image.
        output_path : str or PathLike
            The HTML file to write: complete, or not there.
        layers : int or sequence of int, default=None
            The blocks to choose from, negative from the end. None means all of them.
        title : str, default=None
            Heading of the page. None is the file's name.

        Raises
        ------
        ImageDecodeError
            If the image cannot be decoded.
        ValueError
            If there is no such layer, or `output_path` does not end in .html.

        Notes
        -----
        The page holds queries and keys in half precision: with 384 features, half a MB for each
        layer at 224 pixels, and in proportion to the number of patches.
        """
        check_page_name(output_path, "visualize_attention")
        images, model = self._start([image_path], layers, "cls", ".visualize_interactive")
        (maps,) = self._run(model, images)
        name = ImageRef(images[0]).name if isinstance(images[0], str) else "Image"
        page = _render_page(
            maps,
            *model.queries_and_keys(maps.image),
            model_name=self.model_name,
            title=title or name,
        )
        with atomic_write(output_path) as file:
            file.write(page.encode("ascii"))

    @fit_context(prefer_skip_nested_validation=True)
    def save_patch_features(
        self,
        paths: Any,
        folder: str | os.PathLike,
        *,
        dtype: str = "float16",
        on_error: str = "raise",
        verbose: bool = False,
    ) -> NDArray[np.object_]:
        """Save the patch tokens of images, one ``.npz`` file each.

        Interrupted and started again, it goes on: a file that is there, made with the same
        settings of an image that has not changed since, is kept.

        Parameters
        ----------
        paths : sequence, array, Series or one-column DataFrame of length n
            Paths of images.
        folder : str or PathLike
            Where to write; made where there is none. Each file has its image's name, and a digest
            of its path.
        dtype : {"float16", "float32"}, default="float16"
            How the tokens are kept. At 224 pixels, an image takes 0.2 MB a 384 features in
            float16.
        on_error : {"raise", "skip"}, default="raise"
            What an image that cannot be decoded leads to: an error that names it, after the files
            of those before it were written, or one warning at the end that lists such images.
        verbose : bool, default=False
            Whether to show a progress bar.

        Returns
        -------
        ndarray of shape (n,), dtype object
            The path of each image's file; None for an image that was skipped.

        Raises
        ------
        ImageDecodeError
            If an image cannot be decoded and ``on_error="raise"``.
        ValueError
            If the folder has a file of one of these images that was made with other settings or is
            damaged, or float16 cannot hold a token.
        TypeError
            If an image is no path.

        See Also
        --------
        load_patch_features : Reads such a file.
        """
        for name, value, choices in [
            ("dtype", dtype, ("float16", "float32")),
            ("on_error", on_error, ("raise", "skip")),
        ]:
            if value not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {value!r}.")
        images, model = self._start(paths, self.layer, "cls", ".save_patch_features")
        if not all(isinstance(image, str) for image in images):
            raise TypeError("save_patch_features takes paths: a file is named after its image's.")
        return save_patch_features(
            model,
            images,
            Path(folder),
            model_name=self.model_name,
            dtype=dtype,
            on_error=on_error,
            verbose=verbose,
        )


def _render_page(
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
    return render_page(__package__, page)


def _half(numbers: NDArray[np.float32]) -> str:
    return packed(np.clip(numbers, -65504, 65504), "<f2")


def _image_uri(image: NDArray[np.uint8]) -> str:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "WEBP", quality=92)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode("ascii")
