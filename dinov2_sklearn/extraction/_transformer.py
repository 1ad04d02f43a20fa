"""Image paths to embeddings, as a scikit-learn transformer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from os import PathLike
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from ..backbone import BackboneMixin, Checkpoint
from ..images import (
    ImageDecodeError,
    Preprocessing,
    check_images,
    warn_of_failures,
)
from ..utils import Progress, StrOptions, VersionedMixin, fit_context
from ._embedder import Recipe
from ._extraction import Extraction

__all__ = ["DINOv2Transformer"]

# Beside the estimators and not in them, since `transform` changes nothing in its estimator.
_ERRORS: WeakKeyDictionary[Any, dict[int, ImageDecodeError]] = WeakKeyDictionary()


class DINOv2Transformer(VersionedMixin, BackboneMixin, TransformerMixin, BaseEstimator):
    """Embed images with a DINOv2 Vision Transformer.

    The transformer is stateless: `fit` only checks its arguments, and the model lives in a cache
    of the process, so that clones share it and a pickle of the estimator is a few hundred bytes.

    Parameters
    ----------
    model_name : str, default="facebook/dinov2-base"
        The checkpoint: a short name ("small", "base", "large", "giant", or one of these with
        "-with-registers"), a hub id of any Vision Transformer, "timm/..." included, a local folder,
        a ``.pth`` file of the DINOv2 repository, or "offline" for weights that come from a package.
    revision : str, default=None
        Branch, tag or commit of a hub checkpoint.
    layer : int or tuple of int, default=-1
        The block, or blocks, whose tokens are taken, counted from 0, or from the end if negative.
        The embeddings of several blocks are concatenated. The model's final LayerNorm is applied.
    pooling : {"cls", "mean", "cls_mean"}, default="cls"
        The CLS token, the mean of the patch tokens, or both, concatenated. Of SigLIP "cls" is its
        own pooling head's, of a ConvNeXt the mean of its last map; I-JEPA has none.
    scales : tuple of float, default=(1.0,)
        Image sizes relative to the base size, each rounded to a multiple of the patch. The
        embeddings of several scales are concatenated.
    image_size : int, default=None
        Edge in pixels of the square that the model sees, rounded to a multiple of the patch. None
        means the checkpoint's own size, 224 for the published ones.
    normalize : bool, default=False
        Whether embeddings are scaled to unit Euclidean norm.
    device : str or list of str, default="auto"
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1" or "mps". Where the named kind of
        device is absent, the CPU is used with a warning. Several devices, as in
        ``["cuda:0", "cuda:1"]``, share the work in a process each.
    dtype : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Precision of the model. "auto" is bfloat16 where the hardware computes in it natively,
        else float32. Embeddings are float32 in any case.
    batch_size : int, default=32
        Images in one forward pass. Halved, with a warning, when memory runs out. On a CPU a batch
        is worked off a few images at a time, which is faster there.
    num_workers : int, default=4
        Threads that decode and preprocess ahead of the model, for each device; 0 does it in the
        calling thread.
    embedding_cache : str or PathLike, default=None
        A folder in which the embeddings of files are kept, and looked up before an image is
        decoded. It is made if it does not exist, and may be shared by several processes, models
        and settings. A changed file is embedded anew, a renamed one is not. Images that are not
        files are not kept. See `EmbeddingCache` for its size and for clearing it.
    on_error : {"raise", "nan"}, default="raise"
        What an image that cannot be decoded leads to: an error that names it, or a row of NaN and
        one warning that lists such images.
    exact_decode : bool, default=False
        Whether large JPEGs are decoded in full. By default they are decoded at a reduced size, no
        less than twice what the model needs, which is several times faster.
    crop_mode : {"center", "pad", "squash"}, default="center"
        What the model sees of a picture that is no square: the checkpoint's own crop around its
        middle, the whole picture between borders of the mean colour, or the whole picture with
        both edges scaled alone. Where the crop hides more than a third of most pictures, a warning
        says so.
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
    verbose : bool, default=False
        Whether to show a progress bar.

    Attributes
    ----------
    errors_ : dict of int to ImageDecodeError
        Of the last `transform` or `fit_transform`, the images that could not be decoded, by their
        position in X. Copies and pickles have none.

    See Also
    --------
    UMAPProjector : Turns embeddings into a map.
    DiversitySampler : Picks a diverse subset of embeddings.
    dinov2_sklearn.list_images : Finds the images in a folder.

    Notes
    -----
    Cost is one forward pass of the model for each distinct image and scale. Equal paths are
    computed once. Memory holds a few batches of preprocessed images beside the model and the
    result.

    References
    ----------
    .. [1] M. Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023,
       https://arxiv.org/abs/2304.07193
    .. [2] T. Darcet et al., "Vision Transformers Need Registers", 2023,
       https://arxiv.org/abs/2309.16588

    Examples
    --------
    >>> from dinov2_sklearn import DINOv2Transformer, list_images
    >>> embed = DINOv2Transformer("offline")
    >>> embed.fit_transform(list_images("photos/"))  # doctest: +SKIP
    array([[...]], dtype=float32)
    """

    _parameter_constraints: dict = {
        **BackboneMixin._parameter_constraints,
        "layer": [Integral, tuple, list],
        "pooling": [StrOptions({"cls", "mean", "cls_mean"})],
        "scales": [tuple, list],
        "normalize": ["boolean"],
        "device": [str, list, tuple],
        "embedding_cache": [str, PathLike, None],
        "on_error": [StrOptions({"raise", "nan"})],
        "exact_decode": ["boolean"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        model_name: str = "facebook/dinov2-base",
        *,
        revision: str | None = None,
        layer: int | tuple[int, ...] = -1,
        pooling: str = "cls",
        scales: tuple[float, ...] = (1.0,),
        image_size: int | None = None,
        normalize: bool = False,
        device: str | Sequence[str] = "auto",
        dtype: str = "auto",
        batch_size: int = 32,
        num_workers: int = 4,
        embedding_cache: str | PathLike[str] | None = None,
        on_error: str = "raise",
        exact_decode: bool = False,
        crop_mode: str = "center",
        bands: tuple[int, ...] | None = None,
        value_range: str | tuple[float, float] = "auto",
        max_pixels: int | None = 178_956_970,
        truncated: str = "refuse",
        storage_options: Mapping[str, Any] | None = None,
        verbose: bool = False,
    ) -> None:
        self.model_name = model_name
        self.revision = revision
        self.layer = layer
        self.pooling = pooling
        self.scales = scales
        self.image_size = image_size
        self.normalize = normalize
        self.device = device
        self.dtype = dtype
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.embedding_cache = embedding_cache
        self.on_error = on_error
        self.exact_decode = exact_decode
        self.crop_mode = crop_mode
        self.bands = bands
        self.value_range = value_range
        self.max_pixels = max_pixels
        self.truncated = truncated
        self.storage_options = storage_options
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters, the form of X, and that the checkpoint is there.

        Parameters
        ----------
        X : sequence, array, Series or one-column DataFrame of length n
            Image paths, encoded bytes, PIL images, or arrays of shape (height, width, bands).
        y : object, default=None
            Ignored.

        Returns
        -------
        self : DINOv2Transformer
            The same object.

        Raises
        ------
        ValueError, TypeError
            For a parameter out of range, a bare path, an empty X or one that holds no images.
        CheckpointError
            If the checkpoint cannot be found.
        """
        check_images(X, estimator_name=type(self).__name__)
        self._device_names()
        self._recipe(self._checkpoint())
        with Progress(0, "Checking", "img", shown=False, fitting=self):
            return self

    @fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:
        """Compute the embeddings of X: the same as `transform`, which needs no `fit`.

        Parameters
        ----------
        X, y : object
            As in `fit`.

        Returns
        -------
        ndarray of shape (n, n_outputs), dtype float32
            See `transform`.
        """
        return self._embed(X, fitting=self)

    @fit_context(prefer_skip_nested_validation=True)
    def transform(self, X: Any) -> NDArray[np.float32]:
        """Compute the embeddings of X.

        Parameters
        ----------
        X : sequence, array, Series or one-column DataFrame of length n
            Image paths, encoded bytes, PIL images, or arrays of shape (height, width, bands).

        Returns
        -------
        ndarray of shape (n, n_outputs), dtype float32
            One row an image, in the order of X. ``n_outputs`` is the model's dimension times the
            number of layers, of scales, and 2 for ``pooling="cls_mean"``. Layers vary fastest
            after the pooled tokens, scales slowest.

        Raises
        ------
        ImageDecodeError
            If an image cannot be decoded and ``on_error="raise"``.
        MemoryError
            If a single image does not fit into memory.
        RuntimeError
            If the worker process of one of several devices dies.
        """
        return self._embed(X)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Name the embeddings' columns.

        Parameters
        ----------
        input_features : object, default=None
            Ignored: the input is images.

        Returns
        -------
        ndarray of str
            ``dinov2transformer0``, ``dinov2transformer1``, ...
        """
        n_outputs = self._recipe(self._checkpoint()).n_outputs
        prefix = type(self).__name__.lower()
        return np.array([f"{prefix}{i}" for i in range(n_outputs)], dtype=object)

    @property
    def errors_(self) -> dict[int, ImageDecodeError]:
        """Why images of the last `transform` have no embedding, by their position."""
        if self not in _ERRORS:
            raise AttributeError("There are no errors_ before transform.")
        return dict(sorted(_ERRORS[self].items()))

    def _embed(self, X: Any, fitting: Any = None) -> NDArray[np.float32]:
        images = check_images(X, estimator_name=type(self).__name__)
        extraction = self._extraction()
        rows = np.full((len(images), extraction.recipe.n_outputs), np.nan, dtype=np.float32)
        errors: dict[int, ImageDecodeError] = {}
        _ERRORS[self] = errors
        progress = Progress(len(images), "Embedding", "img", shown=self.verbose, fitting=fitting)
        with extraction, progress:
            for batch in extraction.embed(images):
                rows[batch.positions] = batch.rows
                errors |= batch.errors
                progress.update(batch.n_images)
        if errors:
            warn_of_failures(
                (errors[position] for position in sorted(errors)),
                f"{len(errors)} of {len(images)} images could not be decoded; their rows are NaN, "
                "and errors_ lists them all",
            )
        return rows

    @fit_context(prefer_skip_nested_validation=True)
    def _extraction(self) -> Extraction:
        """Check the parameters, and return what embeds images with them, once it is entered."""
        from ..backbone._loading import resolve_devices, resolve_dtype

        checkpoint = self._checkpoint()
        devices = resolve_devices(self._device_names())
        dtypes = {resolve_dtype(self.dtype, device) for device in devices}
        if len(dtypes) > 1:
            raise ValueError(
                f"dtype='auto' means different precisions on the devices {self.device!r}. Name "
                "one, such as dtype='float32'."
            )
        return Extraction(
            self._recipe(checkpoint, dtypes.pop()),
            devices,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            cache_folder=self.embedding_cache,
            on_error=self.on_error,
        )

    def _recipe(self, checkpoint: Checkpoint, dtype: Any = None) -> Recipe:
        """Hold the parameters to the checkpoint; the dtype is for who computes with it."""
        if self.pooling != "mean" and checkpoint.layout.cls == "none":
            raise ValueError(
                f"{self.model_name!r} has no CLS token, and so no pooling={self.pooling!r}. Set "
                "pooling='mean'."
            )
        return Recipe(
            checkpoint=checkpoint,
            preprocessings=tuple(self._preprocessings(checkpoint)),
            blocks=tuple(self._blocks(checkpoint)),
            pooling=self.pooling,
            normalize=bool(self.normalize),
            exact_decode=bool(self.exact_decode),
            dtype=dtype,
            decoding=self._decoding(),
        )

    def _blocks(self, checkpoint: Checkpoint) -> list[int]:
        layers = list(self.layer) if isinstance(self.layer, (tuple, list)) else [self.layer]
        if not layers or not all(isinstance(layer, Integral) for layer in layers):
            raise ValueError(f"layer must be an int or a tuple of ints, got {self.layer!r}.")
        return [checkpoint.block_index(int(layer)) for layer in layers]

    def _preprocessings(self, checkpoint: Checkpoint) -> list[Preprocessing]:
        base = replace(checkpoint.preprocessing, crop_mode=self.crop_mode)
        if not self.scales or not all(map(_is_scale, self.scales)):
            raise ValueError(f"scales must be one or more positive numbers, got {self.scales!r}.")
        if self.image_size is not None:
            base = base.with_image_size(self.image_size, checkpoint.patch_size)
        return [
            base if scale == 1 else base.scaled(scale, checkpoint.patch_size)
            for scale in self.scales
        ]

    def _device_names(self) -> list[str]:
        names = [self.device] if isinstance(self.device, str) else list(self.device)
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"device must be a name such as 'cuda:0', or a list of names, got {self.device!r}."
            )
        return names


def _is_scale(scale: Any) -> bool:
    return isinstance(scale, Real) and 0 < float(scale) < np.inf
