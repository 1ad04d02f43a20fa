"""PatchAttentionInspector: images to the attention of a Vision Transformer."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin

from .._figures import check_extension
from .._sklearn_compat import StrOptions, fit_context
from ..backbone import BackboneMixin, Checkpoint
from ..images import ImageDecodeError, Preprocessing, check_images, load_image
from ..images.reading import ImageReader, map_ahead
from ._display import AttentionDisplay
from ._maps import AttentionMaps, head_index, reduce_heads

__all__ = ["PatchAttentionInspector"]


class PatchAttentionInspector(BackboneMixin, TransformerMixin, BaseEstimator):
    """See where in an image a DINOv2 Vision Transformer looks.

    What it gives is the attention of the CLS token over the patches: its softmax weights as the
    model computes them, over all tokens, of which the columns of the patches are kept. Like
    `DINOv2Transformer` it is stateless.

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

    See Also
    --------
    AttentionDisplay : Draws the attention of one or several images.
    DINOv2Transformer : Turns images into embeddings.

    Notes
    -----
    Cost is one forward pass as far as the last block asked for; the attention itself adds one row
    of ``grid_h * grid_w`` products a head. The model runs its fast attention kernel throughout.
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
    """

    _parameter_constraints: dict = {
        **BackboneMixin._parameter_constraints,
        "layer": [Integral],
        "head": [Integral, None],
        "head_reduction": [StrOptions({"mean", "max", "min"})],
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
        self.image_size = image_size
        self.keep_aspect = keep_aspect
        self.device = device
        self.dtype = dtype
        self.batch_size = batch_size
        self.num_workers = num_workers

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
        MemoryError
            If a single image does not fit into memory.
        """
        images = check_images(X, estimator_name=type(self).__name__)
        checkpoint = self._checkpoint()
        self._warn_if_rounded(checkpoint, stacklevel=5)
        forward = self._make_forward(checkpoint)
        pixels = self._read(images, self._preprocessing(checkpoint), checkpoint.patch_size)
        rows = []
        while batch := list(islice(pixels, self.batch_size)):
            rows.append(reduce_heads(forward(batch), self.head, self.head_reduction, axis=1))
        return np.concatenate(rows)

    @fit_context(prefer_skip_nested_validation=True)
    def inspect(
        self,
        image: str | os.PathLike | Image.Image | np.ndarray,
        layers: int | Sequence[int] | None = None,
    ) -> AttentionMaps:
        """Look into one image: the attention of every head, and the patch tokens.

        Parameters
        ----------
        image : str, PathLike, PIL.Image.Image or ndarray
            A path, a PIL image, or a uint8 array of shape (height, width, 3).
        layers : int or sequence of int, default=None
            The blocks whose attention is wanted, negative from the end. None means all of them.

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
        """
        (image,) = check_images([image], estimator_name=f"{type(self).__name__}.inspect")
        checkpoint = self._checkpoint()
        blocks = _blocks(layers, checkpoint)
        self._warn_if_rounded(checkpoint, stacklevel=4)
        preprocessing = self._preprocessing(checkpoint)
        rgb = load_image(image, min_size=preprocessing.min_size, exact=False)
        pixels = preprocessing(rgb)[None]

        import torch

        from ._maths import attention_and_tokens

        attention, tokens = attention_and_tokens(
            self._load(checkpoint),
            torch.from_numpy(pixels),
            blocks,
            token_block=checkpoint.block_index(int(self.layer)),
        )
        return AttentionMaps(
            attention=attention[0].cpu().numpy(),
            layers=tuple(blocks),
            patch_tokens=tokens[0].cpu().numpy(),
            image=preprocessing.to_display(rgb),
        )

    def visualize_attention(
        self,
        image_path: str | os.PathLike | Image.Image | np.ndarray,
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
        AttentionDisplay : Other drawings, of several images or of each head.
        """
        check_extension(output_path)
        maps = self.inspect(image_path, layers=layer)
        display = AttentionDisplay([maps.image], [maps.attention[0]])
        display.plot(head=head, head_reduction=self.head_reduction).save(output_path)

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
        preprocessing = self._preprocessing(checkpoint)
        if preprocessing.multiple is not None:
            raise ValueError(
                "With whole images (keep_aspect=True) the columns depend on the images, and have "
                "no names."
            )
        rows, columns = (edge // checkpoint.patch_size for edge in preprocessing.base_size)
        prefix = type(self).__name__.lower()
        return np.array(
            [f"{prefix}_{row}_{column}" for row in range(rows) for column in range(columns)],
            dtype=object,
        )

    def _checkpoint(self) -> Checkpoint:
        """Find the checkpoint, and check that it has the layer and the head."""
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
        return checkpoint

    def _preprocessing(self, checkpoint: Checkpoint) -> Preprocessing:
        """Return the checkpoint's recipe, at the size asked for and in whole patches."""
        recipe, patch = checkpoint.preprocessing, checkpoint.patch_size
        if self.image_size is not None:
            recipe = recipe.with_image_size(int(self.image_size), patch)
        elif _is_rounded(recipe.base_size, patch):
            recipe = recipe.scaled(1.0, patch)
        # A recipe without a crop asks for whole images too, but not for whole patches.
        whole = recipe.crop is None and not isinstance(recipe.resize, tuple)
        return recipe.keep_aspect(patch) if self.keep_aspect or whole else recipe

    def _warn_if_rounded(self, checkpoint: Checkpoint, stacklevel: int) -> None:
        patch = checkpoint.patch_size
        if self.image_size is not None:
            asked, what = (int(self.image_size),) * 2, f"image_size={self.image_size}"
        else:
            asked = checkpoint.preprocessing.base_size
            what = f"The checkpoint's own image size {asked[0]} x {asked[1]}"
        if _is_rounded(asked, patch):
            height, width = self._preprocessing(checkpoint).base_size
            warnings.warn(
                f"{what} is not a multiple of the model's patch of {patch} pixels; "
                f"{height} x {width} is used.",
                UserWarning,
                stacklevel=stacklevel,
            )

    def _read(
        self, images: list, preprocessing: Preprocessing, patch: int
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the pixel values of the images, all of one shape."""
        reader = ImageReader([preprocessing], exact_decode=False)
        ahead = 2 * self.batch_size
        shape: tuple[int, ...] | None = None
        decoded = map_ahead(reader, images, num_workers=self.num_workers, ahead=ahead)
        for position, result in enumerate(decoded):
            if isinstance(result, ImageDecodeError):
                raise result
            (pixels,) = result
            shape = shape or pixels.shape
            if pixels.shape != shape:
                raise ValueError(_unequal_grids(images, position, shape, pixels.shape, patch))
            yield pixels

    def _make_forward(
        self, checkpoint: Checkpoint
    ) -> Callable[[list[NDArray[np.float32]]], NDArray[np.float32]]:
        """Load the model and return the function from pixel values to (batch, heads, patches)."""
        import torch

        from ..backbone.forward import BatchRunner
        from ._maths import attention_and_tokens

        backbone = self._load(checkpoint)
        block = checkpoint.block_index(int(self.layer))

        def attention(pixels: torch.Tensor) -> torch.Tensor:
            maps, _ = attention_and_tokens(backbone, pixels, [block], block)
            return maps[:, 0].flatten(2).cpu()

        run = BatchRunner(attention, self.batch_size)
        return lambda batch: run(torch.from_numpy(np.stack(batch))).numpy()


def _blocks(layers: int | Sequence[int] | None, checkpoint: Checkpoint) -> list[int]:
    if layers is None:
        return list(range(checkpoint.depth))
    chosen: list = [layers] if isinstance(layers, Integral) else list(layers)  # type: ignore[arg-type]
    if not chosen or not all(isinstance(layer, Integral) for layer in chosen):
        raise ValueError(
            f"layers must be an int, a sequence of one or more ints, or None, got {layers!r}."
        )
    return [checkpoint.block_index(int(layer), "layers") for layer in chosen]


def _is_rounded(size: tuple[int, ...], patch: int) -> bool:
    return any(edge % patch for edge in size)


def _unequal_grids(
    images: list, position: int, first: tuple[int, ...], other: tuple[int, ...], patch: int
) -> str:
    name = repr(images[position]) if isinstance(images[position], str) else f"image {position}"
    grids = [f"{shape[1] // patch} x {shape[2] // patch}" for shape in (first, other)]
    return (
        f"With whole images (keep_aspect=True) the rows would differ in length: the first image "
        f"has a grid of {grids[0]} patches, {name} one of {grids[1]}. Use inspect(image) for each "
        "image, or keep_aspect=False."
    )
