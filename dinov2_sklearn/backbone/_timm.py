"""Vision Transformers of timm: their folders hold a configuration of another form."""

import math
from pathlib import Path
from typing import Any

from ..images import Preprocessing
from ._models import CheckpointError, Layout

__all__ = ["load_model", "read_layout", "read_preprocessing"]

_RESAMPLES = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


def load_model(name: str, folder: Path, device: str = "cpu") -> Any:
    """Return the model with its weights, or on the device "meta" without any."""
    try:
        import timm
        import torch
        from timm.models.eva import Eva
        from timm.models.vision_transformer import VisionTransformer
    except (ImportError, RuntimeError) as error:  # the latter of a torchvision that does not fit
        raise CheckpointError(
            f"The checkpoint {name!r} needs timm, which could not be imported: {error}"
        ) from error
    try:
        with torch.device(device):
            model = timm.create_model(
                f"local-dir:{folder}",
                pretrained=device != "meta",
                num_classes=0,
                dynamic_img_size=True,  # positions are resized to images of other sizes
            )
    except Exception as error:
        if "dynamic_img_size" in str(error):
            model = None
        else:
            raise CheckpointError(f"timm could not load {name!r} in {folder}: {error}") from error
    if not isinstance(model, (VisionTransformer, Eva)):
        raise CheckpointError(
            f"The checkpoint {name!r} of timm is no Vision Transformer: what is run are timm's "
            "classes VisionTransformer and Eva."
        )
    return model


def read_layout(name: str, folder: Path) -> Layout:
    """Return the shape of the tokens and the blocks, which timm's class knows."""
    model = load_model(name, folder, "meta")
    has_cls = model.cls_token is not None
    return Layout(
        dim=model.embed_dim,
        depth=len(model.blocks),
        n_heads=model.blocks[0].attn.num_heads,
        patch_size=model.patch_embed.patch_size[0],
        n_registers=model.num_prefix_tokens - has_cls,
        cls="token" if has_cls else "none" if model.attn_pool is None else "head",
    )


def read_preprocessing(config: dict[str, Any]) -> Preprocessing:
    """Return what timm does to an image before the model, by the model's configuration."""
    config = config["pretrained_cfg"]
    size, part = config["input_size"][1:], config.get("crop_pct") or 1.0
    edges = [math.floor(edge / part) for edge in size]
    squash = config.get("crop_mode") == "squash" or edges[0] != edges[1]
    return Preprocessing(
        resize=(edges[0], edges[1]) if squash else edges[0],
        crop=(size[0], size[1]),
        resample=_RESAMPLES[config.get("interpolation", "bicubic")],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
