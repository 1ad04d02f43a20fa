"""What is known of published checkpoints without their files."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["DINOV2_MODELS", "OTHER_MODELS", "CheckpointError", "Layout", "ModelInfo"]


class CheckpointError(OSError):
    """A checkpoint could not be found or read; the message says what was tried and the ways out."""


@dataclass(frozen=True)
class Layout:
    """The shape of a model's tokens, and of the blocks that make them."""

    dim: int  # length of a token
    depth: int  # transformer blocks
    n_heads: int  # attention heads in each block; 0 where there is no attention
    patch_size: int
    n_registers: int = 0  # between the CLS token and the patch tokens
    # What stands for the image: a CLS token, a head over all tokens, or nothing.
    cls: Literal["token", "head", "none"] = "token"


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
        Attention heads in each block; 0 in a network without attention.
    patch_size : int
        Side of a patch in pixels.
    n_registers : int
        Register tokens between the CLS token and the patch tokens.
    license : str
        What the weights may be used under.
    gated : bool
        Whether the hub asks for an account that has accepted the licence.
    millions : float or None
        Number of weights, in millions, where it does not follow from the rest.
    """

    hub_name: str
    dim: int
    depth: int
    n_heads: int
    patch_size: int = 14
    n_registers: int = 0
    license: str = "Apache-2.0"
    gated: bool = False
    millions: float | None = None

    @property
    def n_parameters(self) -> int:
        """Number of weights, to a percent; each takes 4 bytes in float32."""
        if self.millions is not None:
            return round(self.millions * 1e6)
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


def _dinov3() -> list[ModelInfo]:
    """List the distilled DINOv3 models, whose hub asks for an account, and timm's copies."""
    sizes = {"small": 21.6, "base": 85.7, "large": 303.1}
    models = []
    for size, millions in sizes.items():
        dim, depth, heads = _SIZES[size]
        for name, gated in (
            (f"facebook/dinov3-vit{size[0]}16-pretrain-lvd1689m", True),
            (f"timm/vit_{size}_patch16_dinov3.lvd1689m", False),
        ):
            models.append(ModelInfo(name, dim, depth, heads, 16, 4, "DINOv3", gated, millions))
    for size, dim, millions in (("tiny", 768, 27.8), ("small", 768, 49.5), ("base", 1024, 87.6)):
        name = f"facebook/dinov3-convnext-{size}-pretrain-lvd1689m"
        models.append(ModelInfo(name, dim, 1, 0, 32, 0, "DINOv3", True, millions))
    return models


#: Further checkpoints that run, by their hub ids.
OTHER_MODELS = (
    *_dinov3(),
    ModelInfo("google/siglip2-base-patch16-224", 768, 12, 12, 16, millions=92.9),
    ModelInfo("openai/clip-vit-base-patch16", 768, 12, 12, 16, license="MIT", millions=85.8),
    ModelInfo("google/vit-base-patch16-224-in21k", 768, 12, 12, 16, millions=86.4),
    ModelInfo("facebook/vit-mae-base", 768, 12, 12, 16, millions=85.8),
    ModelInfo("facebook/ijepa_vith14_1k", 1280, 32, 16, 14, license="CC-BY-NC-4.0", millions=630.8),
)
