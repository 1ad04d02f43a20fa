"""Loaded models, shared by the whole process: devices, precision, weights."""

import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..utils import warn
from ._checkpoints import Checkpoint
from ._models import CheckpointError
from ._plan import fold_scales
from ._towers import Tower, tower_of

__all__ = ["Backbone", "load_backbone", "resolve_device", "resolve_devices", "resolve_dtype"]

_MAX_LOADED = 4
_loaded: "OrderedDict[tuple, Backbone]" = OrderedDict()
_loading = threading.RLock()


@dataclass(frozen=True, eq=False)
class Backbone:
    """A loaded model, in evaluation mode, with its checkpoint, device and precision."""

    checkpoint: Checkpoint
    model: Any
    tower: Tower
    """The parts of the model that are run."""
    device: torch.device
    dtype: torch.dtype


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
            model = _load(checkpoint, device, dtype)
            tower = tower_of(checkpoint, model)
            _loaded[key] = Backbone(checkpoint, model, tower, device, dtype)
            while len(_loaded) > _MAX_LOADED:
                _loaded.popitem(last=False)
        _loaded.move_to_end(key)
        return _loaded[key]


def _load(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Any:
    if checkpoint.family == "timm":
        from ._timm import load_model

        model = load_model(checkpoint.name, checkpoint.folder)
    else:
        model = _load_from_transformers(checkpoint)
    for module in list(model.modules()):
        fold_scales(module)  # in float32, since two roundings are worse than one
    return model.to(device, dtype).eval().requires_grad_(False)


def _load_from_transformers(checkpoint: Checkpoint) -> Any:
    with warnings.catch_warnings():
        # Importing it warns, in a notebook without ipywidgets, of bars that are not drawn here.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    # transformers draws a progress bar of its own for what takes a moment, and tells of weights
    # that are not used, such as those of CLIP's texts.
    bars_shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True)
        model, report = AutoModel.from_pretrained(
            checkpoint.folder,
            config=getattr(config, "vision_config", config),
            dtype=torch.float32,
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
        logging.set_verbosity(verbosity)
        if bars_shown:
            logging.enable_progress_bar()
    # The pooler is another head than those that are used here, and often not in the weights.
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise CheckpointError(
            f"The weights of {checkpoint.name!r} in {checkpoint.folder} lack {len(missing)} of the "
            f"model's tensors ({', '.join(missing[:3])}, ...): they would be random numbers."
        )
    return model


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
