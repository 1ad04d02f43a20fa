"""The attention room: where in an image the model looks.

:class:`PatchAttentionInspector` gives the attention of the CLS token over the patches of images,
as a matrix for scikit-learn or as the :class:`AttentionMaps` of one image;
:class:`AttentionDisplay` draws it. Importing this room loads neither torch nor matplotlib: each is
loaded by the first call that needs it.
"""

from ._display import AttentionDisplay
from ._inspector import PatchAttentionInspector
from ._maps import AttentionMaps

__all__ = ["AttentionDisplay", "AttentionMaps", "PatchAttentionInspector"]
