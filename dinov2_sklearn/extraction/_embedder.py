"""One device's work: read and decode images ahead, run the model, pool its tokens."""

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backbone import Checkpoint
from ..images import (
    Decoding,
    ImageDecodeError,
    ImageReader,
    ImageRef,
    Preprocessing,
    map_ahead,
)
from ..io._cache import CacheSession

if TYPE_CHECKING:
    import torch

    from ..backbone._forward import BatchRunner, Tokens

__all__ = ["EmbeddedBatch", "Recipe", "embed_images"]

# On a CPU, tokens whose channels take about this many bytes each are worked off at once, however
# large batch_size is: 1600 of float32, 3200 of bfloat16. The activations of more do not stay in its
# caches (benchmarks/extraction.py shows the effect).
_CPU_BYTES_A_CHANNEL = 6400
# Fewer tokens than these are multiplied in another order of summation there, and what bfloat16
# rounds then comes out otherwise (seen below some 760, on a Xeon with AMX, oneDNN of torch 2.13).
_CPU_LEAST_TOKENS = 1024
# What a preprocessing was made of in 0.1.0. What came later counts where it is no default, so that
# caches and shards of before are still those of the same settings.
_FIRST_FIELDS = {"resize", "crop", "resample", "rescale", "mean", "std", "multiple", "longest_edge"}


@dataclass(frozen=True)
class Recipe:
    """What an embedding is: all that it depends on but the image, as data that can be pickled."""

    checkpoint: Checkpoint
    preprocessings: tuple[Preprocessing, ...]  # one for each scale
    blocks: tuple[int, ...]  # from 0
    pooling: str
    normalize: bool
    exact_decode: bool
    dtype: "torch.dtype"
    decoding: Decoding = field(default_factory=Decoding)

    @property
    def n_outputs(self) -> int:
        """Length of an embedding."""
        pooled = 2 if self.pooling == "cls_mean" else 1
        return self.checkpoint.dim * pooled * len(self.blocks) * len(self.preprocessings)

    @property
    def reader(self) -> ImageReader:
        """What decodes and preprocesses an image."""
        return ImageReader(
            self.preprocessings, exact_decode=self.exact_decode, decoding=self.decoding
        )

    def settings(self) -> dict[str, Any]:
        """Return all but the checkpoint, which counts by its files, as data that JSON can hold."""
        default = asdict(Preprocessing())
        return {
            "version": 1,
            "preprocessing": [
                {k: v for k, v in asdict(p).items() if k in _FIRST_FIELDS or v != default[k]}
                for p in self.preprocessings
            ],
            "exact_decode": self.exact_decode,
            "blocks": list(self.blocks),
            "pooling": self.pooling,
            "normalize": self.normalize,
            "dtype": str(self.dtype),
            **self.decoding.settings(),
        }


class Decoded(NamedTuple):
    """How many images were decoded, of how many the crop hides much, and how many were clipped."""

    n_images: int = 0
    n_cut: int = 0
    n_clipped: int = 0

    def plus(self, other: "Decoded") -> "Decoded":
        """Count both."""
        return Decoded(*map(sum, zip(self, other, strict=True)))


class EmbeddedBatch(NamedTuple):
    """Some images' embeddings, and why others have none."""

    positions: list[int]  # which of the images the rows belong to
    rows: NDArray[np.float32]
    errors: dict[int, ImageDecodeError]
    decoded: Decoded = Decoded()

    @property
    def n_images(self) -> int:
        """How many images this settles."""
        return len(self.positions) + len(self.errors)

    def at(self, places: Sequence[int]) -> "EmbeddedBatch":
        """Return the same of images that stand at other positions."""
        return EmbeddedBatch(
            [places[position] for position in self.positions],
            self.rows,
            {places[position]: error for position, error in self.errors.items()},
            self.decoded,
        )

    @classmethod
    def of(
        cls,
        rows: Mapping[int, NDArray[np.float32]],
        errors: dict[int, ImageDecodeError],
        decoded: Decoded = Decoded(),  # noqa: B008 - of numbers alone
    ) -> "EmbeddedBatch":
        """Gather rows that are given by their positions."""
        stacked = np.stack([*rows.values()]) if rows else np.empty((0, 1), dtype=np.float32)
        return cls([*rows], stacked, errors, decoded)


class _CachedReader:
    """Reads images in threads: each file once, and of equal contents only one is decoded.

    What it returns of an image is the digest of its content, if it has one, and pictures, the
    row that the cache knows, an error, or None where another image has the same content.
    """

    def __init__(self, reader: ImageReader, cache: CacheSession) -> None:
        self._reader = reader
        self._cache = cache
        self._lock = threading.Lock()
        self._taken: set[bytes] = set()

    def __call__(self, image: Any) -> tuple[bytes | None, Any]:
        if not isinstance(image, str) or not self._cache.is_open:
            return None, self._reader.pictures(image)
        ref = ImageRef(image)
        stamp = ref.stamp()
        try:
            content = ref.read(self._reader.decoding.storage_options)
        except ImageDecodeError as error:
            return None, error
        known = self._cache.find(image, stamp, content.digest)
        if known is not None:
            return content.digest, known
        with self._lock:
            if content.digest in self._taken:
                return content.digest, None
            self._taken.add(content.digest)
        return content.digest, self._reader.pictures(content)


@dataclass
class _ImageBatch:
    """Images on their way to the model, with what became of others between them."""

    positions: list[int] = field(default_factory=list)
    pictures: list[list[NDArray[np.uint8]]] = field(default_factory=list)
    digests: list[bytes | None] = field(default_factory=list)
    known: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    errors: dict[int, ImageDecodeError] = field(default_factory=dict)
    n_cut: int = 0
    n_clipped: int = 0

    def finished(self, launched: "_Rows | None", cache: CacheSession) -> EmbeddedBatch:
        """Wait for the rows that are computed, and keep them."""
        computed: Any = [] if launched is None else launched.wait()
        cache.store([(d, row) for d, row in zip(self.digests, computed, strict=True) if d])
        rows = self.known | dict(zip(self.positions, computed, strict=True))
        decoded = Decoded(len(self.positions), self.n_cut, self.n_clipped)
        return EmbeddedBatch.of(rows, self.errors, decoded)


def embed_images(
    recipe: Recipe,
    images: Sequence[Any],
    device: "torch.device",
    batch_size: int,
    num_workers: int,
    cache: CacheSession,
) -> Iterator[EmbeddedBatch]:
    """Embed images (paths, PIL images or arrays) on one device, those of equal content last.

    What the cache does not know by its content is decoded by threads ahead of the model, which is
    loaded by the first batch, and stored.

    Raises
    ------
    CheckpointError
        If the weights cannot be loaded.
    MemoryError
        If a single image does not fit into memory.
    """
    reader = _CachedReader(recipe.reader, cache)
    read = map_ahead(reader, images, num_workers=num_workers, ahead=2 * batch_size)
    # A GPU computes while the next batch is put together, so that its result is taken one batch
    # late; on a CPU nothing is gained, and what is finished is handed over at once.
    n_late = 1 if device.type == "cuda" else 0
    forward: _Forward | None = None
    launched: deque[tuple[_ImageBatch, _Rows | None]] = deque()
    copies: dict[int, bytes] = {}
    failed: dict[bytes, ImageDecodeError] = {}
    for batch in _batches(read, batch_size, copies, failed):
        if batch.pictures and forward is None:
            forward = _Forward(recipe, device, batch_size)
        launched.append((batch, forward(batch.pictures) if forward and batch.pictures else None))
        while len(launched) > n_late:
            batch, result = launched.popleft()
            yield batch.finished(result, cache)
    for batch, result in launched:
        yield batch.finished(result, cache)
    found = {i: cache.find(images[i], None, digest) for i, digest in copies.items()}
    rows = {i: row for i, row in found.items() if row is not None}
    errors = {
        i: ImageDecodeError(images[i], failed[digest].reason)
        for i, digest in copies.items()
        if digest in failed
    }
    if rows or errors:
        yield EmbeddedBatch.of(rows, errors)
    # Left over where the cache broke meanwhile.
    if left := [i for i in copies if i not in rows and i not in errors]:
        again, no_cache = [images[i] for i in left], CacheSession(None)
        for embedded in embed_images(recipe, again, device, batch_size, num_workers, no_cache):
            yield embedded.at(left)


def _batches(
    read: Iterator[tuple[bytes | None, Any]],
    batch_size: int,
    copies: dict[int, bytes],
    failed: dict[bytes, ImageDecodeError],
) -> Iterator[_ImageBatch]:
    """Collect `batch_size` images at a time; note the copies, and the contents that failed."""
    batch = _ImageBatch()
    for position, (digest, found) in enumerate(read):
        if isinstance(found, ImageDecodeError):
            batch.errors[position] = found
            failed |= {digest: found} if digest else {}
        elif isinstance(found, np.ndarray):
            batch.known[position] = found
        elif digest and found is None:
            copies[position] = digest
        else:
            batch.positions.append(position)
            batch.pictures.append(found)
            batch.digests.append(digest)
            batch.n_cut += found.is_cut
            batch.n_clipped += found.is_clipped
        if batch_size in (len(batch.positions), len(batch.known)):
            yield batch
            batch = _ImageBatch()
    if batch.positions or batch.known or batch.errors:
        yield batch


class _Rows:
    """Embeddings on their way from the device."""

    def __init__(self, embeddings: "torch.Tensor") -> None:
        import torch

        # Asked for only when they are wanted, they would queue behind the batch launched since.
        self._rows = embeddings.to("cpu", non_blocking=embeddings.is_cuda)
        self._copied = torch.cuda.Event() if embeddings.is_cuda else None
        if self._copied is not None:
            self._copied.record(torch.cuda.current_stream(embeddings.device))

    def wait(self) -> NDArray[np.float32]:
        if self._copied is not None:
            self._copied.synchronize()
        return self._rows.numpy()


class _Forward:
    """From a batch of pictures to its embeddings, which the device may still be computing."""

    def __init__(self, recipe: Recipe, device: "torch.device", batch_size: int) -> None:
        import torch

        from ..backbone._loading import load_backbone

        self.recipe = recipe
        self.backbone = load_backbone(recipe.checkpoint, device, recipe.dtype)
        self.batch_size = batch_size
        self.runners: list[BatchRunner] = []
        # The same for all sizes of the pictures, and copied once: a copy of a batch would wait for
        # the batch before.
        self.scale, self.bias = (
            torch.from_numpy(values)[:, None, None].to(device)
            for values in recipe.preprocessings[0].scale_and_bias
        )

    def __call__(self, images: Sequence[list[NDArray[np.uint8]]]) -> _Rows:
        import torch

        from ..backbone._forward import BatchRunner

        scales = [self._stack(pictures) for pictures in zip(*images, strict=True)]
        if not self.runners:
            self.runners = [BatchRunner(self._embed, self._images_at_once(s)) for s in scales]
        runs = zip(self.runners, scales, strict=True)
        parts = [run(self._padded(stack, run.batch_size))[: len(images)] for run, stack in runs]
        embeddings = torch.cat(parts, dim=1)
        if self.recipe.normalize:
            embeddings = torch.nn.functional.normalize(embeddings, dim=1)
        return _Rows(embeddings)

    def _images_at_once(self, pictures: "torch.Tensor") -> int:
        if self.backbone.device.type != "cpu":
            return self.batch_size
        n_bytes = self._n_tokens(pictures) * self.recipe.dtype.itemsize
        return min(self.batch_size, max(1, _CPU_BYTES_A_CHANNEL // n_bytes))

    def _padded(self, pictures: "torch.Tensor", images_at_once: int) -> "torch.Tensor":
        """Repeat an image where few would be left over, so that no row depends on their number."""
        n_left = len(pictures) % images_at_once
        if n_left == 0 or self.backbone.device.type != "cpu" or self.recipe.dtype.itemsize == 4:
            return pictures
        n_least = min(images_at_once, -(-_CPU_LEAST_TOKENS // self._n_tokens(pictures)))
        return pictures[[*range(len(pictures)), *[0] * (n_least - n_left)]]

    def _n_tokens(self, pictures: "torch.Tensor") -> int:
        height, width = pictures.shape[1:3]
        return max(1, height * width // self.recipe.checkpoint.patch_size**2)

    def _stack(self, pictures: Sequence[NDArray[np.uint8]]) -> "torch.Tensor":
        import torch

        shapes = {picture.shape for picture in pictures}
        if len(shapes) > 1:
            raise ValueError(
                "The checkpoint's preprocessing does not crop images to one size, and those of "
                f"one batch have the shapes {sorted(shapes)}. Set batch_size=1."
            )
        # Only from pinned memory does a copy to the GPU run beside its work.
        is_pinned = self.backbone.device.type == "cuda"
        stack = torch.empty(
            (len(pictures), *pictures[0].shape), dtype=torch.uint8, pin_memory=is_pinned
        )
        np.stack(pictures, out=stack.numpy())
        return stack

    def _embed(self, pictures: "torch.Tensor") -> "torch.Tensor":
        import torch

        from ..backbone._forward import forward_tokens

        tokens = forward_tokens(
            self.backbone,
            self._normalized(pictures),
            self.recipe.blocks,
            only_cls=self.recipe.pooling == "cls",
        )
        pooled = [_pool(tokens[block], self.recipe.pooling) for block in self.recipe.blocks]
        return torch.cat(pooled, dim=1)

    def _normalized(self, pictures: "torch.Tensor") -> "torch.Tensor":
        """Do what `Preprocessing.normalize` does, where the model runs: bytes travel there."""
        import torch

        pixels = pictures.to(self.backbone.device, non_blocking=pictures.is_pinned())
        pixels = pixels.permute(0, 3, 1, 2)
        pixels = pixels.to(torch.float32, memory_format=torch.contiguous_format)
        return pixels.mul_(self.scale).add_(self.bias)


def _pool(tokens: "Tokens", pooling: str) -> "torch.Tensor":
    import torch

    pooled = []
    if pooling != "mean":
        assert tokens.cls is not None  # or the parameters had been refused
        pooled.append(tokens.cls.float())
    if pooling != "cls":
        # In float32: in bfloat16 a sum of 256 tokens loses half its digits.
        pooled.append(tokens.patches.float().mean(dim=1))
    return torch.cat(pooled, dim=1)
