"""The forward pass: pixels to tokens, in batches that fit into memory."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch

from ..utils import warn
from ._loading import Backbone
from ._plan import PlannedBlock, Watch, run_block
from ._towers import Position

__all__ = ["BatchRunner", "Tokens", "forward_tokens"]


@dataclass(frozen=True)
class Tokens:
    """The tokens of a batch after one block and the model's final LayerNorm."""

    cls: torch.Tensor | None  # (batch, dim): the CLS token, or what stands for the whole image
    registers: torch.Tensor  # (batch, n_registers, dim)
    patches: torch.Tensor  # (batch, grid_h * grid_w, dim), row by row


@torch.inference_mode()
def forward_tokens(
    backbone: Backbone,
    pixels: torch.Tensor,
    blocks: Collection[int],
    *,
    only_cls: bool = False,
    watch: Mapping[int, Watch] | None = None,
) -> dict[int, Tokens]:
    """Run the model as far as the last block asked for, and take the tokens of each block.

    Pixels are of shape (batch, 3, height, width), in multiples of the patch; blocks count from 0.
    With `only_cls` there may be no registers and no patches, which saves most of the last block.
    Those who `watch` a block are shown its queries and keys.
    """
    # A copy from pinned memory needs nobody to wait for it.
    pixels = pixels.to(backbone.device, non_blocking=pixels.is_pinned()).to(backbone.dtype)
    tower, watch = backbone.tower, watch or {}
    only_cls = only_cls and backbone.checkpoint.layout.cls == "token"
    hidden, position = _embedded(backbone, pixels)
    tokens, last = {}, max(blocks)
    for index, block in enumerate(tower.blocks[: last + 1]):
        if only_cls and index == last and isinstance(block, PlannedBlock):
            hidden = block.first(hidden, position)
        else:
            hidden = run_block(block, hidden, position, watch.get(index))
        if index in blocks:
            wanted = hidden[:, :1] if only_cls else hidden
            tokens[index] = _split(backbone, tower.final_norm(wanted))
    return tokens


def _embedded(backbone: Backbone, pixels: torch.Tensor) -> tuple[torch.Tensor, Position]:
    try:
        return backbone.tower.embed(pixels)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        if _is_out_of_memory(error):
            raise
        height, width = pixels.shape[2:]
        raise ValueError(
            f"{backbone.checkpoint.name!r} cannot take images of {height} x {width} pixels with "
            f"{pixels.shape[1]} channels: {error} Leave image_size=None for the model's own size."
        ) from error


def _split(backbone: Backbone, sequence: torch.Tensor) -> Tokens:
    layout, n_prefix = backbone.checkpoint.layout, backbone.checkpoint.n_prefix
    registers = sequence[:, n_prefix - layout.n_registers : n_prefix]
    cls = sequence[:, 0] if layout.cls == "token" else None
    if backbone.tower.head is not None and cls is None:
        cls = backbone.tower.head(sequence)
    return Tokens(cls, registers, sequence[:, n_prefix:])


class BatchRunner:
    """Calls a function on pieces of a batch, at most `batch_size`, halved when memory runs out."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], batch_size: int) -> None:
        self.function = function
        self.batch_size = batch_size

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the result for the whole batch; a MemoryError if one image is too much."""
        results: list[torch.Tensor] = []
        done = 0
        while done < len(batch):
            piece = batch[done : done + self.batch_size]
            result = self._try(piece)
            if result is None:
                self._shrink(len(piece))
                continue
            results.append(result)
            done += len(piece)
        return results[0] if len(results) == 1 else torch.cat(results)

    def _try(self, piece: torch.Tensor) -> torch.Tensor | None:
        # The error and its traceback, which hold the failed batch's tensors, die with this frame.
        try:
            return self.function(piece)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            return None

    def _shrink(self, failed: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if failed == 1:
            raise MemoryError(
                "There is not enough memory for a single image. Use a smaller image_size or model, "
                "free memory on the device, or set device='cpu'."
            )
        self.batch_size = failed // 2
        warn(
            f"Memory ran out with {failed} images at once; going on with "
            f"batch_size={self.batch_size}.",
        )


def _is_out_of_memory(error: Exception) -> bool:
    # The CPU allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
