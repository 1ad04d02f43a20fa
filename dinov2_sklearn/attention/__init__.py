"""The attention room: where in an image the model looks, and what its patches are like.

:class:`PatchAttentionInspector` gives the attention of a token over the patches of images, as a
matrix for scikit-learn or as the :class:`AttentionMaps` of each image, colours patches, and saves
their tokens for :func:`load_patch_features`; :class:`AttentionDisplay` draws all that. Importing
this room loads neither torch nor matplotlib: each is loaded by the first call that needs it.
"""

from ._display import AttentionDisplay
from ._features import PatchFeatures, load_patch_features
from ._inspector import PatchAttentionInspector
from ._maps import AttentionMaps
from ._patch_pca import PatchPCA

__all__ = [
    "AttentionDisplay",
    "AttentionMaps",
    "PatchAttentionInspector",
    "PatchFeatures",
    "PatchPCA",
    "load_patch_features",
]
