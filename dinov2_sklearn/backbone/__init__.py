"""RGB arrays -> tokens: which checkpoints there are, how they load, and the forward pass.

A checkpoint is found in :mod:`~dinov2_sklearn.backbone._checkpoints` (names and folders) or
:mod:`~dinov2_sklearn.backbone._offline` (``"offline"``), loaded once per process by
:mod:`~dinov2_sklearn.backbone._loading`, and run by :mod:`~dinov2_sklearn.backbone._forward`.
Importing this room does not import torch.
"""

from ._checkpoints import (
    DINOV2_MODELS,
    Checkpoint,
    CheckpointError,
    ModelInfo,
    find_checkpoint,
)
from ._mixin import BackboneMixin

__all__ = [
    "DINOV2_MODELS",
    "BackboneMixin",
    "Checkpoint",
    "CheckpointError",
    "ModelInfo",
    "find_checkpoint",
]
