"""PatchAttentionInspector: images to the attention of a Vision Transformer."""

import os
import warnings
from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from .._figures import check_extension
from .._files import atomic_write
from .._sklearn_compat import StrOptions, fit_context
from ..backbone import BackboneMixin, Checkpoint
from ..images import Preprocessing, check_images
from ._display import AttentionDisplay
from ._features import save_patch_features
from ._maps import Again, AttentionMaps
from ._patch_pca import PatchSample
from ._query import Query, check_query, head_index, query_token
from ._seen import whole_patches

if TYPE_CHECKING:
    from ._look import Looker

__all__ = ["PatchAttentionInspector"]

ImageLike = str | os.PathLike | Image.Image | np.ndarray


class PatchAttentionInspector(BackboneMixin, TransformerMixin, BaseEstimator):
    """See where in an image a DINOv2 Vision Transformer looks.

    What it gives is the attention of one token over the patches: its softmax weights as the model
    computes them, over all tokens, of which the columns of the patches are kept. For that it need
    not be fitted: `fit` learns the colours of `patch_rgb`.

    Parameters
    ----------
    model_name : str, default="facebook/dinov2-base"
        The checkpoint: a short name ("small", "base", "large", "giant", or one of these with
        "-with-registers"), a hub id, a local folder, or "offline" for weights that come from a
        package (see the README).
    revision : str, default=None
        Branch, tag or commit of a hub checkpoint.
    layer : int, default=-1
        The block whose attention `transform` gives, and whose patch tokens `inspect` gives,
        counted from 0, or from the end if negative.
    head : int, default=None
        The attention head that `transform` gives, negative from the end. None reduces all heads.
    head_reduction : {"mean", "max", "min"}, default="mean"
        How the heads are made one, patch by patch, with ``head=None``.
    query : "cls", int or (int, int), default="cls"
        The token that looks: CLS, a register token by its number, or a patch by its row and column
        in the grid; numbers may be negative, from the end.
    invert_foreground : bool, default=False
        Whether `fit` takes for the foreground the side that gets less of the CLS token's attention.
    image_size : int, default=None
        Edge in pixels of the square that the model sees, rounded to a multiple of the patch with
        a warning. None means the checkpoint's own size, 224 for the published ones. A larger
        image has a finer grid.
    keep_aspect : bool, default=False
        Whether the model sees whole images: nothing is cropped, the shortest edge has
        ``image_size`` pixels, and the other one the nearest multiple of the patch, at most four
        times as many. The grid is then a rectangle that depends on the image.
    device : str, default="auto"
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1" or "mps". Where the named kind of
        device is absent, the CPU is used with a warning.
    dtype : {"auto", "float32", "bfloat16", "float16"}, default="float32"
        Precision of the model. The attention is computed in float32 from the model's queries and
        keys in any case.
    batch_size : int, default=8
        Images in one forward pass of `transform`. Halved, with a warning, when memory runs out.
    num_workers : int, default=4
        Threads that decode and preprocess ahead of the model; 0 does it in the calling thread.

    Attributes
    ----------
    patch_pca_ : PatchPCA
        The foreground and the colours of patch tokens, as arrays; set by `fit`. Its
        ``attention_ratio`` says how surely the foreground is told from the background.

    See Also
    --------
    AttentionDisplay : Draws the attention of one or several images.
    DINOv2Transformer : Turns images into embeddings.
    load_patch_features : Reads what `save_patch_features` wrote.

    Notes
    -----
    Cost is one forward pass as far as the last block asked for; the attention itself adds one row
    of ``grid_h * grid_w`` products a head. The model runs its fast attention kernel throughout, and
    the rows asked for are all that is kept. `fit_transform` runs the model once.

    `fit` follows the two stages that [1]_ draws its pictures with. The first principal component
    of all patch tokens falls into two classes; the one that the CLS token attends to more is the
    foreground. The principal components of the foreground's tokens are red, green and blue.
    Signs and scales are fixed by the data, so that the same images always give the same colours.

    With registers, attention maps are free of the outliers that [2]_ describes. Models with rotary
    position embeddings (DINOv3) are refused. Large JPEGs are decoded at a reduced size, no less
    than twice what the model needs.

    References
    ----------
    .. [1] M. Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023,
       https://arxiv.org/abs/2304.07193
    .. [2] T. Darcet et al., "Vision Transformers Need Registers", 2023,
       https://arxiv.org/abs/2309.16588

    Examples
    --------
    >>> from dinov2_sklearn import PatchAttentionInspector
    >>> inspector = PatchAttentionInspector("offline", head=0)
    >>> inspector.transform(["a.jpg", "b.jpg"]).shape  # doctest: +SKIP
    (2, 256)
    >>> inspector.inspect("a.jpg").attention.shape  # doctest: +SKIP
    (11, 6, 16, 16)
    >>> inspector.fit(["a.jpg", "b.jpg"]).patch_rgb(["c.jpg"])[0].shape  # doctest: +SKIP
    (16, 16, 3)
    """

    _parameter_constraints: dict = {
        **BackboneMixin._parameter_constraints,
        "layer": [Integral],
        "head": [Integral, None],
        "head_reduction": [StrOptions({"mean", "max", "min"})],
        "query": [StrOptions({"cls"}), Integral, tuple, list],
        "invert_foreground": ["boolean"],
        "keep_aspect": ["boolean"],
    }

    def __init__(
        self,
        model_name: str = "facebook/dinov2-base",
        *,
        revision: str | None = None,
        layer: int = -1,
        head: int | None = None,
        head_reduction: str = "mean",
        query: Query = "cls",
        invert_foreground: bool = False,
        image_size: int | None = None,
        keep_aspect: bool = False,
        device: str = "auto",
        dtype: str = "float32",
        batch_size: int = 8,
        num_workers: int = 4,
    ) -> None:
        self.model_name = model_name
        self.revision = revision
        self.layer = layer
        self.head = head
        self.head_reduction = head_reduction
        self.query = query
        self.invert_foreground = invert_foreground
        self.image_size = image_size
        self.keep_aspect = keep_aspect
        self.device = device
        self.dtype = dtype
        self.batch_size = batch_size
        self.num_workers = num_workers

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the foreground and the colours of patch tokens, which only `patch_rgb` needs.

        Parameters
        ----------
        X : sequence, array, Series or one-column DataFrame of length n
            Image paths, PIL images, or uint8 arrays of shape (height, width, 3).
        y : object, default=None
            Ignored.

        Returns
        -------
        self : PatchAttentionInspector
            The same object.

        Raises
        ------
        ImageDecodeError
            If an image cannot be decoded.
        ValueError, TypeError
            For a parameter out of range, a bare path, an empty X or one that holds no images.
        CheckpointError
            If the checkpoint cannot be found.
        """
        images, checkpoint = self._start(X, stacklevel=4)
        sample = PatchSample(len(images))
        for maps in self._look_at_layer(images, checkpoint, "cls"):
            sample.add(maps.patch_tokens, maps.attention[0])
        self.patch_pca_ = sample.fit(invert=self.invert_foreground)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:
        """Do what `fit` and `transform` do, running the model once.

        Parameters
        ----------
        X, y : see `fit`

        Returns
        -------
        ndarray of shape (n, grid_h * grid_w), dtype float32
            See `transform`.
        """
        if self.query != "cls":  # the foreground is told by the CLS token's attention
            return self.fit(X, y).transform(X)
        images, checkpoint = self._start(X, stacklevel=5)
        sample = PatchSample(len(images))

        def sampled() -> Iterator[AttentionMaps]:
            for maps in self._look_at_layer(images, checkpoint, "cls"):
                sample.add(maps.patch_tokens, maps.attention[0])
                yield maps

        rows = self._rows(sampled(), images)
        self.patch_pca_ = sample.fit(invert=self.invert_foreground)
        return rows

    @fit_context(prefer_skip_nested_validation=True)
    def transform(self, X: Any) -> NDArray[np.float32]:
        """Compute the attention over the patches of each image.

        Parameters
        ----------
        X : sequence, array, Series or one-column DataFrame of length n
            Image paths, PIL images, or uint8 arrays of shape (height, width, 3).

        Returns
        -------
        ndarray of shape (n, grid_h * grid_w), dtype float32
            One row an image, in the order of X; the patches of the grid row by row.

        Raises
        ------
        ImageDecodeError
            If an image cannot be decoded.
        ValueError
            For a parameter out of range, or if ``keep_aspect=True`` leads to grids that differ.
        IndexError
            If `query` asks for a register or a patch that is not there.
        MemoryError
            If a single image does not fit into memory.
        """
        images, checkpoint = self._start(X, stacklevel=5)
        return self._rows(self._look_at_layer(images, checkpoint, self.query), images)

    @fit_context(prefer_skip_nested_validation=True)
    def inspect(
        self,
        image: ImageLike,
        layers: int | Sequence[int] | None = None,
        query: Query | None = None,
    ) -> AttentionMaps:
        """Look into one image: the attention of every head, and the patch tokens.

        Parameters
        ----------
        image : str, PathLike, PIL.Image.Image or ndarray
            A path, a PIL image, or a uint8 array of shape (height, width, 3).
        layers : int or sequence of int, default=None
            The blocks whose attention is wanted, negative from the end. None means all of them.
        query : "cls", int or (int, int), default=None
            The token that looks, in place of the inspector's own.

        Returns
        -------
        AttentionMaps
            The attention of these blocks, the patch tokens of the inspector's `layer`, and the
            picture that the model saw.

        Raises
        ------
        ImageDecodeError
            If the image cannot be decoded.
        ValueError
            For a parameter or a layer out of range.
        IndexError
            If `query` asks for a register or a patch that is not there.
        """
        return next(self._inspect([image], layers, query, "inspect"))

    @fit_context(prefer_skip_nested_validation=True)
    def inspect_many(
        self,
        X: Any,
        layers: int | Sequence[int] | None = None,
        query: Query | None = None,
    ) -> Iterator[AttentionMaps]:
        """Look into images one after the other, running the model on batches of one shape.

        Parameters
        ----------
        X : sequence, array, Series or one-column DataFrame of length n
            Image paths, PIL images, or uint8 arrays of shape (height, width, 3).
        layers, query : see `inspect`

        Returns
        -------
        iterator of AttentionMaps
            One an image, in the order of X. No more than a batch is held at a time.

        Raises
        ------
        ImageDecodeError, ValueError, IndexError
            See `inspect`. Errors of an image are raised in its turn, those of X at once.
        """
        return self._inspect(X, layers, query, "inspect_many")

    def patch_rgb(self, X: Any, *, background: bool = False) -> list[NDArray[np.uint8]]:
        """Colour the patches of images: patches of one colour are alike, in all images.

        Parameters
        ----------
        X : sequence, array, Series or one-column DataFrame of length n
            Image paths, PIL images, or uint8 arrays of shape (height, width, 3).
        background : bool, default=False
            Whether the background is coloured too; otherwise it is black.

        Returns
        -------
        list of ndarray of shape (grid_h, grid_w, 3), dtype uint8
            One an image.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the model's tokens are not as long as those that `fit` saw.
        ImageDecodeError
            If an image cannot be decoded.
        """
        check_is_fitted(self, "patch_pca_")
        images, checkpoint = self._start(X, stacklevel=3)
        self.patch_pca_.check_dim(checkpoint.dim)
        maps = self._look_at_layer(images, checkpoint, "cls")
        return [self.patch_pca_.colors(m.patch_tokens, background=background) for m in maps]

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
        if Path(output_path).suffix.lower() not in (".html", ".htm"):
            raise ValueError(
                f"Cannot write {os.fspath(output_path)!r}: a web page's name ends in .html. For a "
                "picture use visualize_attention."
            )
        from ._page import render_page

        maps = next(self._inspect([image_path], layers, "cls", "visualize_interactive"))
        name = Path(image_path).name if isinstance(image_path, (str, os.PathLike)) else "Image"
        page = render_page(maps, model_name=self.model_name, title=title or name)
        with atomic_write(output_path) as file:
            file.write(page.encode("utf-8", "backslashreplace"))

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
        images, checkpoint = self._start(paths, stacklevel=4, method=".save_patch_features")
        if not all(isinstance(image, str) for image in images):
            raise TypeError("save_patch_features takes paths: a file is named after its image's.")
        return save_patch_features(
            self._looker(checkpoint, [checkpoint.block_index(int(self.layer))], "cls"),
            images,
            Path(folder),
            model_name=self.model_name,
            dtype=dtype,
            on_error=on_error,
            verbose=verbose,
        )

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns by the row and the column of their patch.

        Parameters
        ----------
        input_features : object, default=None
            Ignored: the input is images.

        Returns
        -------
        ndarray of str
            ``patchattentioninspector_0_0``, ``patchattentioninspector_0_1``, ...

        Raises
        ------
        ValueError
            If the grid depends on the image, as with ``keep_aspect=True``.
        """
        grid = self._fixed_grid(self._checkpoint())
        if grid is None:
            raise ValueError(
                "With whole images (keep_aspect=True) the columns depend on the images, and have "
                "no names."
            )
        prefix = type(self).__name__.lower()
        return np.array([f"{prefix}_{i}_{j}" for i, j in np.ndindex(grid)], dtype=object)

    def _checkpoint(self) -> Checkpoint:
        """Find the checkpoint, and check that it has the layer, the head and the query."""
        checkpoint = super()._checkpoint()
        if checkpoint.config["model_type"] == "dinov3_vit":
            raise ValueError(
                f"{type(self).__name__} is for DINOv2 models, with or without registers: "
                f"{self.model_name!r} is a DINOv3 model, whose rotary position embeddings change "
                "queries and keys after their projections."
            )
        checkpoint.block_index(int(self.layer))
        if self.head is not None:
            head_index(self.head, checkpoint.n_heads)
        self._check_query(self.query, checkpoint)
        return checkpoint

    def _check_query(self, query: Any, checkpoint: Checkpoint) -> Query:
        """Check a query as far as can be before an image's grid is known."""
        query = check_query(query)
        grid = self._fixed_grid(checkpoint)
        if grid is not None or not isinstance(query, tuple):
            query_token(query, checkpoint.n_registers, grid or (1, 1))
        return query

    def _preprocessing(self, checkpoint: Checkpoint) -> Preprocessing:
        return whole_patches(checkpoint, self.image_size, self.keep_aspect)[0]

    def _fixed_grid(self, checkpoint: Checkpoint) -> tuple[int, int] | None:
        """Return rows and columns of patches, None where they depend on the image."""
        preprocessing = self._preprocessing(checkpoint)
        if preprocessing.multiple is not None:
            return None
        height, width = preprocessing.base_size
        return height // checkpoint.patch_size, width // checkpoint.patch_size

    def _start(self, X: Any, stacklevel: int, method: str = "") -> tuple[list, Checkpoint]:
        """Check the images and the parameters, and say so where the size is rounded."""
        images = check_images(X, estimator_name=type(self).__name__ + method)
        checkpoint = self._checkpoint()
        _, rounded = whole_patches(checkpoint, self.image_size, self.keep_aspect)
        if rounded is not None:
            warnings.warn(rounded, UserWarning, stacklevel=stacklevel)
        return images, checkpoint

    def _inspect(
        self, X: Any, layers: int | Sequence[int] | None, query: Query | None, method: str
    ) -> Iterator[AttentionMaps]:
        images, checkpoint = self._start(X, stacklevel=5, method=f".{method}")
        blocks = _blocks(layers, checkpoint)
        query = self._check_query(self.query if query is None else query, checkpoint)
        return self._look(images, self._looker(checkpoint, blocks, query))

    def _looker(self, checkpoint: Checkpoint, blocks: Sequence[int], query: Query) -> "Looker":
        from ._look import Looker

        return Looker(
            backbone=self._load(checkpoint),
            preprocessing=self._preprocessing(checkpoint),
            blocks=blocks,
            token_block=checkpoint.block_index(int(self.layer)),
            query=check_query(query),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
        )

    def _look_at_layer(
        self, images: list, checkpoint: Checkpoint, query: Query
    ) -> Iterator[AttentionMaps]:
        """Look at images with the inspector's own layer."""
        blocks = [checkpoint.block_index(int(self.layer))]
        return self._look(images, self._looker(checkpoint, blocks, query))

    def _look(self, images: list, looker: "Looker") -> Iterator[AttentionMaps]:
        again = clone(self)
        for _, seen, attention, tokens in looker(images):
            yield AttentionMaps(
                attention=attention,
                layers=tuple(looker.blocks),
                patch_tokens=tokens,
                image=seen.image,
                query=looker.query,
                depth=looker.backbone.checkpoint.depth,
                original_shape=seen.original_shape,
                window=seen.window,
                _again=Again(again, seen.pixels, looker.query),
            )

    def _rows(self, looked: Iterator[AttentionMaps], images: list) -> NDArray[np.float32]:
        """Gather the maps of images, which must be of one grid, as rows."""
        rows: list[NDArray[np.float32]] = []
        for maps, image in zip(looked, images, strict=True):
            found = maps.select(head=self.head, head_reduction=self.head_reduction)
            if rows and found.shape != rows[0].shape:
                raise ValueError(_unequal_grids(image, len(rows), rows[0].shape, found.shape))
            rows.append(found)
        return np.stack(rows).reshape(len(rows), -1)


def _blocks(layers: int | Sequence[int] | None, checkpoint: Checkpoint) -> list[int]:
    if layers is None:
        return list(range(checkpoint.depth))
    chosen: list = [layers] if isinstance(layers, Integral) else list(layers)  # type: ignore[arg-type]
    if not chosen or not all(isinstance(layer, Integral) for layer in chosen):
        raise ValueError(
            f"layers must be an int, a sequence of one or more ints, or None, got {layers!r}."
        )
    return [checkpoint.block_index(int(layer), "layers") for layer in chosen]


def _unequal_grids(image: Any, position: int, first: tuple, other: tuple) -> str:
    name = repr(image) if isinstance(image, str) else f"image {position}"
    grids = [f"{rows} x {columns}" for rows, columns in (first, other)]
    return (
        f"With whole images (keep_aspect=True) the rows would differ in length: the first image "
        f"has a grid of {grids[0]} patches, {name} one of {grids[1]}. Use inspect(image) for each "
        "image, or keep_aspect=False."
    )
