"""PatchAttentionInspector: images to the attention of a Vision Transformer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from ..backbone import BackboneMixin, Checkpoint
from ..images import Preprocessing, check_images, warn_of_crops
from ..utils import Progress, StrOptions, VersionedMixin, fit_context, warn
from ._maps import AttentionMaps
from ._outputs import ImageLike, OutputsMixin
from ._patch_pca import PatchSample
from ._query import Query, check_query, head_index, query_token

if TYPE_CHECKING:
    from ._model import AttentionModel

__all__ = ["PatchAttentionInspector"]


class PatchAttentionInspector(
    VersionedMixin, OutputsMixin, BackboneMixin, TransformerMixin, BaseEstimator
):
    """See where in an image a Vision Transformer looks.

    What it gives is the attention of one token over the patches: its softmax weights as the model
    computes them, over all tokens, of which the columns of the patches are kept. For that it need
    not be fitted: `fit` learns the colours of `patch_rgb`.

    Parameters
    ----------
    model_name : str, default="facebook/dinov2-base"
        The checkpoint: a short name ("small", "base", "large", "giant", or one of these with
        "-with-registers"), a hub id of any Vision Transformer, "timm/..." included, a local folder,
        a ``.pth`` file of the DINOv2 repository, or "offline" for weights that come from a package.
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
    crop_mode : {"center", "pad", "squash"}, default="center"
        What the model sees of a picture that is no square: the checkpoint's own crop around its
        middle, the whole picture between borders of the mean colour, or the whole picture with
        both edges scaled alone. Where the crop hides more than a third of most pictures, a warning
        says so. Maps of whole pictures lie on the original all the same.
    bands : tuple of int, default=None
        Which bands are red, green and blue, or the one that is shown in grey, counted from 1. None
        means those that a file says are colours, or the first three of three or four.
    value_range : "auto" or (float, float), default="auto"
        Of images of more than 8 bits, the values that become black and white. "auto" takes them
        from each image; the same two for all keep the images of a collection comparable.
    max_pixels : int or None, default=178956970
        Files of more pixels are not decoded but errors, which guards against decompression bombs.
        None lifts the limit.
    truncated : {"refuse", "accept"}, default="refuse"
        What becomes of a file that ends too early: an error, or a picture whose rest is grey or
        black.
    storage_options : dict, default=None
        What fsspec's file systems are given to open URLs, such as ``{"headers": {...}}``. It is
        part of a pickle of the estimator: keep secrets in the environment where you can.
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
    At most 65,536 patches are taken, at least 16 of an image: where there are more than 4,096
    images, only some of them, evenly spread, decide.

    With registers, attention maps are free of the outliers that [2]_ describes. Of models without a
    CLS token (SigLIP, I-JEPA) a patch must be the query. Large JPEGs are decoded at a reduced size,
    no less than twice what the model needs.

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
        crop_mode: str = "center",
        bands: tuple[int, ...] | None = None,
        value_range: str | tuple[float, float] = "auto",
        max_pixels: int | None = 178_956_970,
        truncated: str = "refuse",
        storage_options: Mapping[str, Any] | None = None,
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
        self.crop_mode = crop_mode
        self.bands = bands
        self.value_range = value_range
        self.max_pixels = max_pixels
        self.truncated = truncated
        self.storage_options = storage_options
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
        images, model = self._start(X, self.layer, "cls")
        sample = PatchSample(len(images))
        images = images[:: sample.step]
        with Progress(len(images), "Looking", "img", shown=False, fitting=self) as progress:
            for maps in self._run(model, images):
                sample.add(maps.patch_tokens, maps.attention[0])
                progress.update()
        self.patch_pca_ = sample.fit(invert=self.invert_foreground)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:
        """Do what `fit` and `transform` do, running the model once.

        Parameters
        ----------
        X, y : object
            As in `fit`.

        Returns
        -------
        ndarray of shape (n, grid_h * grid_w), dtype float32
            See `transform`.
        """
        if self.query != "cls":  # the foreground is told by the CLS token's attention
            return self.fit(X, y).transform(X)
        images, model = self._start(X, self.layer, "cls")
        sample = PatchSample(len(images))

        def sampled() -> Iterator[AttentionMaps]:
            for position, maps in enumerate(self._run(model, images)):
                if position % sample.step == 0:
                    sample.add(maps.patch_tokens, maps.attention[0])
                yield maps
                progress.update()

        with Progress(len(images), "Looking", "img", shown=False, fitting=self) as progress:
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
        images, model = self._start(X, self.layer, self.query)
        return self._rows(self._run(model, images), images)

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
        layers, query : object, default=None
            As in `inspect`.

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
        images, model = self._start(X, self.layer, "cls")
        self.patch_pca_.check_dim(model.backbone.checkpoint.dim)
        maps = self._run(model, images)
        return [self.patch_pca_.colors(m.patch_tokens, background=background) for m in maps]

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
        checkpoint = self._checkpoint()
        grid = _fixed_grid(self._recipe(checkpoint)[0], checkpoint)
        if grid is None:
            raise ValueError(
                "With whole images (keep_aspect=True) the columns depend on the images, and have "
                "no names."
            )
        prefix = type(self).__name__.lower()
        return np.array([f"{prefix}_{i}_{j}" for i, j in np.ndindex(grid)], dtype=object)

    def _start(
        self, X: Any, layers: int | Sequence[int] | None, query: Query, method: str = ""
    ) -> tuple[list, "AttentionModel"]:
        """Check the images and the parameters, and load the model; say if the size is rounded."""
        images = check_images(X, estimator_name=type(self).__name__ + method)
        checkpoint = self._checkpoint()
        preprocessing, rounded = self._recipe(checkpoint)
        if rounded is not None:
            warn(rounded)
        return images, self._model(checkpoint, preprocessing, layers, query)

    def _recipe(self, checkpoint: Checkpoint) -> tuple[Preprocessing, str | None]:
        """Hold the parameters to the checkpoint; return its recipe and what is rounded in it."""
        if checkpoint.n_heads == 0:
            raise ValueError(
                f"{self.model_name!r} is a convolutional network and has no attention to look into."
            )
        checkpoint.block_index(int(self.layer))
        if self.head is not None:
            head_index(self.head, checkpoint.n_heads)
        preprocessing, rounded = _whole_patches(
            checkpoint, self.image_size, self.keep_aspect, self.crop_mode
        )
        _check_query(self.query, preprocessing, checkpoint)
        return preprocessing, rounded

    def _model(
        self,
        checkpoint: Checkpoint,
        preprocessing: Preprocessing,
        layers: int | Sequence[int] | None,
        query: Query,
    ) -> "AttentionModel":
        """Load the model, to give the attention of some layers, and the tokens of its own."""
        from ._model import AttentionModel

        blocks = _blocks(layers, checkpoint)
        query = _check_query(query, preprocessing, checkpoint)
        return AttentionModel(
            backbone=self._load(checkpoint),
            preprocessing=preprocessing,
            blocks=blocks,
            token_block=checkpoint.block_index(int(self.layer)),
            query=query,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            decoding=self._decoding(),
        )

    def _reload(self, layers: Sequence[int], query: Query) -> "AttentionModel":
        """Load the model once more, for maps that were made before."""
        checkpoint = self._checkpoint()
        return self._model(checkpoint, self._recipe(checkpoint)[0], layers, query)

    def _inspect(
        self, X: Any, layers: int | Sequence[int] | None, query: Query | None, method: str
    ) -> Iterator[AttentionMaps]:
        query = self.query if query is None else query
        images, model = self._start(X, layers, query, f".{method}")
        return self._run(model, images)

    def _run(self, model: "AttentionModel", images: list) -> Iterator[AttentionMaps]:
        # A copy keeps the settings of its time, and holds no model.
        reload = partial(clone(self)._reload, query=model.query)
        n_cut = 0
        for _, item, attention, tokens in model.run(images):
            n_cut += model.preprocessing.cuts(*item.original_shape[::-1])
            yield AttentionMaps(
                attention=attention,
                layers=tuple(model.blocks),
                patch_tokens=tokens,
                image=item.image,
                query=model.query,
                depth=model.backbone.checkpoint.depth,
                original_shape=item.original_shape,
                window=item.window,
                _reload=reload,
            )
        if len(images) > 1 and 2 * n_cut > len(images):
            warn_of_crops(n_cut, len(images))

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
    chosen: list = [layers] if not isinstance(layers, Iterable) else list(layers)
    if not chosen or not all(isinstance(layer, Integral) for layer in chosen):
        raise ValueError(
            f"layers must be an int, a sequence of one or more ints, or None, got {layers!r}."
        )
    return [checkpoint.block_index(int(layer), "layers") for layer in chosen]


def _whole_patches(
    checkpoint: Checkpoint, image_size: int | None, keep_aspect: bool, crop_mode: str
) -> tuple[Preprocessing, str | None]:
    """Return the checkpoint's recipe at the size asked for, in whole patches.

    Where that is another size than the one asked for, also say so; otherwise None.
    """
    recipe, patch = checkpoint.preprocessing, checkpoint.patch_size
    if crop_mode != "center":
        recipe = replace(recipe, crop_mode=crop_mode)
    if image_size is not None:
        asked, what = (int(image_size),) * 2, f"image_size={image_size}"
        recipe = recipe.with_image_size(int(image_size), patch)
    else:
        asked = recipe.base_size
        what = f"The checkpoint's own image size {asked[0]} x {asked[1]}"
        if any(edge % patch for edge in asked):
            recipe = recipe.scaled(1.0, patch)
    # A recipe without a crop asks for whole images too, but not for whole patches.
    uncropped = recipe.crop is None and not isinstance(recipe.resize, tuple)
    if keep_aspect or (uncropped and crop_mode == "center"):
        recipe = recipe.keep_aspect(patch)
    if not any(edge % patch for edge in asked):
        return recipe, None
    height, width = recipe.base_size
    return recipe, (
        f"{what} is not a multiple of the model's patch of {patch} pixels; {height} x {width} is "
        "used."
    )


def _fixed_grid(preprocessing: Preprocessing, checkpoint: Checkpoint) -> tuple[int, int] | None:
    """Return rows and columns of patches, None where they depend on the image."""
    if preprocessing.multiple is not None:
        return None
    height, width = preprocessing.base_size
    return height // checkpoint.patch_size, width // checkpoint.patch_size


def _check_query(query: Any, preprocessing: Preprocessing, checkpoint: Checkpoint) -> Query:
    """Check a query as far as can be before an image's grid is known."""
    query = check_query(query)
    grid = _fixed_grid(preprocessing, checkpoint)
    if grid is not None or not isinstance(query, tuple):
        has_cls = checkpoint.layout.cls == "token"
        query_token(query, checkpoint.n_registers, grid or (1, 1), has_cls=has_cls)
    return query


def _unequal_grids(image: Any, position: int, first: tuple, other: tuple) -> str:
    name = repr(image) if isinstance(image, str) else f"image {position}"
    grids = [f"{rows} x {columns}" for rows, columns in (first, other)]
    return (
        f"With whole images (keep_aspect=True) the rows would differ in length: the first image "
        f"has a grid of {grids[0]} patches, {name} one of {grids[1]}. Use inspect(image) for each "
        "image, or keep_aspect=False."
    )
