"""Images through the model: the attention and the patch tokens of one after the other."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..backbone._forward import BatchRunner
from ..backbone._loading import Backbone
from ..images import ImageDecodeError, Preprocessing
from ..images._reading import map_ahead
from ._maths import attention_and_tokens, queries_and_keys, rollout
from ._query import Query, query_token
from ._seen import Seen, see

__all__ = ["Looker"]


@dataclass(frozen=True)
class Looker:
    """How images are looked at.

    Attributes
    ----------
    backbone : Backbone
        The loaded model.
    preprocessing : Preprocessing
        What is done to the images.
    blocks : sequence of int
        Blocks whose attention is wanted.
    token_block : int
        Block whose patch tokens are wanted.
    query : "cls", int or (int, int)
        The token that looks.
    batch_size, num_workers : int
        Images in a forward pass, and threads that decode.
    """

    backbone: Backbone
    preprocessing: Preprocessing
    blocks: Sequence[int]
    token_block: int
    query: Query
    batch_size: int
    num_workers: int

    def __call__(
        self, images: list, errors: dict[int, ImageDecodeError] | None = None
    ) -> Iterator[tuple[int, Seen, NDArray[np.float32], NDArray[np.float32]]]:
        """Yield of each image its position, what is seen of it, its attention and its tokens.

        Attention is of shape (n_blocks, n_heads, grid_h, grid_w) and patch tokens of shape
        (grid_h, grid_w, dim). Images that cannot be decoded raise, or are put into `errors`.
        """
        reader = partial(see, preprocessing=self.preprocessing)
        ahead = 2 * self.batch_size
        decoded = map_ahead(reader, images, num_workers=self.num_workers, ahead=ahead)
        run = BatchRunner(self._forward, self.batch_size)
        for batch in _in_batches(_readable(decoded, errors), self.batch_size):
            results = run(torch.from_numpy(np.stack([seen.pixels for _, seen in batch]))).numpy()
            for (position, seen), result in zip(batch, results, strict=True):
                yield position, seen, *self._unpack(result, seen)

    def rollout(
        self, picture: NDArray[np.uint8], last_block: int, reduction: str
    ) -> NDArray[np.float32]:
        """Return the rollout of the query's token over the patches of one image as it was seen."""
        pixels = self._pixels(picture)
        product = rollout(self.backbone, pixels, last_block, reduction)
        row = product[0, self.token(pixels.shape), 1 + self.backbone.checkpoint.n_registers :]
        return row.cpu().numpy().reshape(self.grid(pixels.shape))

    def queries_and_keys(
        self, picture: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return queries and keys of one image, (n_blocks, n_tokens, n_heads, head_dim) each."""
        pairs = queries_and_keys(self.backbone, self._pixels(picture), self.blocks)
        queries, keys = (torch.cat(parts).transpose(1, 2) for parts in zip(*pairs, strict=True))
        return queries.float().cpu().numpy(), keys.float().cpu().numpy()

    def grid(self, seen_shape: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of patches in pixels of shape (..., height, width)."""
        patch = self.backbone.checkpoint.patch_size
        return seen_shape[-2] // patch, seen_shape[-1] // patch

    def token(self, seen_shape: Sequence[int]) -> int:
        """Place of the query's token in the model's sequence."""
        return query_token(self.query, self.backbone.checkpoint.n_registers, self.grid(seen_shape))

    def _pixels(self, picture: NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(self.preprocessing.normalize(picture)[None])

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        token = self.token(pixels.shape)
        parts = attention_and_tokens(
            self.backbone, pixels, self.blocks, self.token_block, query_token=token
        )
        # One tensor with a row an image is what is run in batches.
        return torch.cat([part.flatten(1).cpu() for part in parts], dim=1)

    def _unpack(self, row: NDArray[np.float32], seen: Seen) -> tuple[NDArray[Any], NDArray[Any]]:
        grid = self.grid(seen.pixels.shape)
        shape = len(self.blocks), self.backbone.checkpoint.n_heads, *grid
        attention, tokens = np.split(row, [int(np.prod(shape))])
        return attention.reshape(shape), tokens.reshape(*grid, -1)


def _readable(
    decoded: Iterable[Seen | ImageDecodeError], errors: dict[int, ImageDecodeError] | None
) -> Iterator[tuple[int, Seen]]:
    for position, result in enumerate(decoded):
        if not isinstance(result, ImageDecodeError):
            yield position, result
        elif errors is None:
            raise result
        else:
            errors[position] = result


def _in_batches(
    items: Iterable[tuple[int, Seen]], batch_size: int
) -> Iterator[list[tuple[int, Seen]]]:
    """Gather neighbours of one shape, as the model takes them together."""
    batch: list[tuple[int, Seen]] = []
    try:
        for item in items:
            if batch and item[1].pixels.shape != batch[0][1].pixels.shape:
                yield batch
                batch = []
            batch.append(item)
            if len(batch) == batch_size:
                yield batch
                batch = []
    except ImageDecodeError:
        if batch:  # what was read before is not lost
            yield batch
        raise
    if batch:
        yield batch
