"""Loaded models, shared by the whole process: devices, precision, weights."""

import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..utils import warn
from ._checkpoints import Checkpoint, CheckpointError

__all__ = ["Backbone", "load_backbone", "resolve_device", "resolve_devices", "resolve_dtype"]

_MAX_LOADED = 4
_loaded: "OrderedDict[tuple, Backbone]" = OrderedDict()
_loading = threading.RLock()


@dataclass(eq=False)
class Backbone:
    """A loaded model, in evaluation mode, with its checkpoint, device and precision."""

    checkpoint: Checkpoint
    model: Any
    device: torch.device
    dtype: torch.dtype
    # Held while hooks are placed on the model, which all threads share.
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def blocks(self) -> Any:
        """The transformer blocks, in order."""
        # DINOv2 calls the stack of blocks `encoder`; DINOv3 calls it `model`.
        stack = self.model.encoder if hasattr(self.model, "encoder") else self.model.model
        return stack.layer

    @property
    def final_norm(self) -> torch.nn.Module:
        """The LayerNorm that follows the last block."""
        return self.model.layernorm if hasattr(self.model, "layernorm") else self.model.norm


def load_backbone(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Backbone:
    """Load a checkpoint's weights, or return the model that this process has loaded already.

    The four models used last are kept. Loading is serialised, so that threads that want the same
    model wait for one load.

    Raises
    ------
    CheckpointError
        If the weights are damaged or do not fit the configuration.
    """
    key = (checkpoint.folder, checkpoint.stamp, str(device), dtype)
    with _loading:
        if key not in _loaded:
            _loaded[key] = Backbone(checkpoint, _load(checkpoint, device, dtype), device, dtype)
            while len(_loaded) > _MAX_LOADED:
                _loaded.popitem(last=False)
        _loaded.move_to_end(key)
        return _loaded[key]


def _load(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Any:
    with warnings.catch_warnings():
        # Importing it warns, in a notebook without ipywidgets, of bars that are not drawn here.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from transformers import AutoModel
    from transformers.utils import logging

    # transformers draws a progress bar of its own for what takes a moment.
    bars_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, report = AutoModel.from_pretrained(
            checkpoint.folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise CheckpointError(
            f"The weights of {checkpoint.name!r} in {checkpoint.folder} could not be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
    finally:
        if bars_shown:
            logging.enable_progress_bar()
    missing = sorted(report["missing_keys"])
    if missing:
        raise CheckpointError(
            f"The weights of {checkpoint.name!r} in {checkpoint.folder} lack {len(missing)} of the "
            f"model's tensors ({', '.join(missing[:3])}, ...): they would be random numbers."
        )
    return model.to(device).eval().requires_grad_(False)


def resolve_device(device: str) -> torch.device:
    """Turn a device's name, or ``"auto"``, a GPU if there is one, into a device that is there.

    Where the named kind of device is absent, as when a pipeline saved on a GPU machine runs on
    one without, the CPU is taken with a warning.

    Raises
    ------
    ValueError
        If the name means nothing, or the index is too high.
    """
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} is no device: use 'auto', 'cpu', 'cuda', 'cuda:0', 'mps'."
        ) from error
    if wanted.type not in available:
        raise ValueError(f"device={device!r} is not supported: use 'auto', 'cpu', 'cuda' or 'mps'.")
    if not available[wanted.type]:
        warn(
            f"device={device!r} is not available on this machine; computing on the CPU.",
        )
        return torch.device("cpu")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r} does not exist: this machine has {torch.cuda.device_count()} GPUs."
        )
    return wanted


def resolve_devices(devices: Sequence[str]) -> list[torch.device]:
    """Turn several names into devices that are there, each as often as it was named.

    However many absent devices the CPU stands in for, it does so once.
    """
    resolved = [resolve_device(device) for device in devices]
    stand_ins = [
        position
        for position, (name, device) in enumerate(zip(devices, resolved, strict=True))
        if device.type == "cpu" and not name.startswith(("cpu", "auto"))
    ]
    return [device for position, device in enumerate(resolved) if position not in stand_ins[1:]]


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Turn a precision's name into a dtype; ``"auto"`` is bfloat16 where the hardware has it."""
    if dtype != "auto":
        return getattr(torch, dtype)
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        native = device.type == "cpu" and _cpu_has_bfloat16()
    return torch.bfloat16 if native else torch.float32


def _cpu_has_bfloat16() -> bool:
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return False
