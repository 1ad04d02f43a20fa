"""Images through the model: the attention and the patch tokens of one after the other."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..backbone._forward import BatchRunner
from ..backbone._loading import Backbone
from ..images import (
    Decoding,
    ImageDecodeError,
    ImageSource,
    Preprocessing,
    decode_image,
    map_ahead,
)
from ._maths import attention_and_tokens, queries_and_keys, rollout
from ._query import Query, query_token

__all__ = ["AttentionModel", "ModelInput"]


@dataclass(frozen=True, eq=False)
class ModelInput:
    """One image as the model takes it, and where in its original that is."""

    pixels: NDArray[np.float32]
    """Of shape (3, height, width): what goes into the model."""
    image: NDArray[np.uint8]
    """The same as a picture, of shape (height, width, 3)."""
    original_shape: tuple[int, int]
    """(height, width) of the upright original."""
    window: tuple[float, float, float, float]
    """(left, top, right, bottom) of the part that goes in, in pixels of the original."""


@dataclass(frozen=True)
class AttentionModel:
    """A loaded model, and which of its attention is wanted."""

    backbone: Backbone
    preprocessing: Preprocessing
    blocks: Sequence[int]
    """Whose attention is wanted."""
    token_block: int
    """Whose patch tokens are wanted."""
    query: Query
    """The token whose attention it is."""
    batch_size: int
    num_workers: int
    decoding: Decoding

    def run(
        self, images: list, errors: dict[int, ImageDecodeError] | None = None
    ) -> Iterator[tuple[int, ModelInput, NDArray[np.float32], NDArray[np.float32]]]:
        """Yield of each image its position, what goes in, its attention and its tokens.

        Attention is of shape (n_blocks, n_heads, grid_h, grid_w) and patch tokens of shape
        (grid_h, grid_w, dim). Images that cannot be decoded raise, or are put into `errors`.
        """
        ahead = 2 * self.batch_size
        read = map_ahead(self._read, images, num_workers=self.num_workers, ahead=ahead)
        run = BatchRunner(self._forward, self.batch_size)
        for batch in _in_batches(_readable(read, errors), self.batch_size):
            results = run(torch.from_numpy(np.stack([item.pixels for _, item in batch]))).numpy()
            for (position, item), result in zip(batch, results, strict=True):
                yield position, item, *self._unpack(result, item)

    def rollout(
        self, picture: NDArray[np.uint8], last_block: int, reduction: str
    ) -> NDArray[np.float32]:
        """Return the rollout of the query's token over the patches of one image that went in."""
        pixels = self._pixels(picture)
        product = rollout(self.backbone, pixels, last_block, reduction)
        row = product[0, self._token(pixels.shape), self.backbone.checkpoint.n_prefix :]
        return row.cpu().numpy().reshape(self._grid(pixels.shape))

    def queries_and_keys(
        self, picture: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return queries and keys of one image, (n_blocks, n_tokens, n_heads, head_dim) each."""
        pairs = queries_and_keys(self.backbone, self._pixels(picture), self.blocks)
        queries, keys = (torch.cat(parts).transpose(1, 2) for parts in zip(*pairs, strict=True))
        return queries.float().cpu().numpy(), keys.float().cpu().numpy()

    def _read(self, source: ImageSource) -> ModelInput | ImageDecodeError:
        """Decode and preprocess one image; an error is returned, to be raised in its turn."""
        least = self.preprocessing.min_size
        try:
            image, (width, height), _ = decode_image(
                source, self.decoding, min_size=least, exact=False
            )
        except ImageDecodeError as error:
            return error
        x, y = width / image.width, height / image.height
        left, top, right, bottom = self.preprocessing.window(*image.size)
        picture = self.preprocessing.to_display(image)
        return ModelInput(
            pixels=self.preprocessing.normalize(picture),
            image=picture,
            original_shape=(height, width),
            window=(left * x, top * y, right * x, bottom * y),
        )

    def _grid(self, shape: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of patches in pixels of shape (..., height, width)."""
        patch = self.backbone.checkpoint.patch_size
        return shape[-2] // patch, shape[-1] // patch

    def _token(self, shape: Sequence[int]) -> int:
        """Place of the query's token in the model's sequence."""
        layout = self.backbone.checkpoint.layout
        return query_token(
            self.query, layout.n_registers, self._grid(shape), has_cls=layout.cls == "token"
        )

    def _pixels(self, picture: NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(self.preprocessing.normalize(picture)[None])

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        token = self._token(pixels.shape)
        parts = attention_and_tokens(
            self.backbone, pixels, self.blocks, self.token_block, query_token=token
        )
        # One tensor with a row an image is what is run in batches.
        return torch.cat([part.flatten(1).cpu() for part in parts], dim=1)

    def _unpack(
        self, row: NDArray[np.float32], item: ModelInput
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        grid = self._grid(item.pixels.shape)
        shape = len(self.blocks), self.backbone.checkpoint.n_heads, *grid
        attention, tokens = np.split(row, [int(np.prod(shape))])
        return attention.reshape(shape), tokens.reshape(*grid, -1)


def _readable(
    read: Iterable[ModelInput | ImageDecodeError], errors: dict[int, ImageDecodeError] | None
) -> Iterator[tuple[int, ModelInput]]:
    for position, result in enumerate(read):
        if not isinstance(result, ImageDecodeError):
            yield position, result
        elif errors is None:
            raise result
        else:
            errors[position] = result


def _in_batches(
    items: Iterable[tuple[int, ModelInput]], batch_size: int
) -> Iterator[list[tuple[int, ModelInput]]]:
    """Gather neighbours of one shape, as the model takes them together."""
    batch: list[tuple[int, ModelInput]] = []
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
