"""RGB arrays -> tokens: which checkpoints there are, how they load, and the forward pass.

A checkpoint is found in :mod:`~dinov2_sklearn.backbone.registry` (short names),
:mod:`~dinov2_sklearn.backbone.checkpoints` (hub ids and folders) or
:mod:`~dinov2_sklearn.backbone.offline` (``"offline"``), loaded once per process by
:mod:`~dinov2_sklearn.backbone.loading`, and run by :mod:`~dinov2_sklearn.backbone.forward`.
Importing this room does not import torch.
"""

from .checkpoints import Checkpoint, CheckpointError, find_checkpoint
from .mixin import BackboneMixin
from .registry import DINOV2_MODELS, ModelInfo

__all__ = [
    "DINOV2_MODELS",
    "BackboneMixin",
    "Checkpoint",
    "CheckpointError",
    "ModelInfo",
    "find_checkpoint",
]
