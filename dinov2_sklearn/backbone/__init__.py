"""RGB arrays -> tokens: which checkpoints there are, how they load, and the forward pass.

A checkpoint is found in :mod:`~dinov2_sklearn.backbone._registry` (short names),
:mod:`~dinov2_sklearn.backbone._checkpoints` (hub ids and folders) or
:mod:`~dinov2_sklearn.backbone._offline` (``"offline"``), loaded once per process by
:mod:`~dinov2_sklearn.backbone._loading`, and run by :mod:`~dinov2_sklearn.backbone._forward`.
Importing this room does not import torch.
"""

from ._checkpoints import Checkpoint, CheckpointError, find_checkpoint
from ._mixin import BackboneMixin
from ._registry import DINOV2_MODELS, ModelInfo

__all__ = [
    "DINOV2_MODELS",
    "BackboneMixin",
    "Checkpoint",
    "CheckpointError",
    "ModelInfo",
    "find_checkpoint",
]
