"""Weights in the names of the DINOv2 repository, and folders of checkpoints that are made here."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import platformdirs

from ._models import CheckpointError

__all__ = ["PUBLISHED_RECIPE", "cache_folder", "converted_checkpoint", "write_checkpoint"]

#: The preprocessor configuration of the published DINOv2 checkpoints.
PUBLISHED_RECIPE = {
    "image_processor_type": "BitImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "do_convert_rgb": True,
}
_HEAD_DIM = 64  # in all models of the repository, whose files do not say it
# The repository's names, as patterns, and those of the hub's checkpoints.
_NAMES = {
    r"cls_token": "embeddings.cls_token",
    r"mask_token": "embeddings.mask_token",
    r"register_tokens": "embeddings.register_tokens",
    r"pos_embed": "embeddings.position_embeddings",
    r"patch_embed\.proj\.(\w+)": r"embeddings.patch_embeddings.projection.\1",
    r"norm\.(\w+)": r"layernorm.\1",
    r"blocks\.(?:\d+\.)?(\d+)\.(norm[12]|mlp\.fc[12])\.(\w+)": r"encoder.layer.\1.\2.\3",
    r"blocks\.(?:\d+\.)?(\d+)\.ls([12])\.gamma": r"encoder.layer.\1.layer_scale\2.lambda1",
    r"blocks\.(?:\d+\.)?(\d+)\.attn\.proj\.(\w+)": (r"encoder.layer.\1.attention.output.dense.\2"),
    r"blocks\.(?:\d+\.)?(\d+)\.mlp\.w12\.(\w+)": r"encoder.layer.\1.mlp.weights_in.\2",
    r"blocks\.(?:\d+\.)?(\d+)\.mlp\.w3\.(\w+)": r"encoder.layer.\1.mlp.weights_out.\2",
    r"blocks\.(?:\d+\.)?(\d+)\.attn\.qkv\.(\w+)": (r"encoder.layer.\1.attention.attention.{}.\2"),
}


def cache_folder() -> Path:
    """Return where checkpoints that are made here lie: in $DINOV2_SKLEARN_CACHE where it is set."""
    root = os.environ.get("DINOV2_SKLEARN_CACHE") or platformdirs.user_cache_dir("dinov2_sklearn")
    return Path(root)


def write_checkpoint(
    folder: Path, save: Callable[..., None], config: dict[str, Any], recipe: dict[str, Any]
) -> None:
    """Write a checkpoint's folder, which appears whole or not at all; `save` writes the weights."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        save(staging / "model.safetensors", metadata={"format": "pt"})
        for name, content in (("preprocessor_config.json", recipe), ("config.json", config)):
            (staging / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
        staging.chmod(0o755)
        try:
            staging.replace(folder)
        except OSError:
            # Another process finished the same conversion first: its folder is as good as ours.
            if not (folder / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def converted_checkpoint(file: Path) -> Path:
    """Return the folder of a file's weights under the hub's names, converted on first use.

    Raises
    ------
    CheckpointError
        If the file is no weights, could run code, or has other names than the DINOv2 repository's.
    """
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    folder = cache_folder() / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', file.stem)}-{digest[:16]}"
    if not (folder / "config.json").is_file():
        from safetensors.torch import save_file

        tensors = _published_names(_read(file), file)
        write_checkpoint(folder, partial(save_file, tensors), _config(tensors), PUBLISHED_RECIPE)
    return folder


def _read(file: Path) -> dict[str, Any]:
    import torch

    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{file} could not be read as weights alone ({reason}). Files that need code to be run "
            "are not read: save the model's state_dict() again with torch.save."
        ) from None
    for key in ("teacher", "model", "state_dict"):  # of training runs
        content = content.get(key, content) if isinstance(content, dict) else content
    named = content.items() if isinstance(content, dict) else ()
    tensors = {
        name.removeprefix("module.").removeprefix("backbone."): tensor
        for name, tensor in named
        if isinstance(tensor, torch.Tensor)
    }
    # Heads of the training are no part of the model.
    return {
        n: tensor for n, tensor in tensors.items() if not n.startswith(("dino_head", "ibot_head"))
    }


def _published_names(tensors: dict[str, Any], file: Path) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for name, tensor in tensors.items():
        new = next(
            (re.sub(old, new, name) for old, new in _NAMES.items() if re.fullmatch(old, name)), None
        )
        if new is None or "cls_token" not in tensors or "pos_embed" not in tensors:
            raise CheckpointError(
                f"{file} holds {name!r}, which is no name of the DINOv2 repository's backbones. "
                "Weights of other models load from a folder in the form of transformers or timm."
            )
        if "{}" in new:
            parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
            renamed |= {new.format(part): rows.contiguous() for part, rows in parts}
        else:
            renamed[new] = tensor.contiguous()
    return renamed


def _config(tensors: dict[str, Any]) -> dict[str, Any]:
    """Read the configuration off the weights' shapes."""
    dim = tensors["embeddings.cls_token"].shape[-1]
    patch = tensors["embeddings.patch_embeddings.projection.weight"].shape[-1]
    n_patches = tensors["embeddings.position_embeddings"].shape[1] - 1
    blocks = {name.split(".")[2] for name in tensors if name.startswith("encoder.layer.")}
    registers = tensors.get("embeddings.register_tokens")
    hidden = tensors.get("encoder.layer.0.mlp.fc1.weight")
    config = {
        "model_type": "dinov2" if registers is None else "dinov2_with_registers",
        "hidden_size": dim,
        "num_hidden_layers": len(blocks),
        "num_attention_heads": max(1, dim // _HEAD_DIM),
        "mlp_ratio": 4 if hidden is None else len(hidden) // dim,
        "patch_size": patch,
        "image_size": round(n_patches**0.5) * patch,
        "use_swiglu_ffn": hidden is None,
        "use_mask_token": "embeddings.mask_token" in tensors,
        "layer_norm_eps": 1e-6,
        "dtype": "float32",
    }
    return config if registers is None else config | {"num_register_tokens": registers.shape[1]}
