"""One device's work: decode images ahead, run the model, pool its tokens."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..backbone import Checkpoint
from ..images import ImageDecodeError, ImageReader, Preprocessing, map_ahead

if TYPE_CHECKING:
    import torch

    from ..backbone._forward import BatchRunner, Tokens

__all__ = ["Batch", "Recipe", "embed_images"]

# On a CPU, tokens whose channels take about this many bytes each are worked off at once, however
# large batch_size is: 1600 of float32, 3200 of bfloat16. The activations of more do not stay in its
# caches (benchmarks/extraction.py shows the effect).
_CPU_BYTES_A_CHANNEL = 6400
# Fewer tokens than these are multiplied in another order of summation there, and what bfloat16
# rounds then comes out otherwise (seen below some 760, on a Xeon with AMX, oneDNN of torch 2.13).
_CPU_LEAST_TOKENS = 1024


@dataclass(frozen=True)
class Recipe:
    """What an embedding is: all that it depends on but the image, as data that can be pickled.

    Attributes
    ----------
    checkpoint : Checkpoint
        The model.
    preprocessings : tuple of Preprocessing
        One for each scale.
    blocks : tuple of int
        Indices from 0 of the blocks whose tokens are taken.
    pooling : {"cls", "mean", "cls_mean"}
        What is made of the tokens.
    normalize : bool
        Whether embeddings have unit Euclidean norm.
    exact_decode : bool
        Whether large JPEGs are decoded in full.
    dtype : torch.dtype
        Precision of the model.
    """

    checkpoint: Checkpoint
    preprocessings: tuple[Preprocessing, ...]
    blocks: tuple[int, ...]
    pooling: str
    normalize: bool
    exact_decode: bool
    dtype: "torch.dtype"

    @property
    def n_outputs(self) -> int:
        """Length of an embedding."""
        pooled = 2 if self.pooling == "cls_mean" else 1
        return self.checkpoint.dim * pooled * len(self.blocks) * len(self.preprocessings)

    def settings(self) -> dict[str, Any]:
        """Return all but the checkpoint, which counts by its files, as data that JSON can hold."""
        return {
            "version": 1,
            "preprocessing": [asdict(preprocessing) for preprocessing in self.preprocessings],
            "exact_decode": self.exact_decode,
            "blocks": list(self.blocks),
            "pooling": self.pooling,
            "normalize": self.normalize,
            "dtype": str(self.dtype),
        }


class Batch(NamedTuple):
    """Some images' embeddings, and why others have none.

    Attributes
    ----------
    positions : list of int
        Which of the images the rows belong to.
    rows : ndarray of shape (len(positions), n_outputs), float32
        Their embeddings.
    errors : dict of int to ImageDecodeError
        The images that could not be decoded.
    """

    positions: list[int]
    rows: np.ndarray
    errors: dict[int, ImageDecodeError]


@dataclass
class _Decoded:
    positions: list[int] = field(default_factory=list)
    images: list[list[np.ndarray]] = field(default_factory=list)
    errors: dict[int, ImageDecodeError] = field(default_factory=dict)


def embed_images(
    recipe: Recipe, images: Sequence[Any], device: "torch.device", batch_size: int, num_workers: int
) -> Iterator[Batch]:
    """Embed images on one device.

    Parameters
    ----------
    recipe : Recipe
        What to compute.
    images : sequence
        Paths, PIL images or arrays.
    device : torch.device
        Where the model runs.
    batch_size : int
        Images in one forward pass, at most.
    num_workers : int
        Threads that decode ahead of the model.

    Yields
    ------
    Batch
        In the order of the images. The model is loaded by the first.

    Raises
    ------
    CheckpointError
        If the weights cannot be loaded.
    MemoryError
        If a single image does not fit into memory.
    """
    reader = ImageReader(recipe.preprocessings, exact_decode=recipe.exact_decode)
    decoded = map_ahead(reader, images, num_workers=num_workers, ahead=2 * batch_size)
    # A GPU computes while the next batch is put together, so that its result is fetched one batch
    # late; on a CPU nothing is gained, and what is finished is handed over at once.
    n_late = 1 if device.type == "cuda" else 0
    forward: _Forward | None = None
    launched: deque[tuple[_Decoded, torch.Tensor | None]] = deque()
    for batch in _batches(decoded, batch_size):
        if batch.images and forward is None:
            forward = _Forward(recipe, device, batch_size)
        launched.append((batch, forward(batch.images) if forward and batch.images else None))
        while len(launched) > n_late:
            yield _fetch(*launched.popleft(), recipe.n_outputs)
    while launched:
        yield _fetch(*launched.popleft(), recipe.n_outputs)


def _batches(decoded: Iterator[Any], batch_size: int) -> Iterator[_Decoded]:
    """Collect `batch_size` readable images at a time, with the failures among them."""
    batch = _Decoded()
    for position, result in enumerate(decoded):
        if isinstance(result, ImageDecodeError):
            batch.errors[position] = result
        else:
            batch.positions.append(position)
            batch.images.append(result)
        if len(batch.positions) == batch_size:
            yield batch
            batch = _Decoded()
    if batch.positions or batch.errors:
        yield batch


def _fetch(batch: _Decoded, result: "torch.Tensor | None", n_outputs: int) -> Batch:
    empty = np.empty((0, n_outputs), dtype=np.float32)
    rows = empty if result is None else result.cpu().numpy()
    return Batch(batch.positions, rows, batch.errors)


class _Forward:
    """From a batch of preprocessed images to its embeddings, still on the device."""

    def __init__(self, recipe: Recipe, device: "torch.device", batch_size: int) -> None:
        from ..backbone._loading import load_backbone

        self.recipe = recipe
        self.backbone = load_backbone(recipe.checkpoint, device, recipe.dtype)
        self.batch_size = batch_size
        self.runners: list[BatchRunner] = []

    def __call__(self, images: Sequence[list[np.ndarray]]) -> "torch.Tensor":
        import torch

        from ..backbone._forward import BatchRunner

        scales = [self._stack(pixels) for pixels in zip(*images, strict=True)]
        if not self.runners:
            self.runners = [BatchRunner(self._embed, self._images_at_once(s)) for s in scales]
        runs = zip(self.runners, scales, strict=True)
        parts = [run(self._padded(pixels, run.batch_size))[: len(images)] for run, pixels in runs]
        embeddings = torch.cat(parts, dim=1)
        if self.recipe.normalize:
            embeddings = torch.nn.functional.normalize(embeddings, dim=1)
        return embeddings

    def _images_at_once(self, pixels: "torch.Tensor") -> int:
        if self.backbone.device.type != "cpu":
            return self.batch_size
        n_bytes = self._n_tokens(pixels) * self.recipe.dtype.itemsize
        return min(self.batch_size, max(1, _CPU_BYTES_A_CHANNEL // n_bytes))

    def _padded(self, pixels: "torch.Tensor", images_at_once: int) -> "torch.Tensor":
        """Repeat an image where few would be left over, so that no row depends on their number."""
        n_left = len(pixels) % images_at_once
        if n_left == 0 or self.backbone.device.type != "cpu" or self.recipe.dtype.itemsize == 4:
            return pixels
        n_least = min(images_at_once, -(-_CPU_LEAST_TOKENS // self._n_tokens(pixels)))
        return pixels[[*range(len(pixels)), *[0] * (n_least - n_left)]]

    def _n_tokens(self, pixels: "torch.Tensor") -> int:
        height, width = pixels.shape[-2:]
        return max(1, height * width // self.recipe.checkpoint.patch_size**2)

    def _stack(self, pixels: Sequence[np.ndarray]) -> "torch.Tensor":
        import torch

        shapes = {array.shape for array in pixels}
        if len(shapes) > 1:
            raise ValueError(
                "The checkpoint's preprocessing does not crop images to one size, and those of "
                f"one batch have the shapes {sorted(shapes)}. Set batch_size=1."
            )
        stacked = torch.from_numpy(np.stack(pixels))
        # Only from pinned memory does a copy to the GPU run beside its work.
        return stacked.pin_memory() if self.backbone.device.type == "cuda" else stacked

    def _embed(self, pixels: "torch.Tensor") -> "torch.Tensor":
        import torch

        from ..backbone._forward import forward_tokens

        tokens = forward_tokens(self.backbone, pixels, self.recipe.blocks)
        pooled = [_pool(tokens[block], self.recipe.pooling) for block in self.recipe.blocks]
        return torch.cat(pooled, dim=1).float()


def _pool(tokens: "Tokens", pooling: str) -> "torch.Tensor":
    if pooling == "cls":
        return tokens.cls
    # The mean is taken in float32: in bfloat16 a sum of 256 tokens loses half its digits.
    mean = tokens.patches.float().mean(dim=1)
    if pooling == "mean":
        return mean
    import torch

    return torch.cat([tokens.cls.float(), mean], dim=1)
