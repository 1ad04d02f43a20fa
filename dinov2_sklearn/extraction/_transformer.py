"""Image paths to embeddings, as a scikit-learn transformer."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cache as once
from itertools import islice
from numbers import Integral
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from .._progress import progress_bar
from .._sklearn_compat import StrOptions, fit_context
from ..backbone import BackboneMixin, Checkpoint
from ..images import ImageDecodeError, Preprocessing, check_images
from ..images.reading import ImageReader, map_ahead
from ._cache import CacheSession

if TYPE_CHECKING:
    import torch

    from ..backbone.forward import Tokens

__all__ = ["DINOv2Transformer"]


class DINOv2Transformer(BackboneMixin, TransformerMixin, BaseEstimator):
    """Embed images with a DINOv2 Vision Transformer.

    The transformer is stateless: `fit` only checks its arguments, and the model lives in a cache
    of the process, so that clones share it and a pickle of the estimator is a few hundred bytes.

    Parameters
    ----------
    model_name : str, default="facebook/dinov2-base"
        The checkpoint: a short name ("small", "base", "large", "giant", or one of these with
        "-with-registers"), a hub id, a local folder, or "offline" for weights that come from a
        package (see the README).
    revision : str, default=None
        Branch, tag or commit of a hub checkpoint.
    layer : int or tuple of int, default=-1
        The block, or blocks, whose tokens are taken, counted from 0, or from the end if negative.
        The embeddings of several blocks are concatenated. The model's final LayerNorm is applied.
    pooling : {"cls", "mean", "cls_mean"}, default="cls"
        The CLS token, the mean of the patch tokens, or both, concatenated.
    scales : tuple of float, default=(1.0,)
        Image sizes relative to the base size, each rounded to a multiple of the patch. The
        embeddings of several scales are concatenated.
    image_size : int, default=None
        Edge in pixels of the square that the model sees, rounded to a multiple of the patch. None
        means the checkpoint's own size, 224 for the published ones.
    normalize : bool, default=False
        Whether embeddings are scaled to unit Euclidean norm.
    device : str, default="auto"
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1" or "mps". Where the named kind of
        device is absent, the CPU is used with a warning.
    dtype : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Precision of the model. "auto" is bfloat16 where the hardware computes in it natively,
        else float32. Embeddings are float32 in any case.
    batch_size : int, default=32
        Images in one forward pass. Halved, with a warning, when memory runs out.
    num_workers : int, default=4
        Threads that decode and preprocess ahead of the model; 0 does it in the calling thread.
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
    verbose : bool, default=False
        Whether to show a progress bar.

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
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 32,
        num_workers: int = 4,
        embedding_cache: str | PathLike[str] | None = None,
        on_error: str = "raise",
        exact_decode: bool = False,
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
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def transform(self, X: Any) -> np.ndarray:
        """Compute the embeddings of X.

        Parameters
        ----------
        X : sequence, array, Series or one-column DataFrame of length n
            Image paths, PIL images, or uint8 arrays of shape (height, width, 3).

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
        """
        images = check_images(X, estimator_name=type(self).__name__)
        checkpoint = self._checkpoint()
        with self._open_cache(checkpoint) as cache:
            keys = cache.identify(images, self.num_workers)
            first, positions = _distinct(keys)
            distinct = [images[i] for i in first]
            rows, errors = self._embed(checkpoint, distinct, [keys[i] for i in first], cache)
        if errors:
            _warn_of_failures(errors, images, positions)
        return rows[positions]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
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
        n_outputs = self._n_outputs(self._checkpoint())
        prefix = type(self).__name__.lower()
        return np.array([f"{prefix}{i}" for i in range(n_outputs)], dtype=object)

    def _checkpoint(self) -> Checkpoint:
        """Find the checkpoint, and check that it has the layers and that the sizes are sizes."""
        checkpoint = super()._checkpoint()
        self._blocks(checkpoint)
        self._preprocessings(checkpoint)
        return checkpoint

    def _blocks(self, checkpoint: Checkpoint) -> list[int]:
        layers = list(self.layer) if isinstance(self.layer, (tuple, list)) else [self.layer]
        if not layers or not all(isinstance(layer, Integral) for layer in layers):
            raise ValueError(f"layer must be an int or a tuple of ints, got {self.layer!r}.")
        return [checkpoint.block_index(int(layer)) for layer in layers]

    def _n_outputs(self, checkpoint: Checkpoint) -> int:
        pooled = 2 if self.pooling == "cls_mean" else 1
        return checkpoint.dim * pooled * len(self._blocks(checkpoint)) * len(self.scales)

    def _preprocessings(self, checkpoint: Checkpoint) -> list[Preprocessing]:
        base = checkpoint.preprocessing
        if not self.scales or not all(scale > 0 for scale in self.scales):
            raise ValueError(f"scales must be one or more positive numbers, got {self.scales!r}.")
        if self.image_size is not None:
            base = base.with_image_size(self.image_size, checkpoint.patch_size)
        return [
            base if scale == 1 else base.scaled(scale, checkpoint.patch_size)
            for scale in self.scales
        ]

    def _open_cache(self, checkpoint: Checkpoint) -> CacheSession:
        if self.embedding_cache is None:
            return CacheSession(None)
        from ..backbone.loading import resolve_device, resolve_dtype

        settings = {
            "version": 1,
            "preprocessing": [asdict(recipe) for recipe in self._preprocessings(checkpoint)],
            "exact_decode": self.exact_decode,
            "blocks": self._blocks(checkpoint),
            "pooling": self.pooling,
            "normalize": self.normalize,
            "dtype": str(resolve_dtype(self.dtype, resolve_device(self.device))),
        }
        return CacheSession(self.embedding_cache, settings, [*map(str, checkpoint.files())])

    def _embed(
        self, checkpoint: Checkpoint, images: list, keys: list, cache: CacheSession
    ) -> tuple[np.ndarray, dict[int, ImageDecodeError]]:
        """Embed distinct images; rows of those that failed are NaN and their errors returned."""
        rows = np.full((len(images), self._n_outputs(checkpoint)), np.nan, dtype=np.float32)
        found = cache.find(keys)
        for index, row in found.items():
            rows[index] = row
        todo = [index for index in range(len(images)) if index not in found]
        errors: dict[int, ImageDecodeError] = {}
        reader = ImageReader(self._preprocessings(checkpoint), exact_decode=self.exact_decode)
        # Made by the first batch: where all is found, no model is loaded.
        get_forward = once(lambda: self._make_forward(checkpoint))
        decoded = map_ahead(
            reader,
            [images[index] for index in todo],
            num_workers=self.num_workers,
            ahead=2 * self.batch_size,
        )
        with progress_bar(len(images), "Embedding", "img", shown=bool(self.verbose)) as bar:
            bar.update(len(found))
            readable = self._decoded_images(zip(todo, decoded, strict=True), errors)
            while batch := list(islice(readable, self.batch_size)):
                indices = [index for index, _ in batch]
                rows[indices] = get_forward()([arrays for _, arrays in batch])
                cache.store((images[index], keys[index], rows[index]) for index in indices)
                bar.update(len(batch))
        return rows, errors

    def _decoded_images(
        self, decoded: Iterator, errors: dict[int, ImageDecodeError]
    ) -> Iterator[tuple[int, list[np.ndarray]]]:
        for index, result in decoded:
            if not isinstance(result, ImageDecodeError):
                yield index, result
            elif self.on_error == "nan":
                errors[index] = result
            else:
                raise result

    def _make_forward(
        self, checkpoint: Checkpoint
    ) -> Callable[[Sequence[list[np.ndarray]]], np.ndarray]:
        """Load the model and return the function from a batch of images to its embeddings."""
        import torch

        from ..backbone.forward import BatchRunner, forward_tokens

        backbone = self._load(checkpoint)
        blocks = self._blocks(checkpoint)

        def pooled(pixels: torch.Tensor) -> torch.Tensor:
            tokens = forward_tokens(backbone, pixels, blocks)
            return torch.cat([self._pool(tokens[block]) for block in blocks], dim=1).float().cpu()

        run = BatchRunner(pooled, self.batch_size)

        def forward(images: Sequence[list[np.ndarray]]) -> np.ndarray:
            scales = [torch.from_numpy(np.stack(arrays)) for arrays in zip(*images, strict=True)]
            embeddings = torch.cat([run(pixels) for pixels in scales], dim=1)
            if self.normalize:
                embeddings = torch.nn.functional.normalize(embeddings, dim=1)
            return embeddings.numpy()

        return forward

    def _pool(self, tokens: "Tokens") -> "torch.Tensor":
        if self.pooling == "cls":
            return tokens.cls
        # The mean is taken in float32: in bfloat16 a sum of 256 tokens loses half its digits.
        mean = tokens.patches.float().mean(dim=1)
        if self.pooling == "mean":
            return mean
        import torch

        return torch.cat([tokens.cls.float(), mean], dim=1)


def _distinct(keys: list) -> tuple[list[int], np.ndarray]:
    """Return the first position of each key, and each position's place among those.

    Images in memory have the key None and are all distinct.
    """
    places: dict[Any, int] = {}
    first: list[int] = []
    positions = np.empty(len(keys), dtype=np.intp)
    for i, key in enumerate(keys):
        place = places.setdefault(key, len(first)) if key is not None else len(first)
        if place == len(first):
            first.append(i)
        positions[i] = place
    return first, positions


def _warn_of_failures(
    errors: dict[int, ImageDecodeError], images: list, positions: np.ndarray, shown: int = 10
) -> None:
    failed = [int(place) for place in positions if int(place) in errors]
    causes = [f"  {errors[place]}" for place in dict.fromkeys(failed)]
    if len(causes) > shown:
        causes[shown:] = [f"  ... and {len(causes) - shown} more"]
    warnings.warn(
        f"{len(failed)} of {len(images)} images could not be decoded; their rows are NaN:\n"
        + "\n".join(causes),
        UserWarning,
        stacklevel=5,
    )
