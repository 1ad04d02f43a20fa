"""umappp, by way of scranpy, which has it in a wheel: a point is a column there."""

import os

import numpy as np
from scranpy import run_umap


def lay_out(X: np.ndarray) -> np.ndarray:
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    points = np.asfortranarray(unit.T.astype(np.float64))
    return run_umap(points, num_threads=os.cpu_count(), parallel_optimization=True)
