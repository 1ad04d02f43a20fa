"""openTSNE: t-SNE by interpolation, as its documentation begins."""

import numpy as np
import openTSNE


def lay_out(X: np.ndarray) -> np.ndarray:
    return np.asarray(openTSNE.TSNE(metric="cosine", n_jobs=-1, random_state=42).fit(X))
