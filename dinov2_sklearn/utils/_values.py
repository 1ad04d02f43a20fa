"""What the stages after the embedding say to images."""

import os
from typing import Any

import numpy as np


def refuse_paths(X: Any) -> None:
    """Raise a ValueError if X is paths, where embeddings are wanted."""
    listed = isinstance(X, (list, tuple)) or (isinstance(X, np.ndarray) and X.ndim == 1)
    if listed and len(X) and isinstance(X[0], (str, os.PathLike)):
        raise ValueError(
            f"X holds paths, such as {str(X[0])!r}, where embeddings are wanted. Make them first: "
            "DINOv2Transformer().fit_transform(paths), or put the two into one Pipeline."
        )
