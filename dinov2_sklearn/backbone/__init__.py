"""RGB arrays -> tokens: which checkpoints there are, how they load, and the forward pass.

A checkpoint is found in :mod:`~dinov2_sklearn.backbone._checkpoints` (names, folders, files),
loaded once per process by :mod:`~dinov2_sklearn.backbone._loading`, and run by
:mod:`~dinov2_sklearn.backbone._forward`: what is before and after the blocks is found in
:mod:`~dinov2_sklearn.backbone._towers`, and :mod:`~dinov2_sklearn.backbone._plan` runs the blocks.
Importing this room does not import torch.
"""

from ._checkpoints import Checkpoint, find_checkpoint
from ._mixin import BackboneMixin
from ._models import DINOV2_MODELS, OTHER_MODELS, CheckpointError, ModelInfo

__all__ = [
    "DINOV2_MODELS",
    "OTHER_MODELS",
    "BackboneMixin",
    "Checkpoint",
    "CheckpointError",
    "ModelInfo",
    "find_checkpoint",
]
