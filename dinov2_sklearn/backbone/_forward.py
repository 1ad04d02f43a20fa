"""The forward pass: pixels to tokens, in batches that fit into memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..utils import warn
from ._loading import Backbone

__all__ = ["BatchRunner", "Tokens", "forward_tokens"]


@dataclass(frozen=True)
class Tokens:
    """The tokens of a batch after one block and the model's final LayerNorm."""

    cls: torch.Tensor  # (batch, dim)
    registers: torch.Tensor  # (batch, n_registers, dim)
    patches: torch.Tensor  # (batch, grid_h * grid_w, dim), row by row


@torch.inference_mode()
def forward_tokens(
    backbone: Backbone, pixels: torch.Tensor, blocks: Sequence[int]
) -> dict[int, Tokens]:
    """Run the model as far as the last block asked for, and take the tokens of each block.

    Pixels are of shape (batch, 3, height, width), in multiples of the patch; blocks count from 0.
    """
    # A copy from pinned memory needs nobody to wait for it.
    pixels = pixels.to(backbone.device, non_blocking=pixels.is_pinned()).to(backbone.dtype)
    model = backbone.model
    hidden = model.embeddings(pixels)
    # DINOv3 has rotary position embeddings, which every block takes.
    extra = (
        {"position_embeddings": model.rope_embeddings(pixels)}
        if hasattr(model, "rope_embeddings")
        else {}
    )
    tokens = {}
    for index, block in enumerate(backbone.blocks[: max(blocks) + 1]):
        hidden = block(hidden, **extra)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        if index in blocks:
            tokens[index] = _split(backbone.final_norm(hidden), backbone.checkpoint.n_registers)
    return tokens


def _split(sequence: torch.Tensor, n_registers: int) -> Tokens:
    first_patch = 1 + n_registers
    return Tokens(sequence[:, 0], sequence[:, 1:first_patch], sequence[:, first_patch:])


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


def _is_out_of_memory(error: RuntimeError) -> bool:
    # The CPU allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
