"""The published DINOv2 checkpoints and their short names."""

from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["DINOV2_MODELS", "ModelInfo"]


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a published checkpoint without loading it.

    Attributes
    ----------
    hub_name : str
        The checkpoint's id on the Hugging Face hub.
    dim : int
        Length of a token, and so of an embedding with ``pooling="cls"``.
    depth : int
        Number of transformer blocks.
    n_heads : int
        Attention heads in each block.
    patch_size : int
        Side of a patch in pixels.
    n_registers : int
        Register tokens between the CLS token and the patch tokens.
    """

    hub_name: str
    dim: int
    depth: int
    n_heads: int
    patch_size: int = 14
    n_registers: int = 0

    @property
    def n_parameters(self) -> int:
        """Number of weights, to a percent; each takes 4 bytes in float32."""
        # Attention has 4 * dim**2 in a block, the MLP 8, as its gated form in the giant model has.
        per_block = 12 * self.dim**2 + 15 * self.dim
        positions = (518 // self.patch_size) ** 2 + 3
        patches = 3 * self.patch_size**2 + 1
        return self.depth * per_block + (positions + patches + self.n_registers + 2) * self.dim


_SIZES = {
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "giant": (1536, 40, 24),
}

#: Short names of the published DINOv2 checkpoints, as accepted by ``model_name``.
DINOV2_MODELS = MappingProxyType(
    {
        **{
            name: ModelInfo(f"facebook/dinov2-{name}", dim, depth, heads)
            for name, (dim, depth, heads) in _SIZES.items()
        },
        **{
            f"{name}-with-registers": ModelInfo(
                f"facebook/dinov2-with-registers-{name}", dim, depth, heads, n_registers=4
            )
            for name, (dim, depth, heads) in _SIZES.items()
        },
    }
)
