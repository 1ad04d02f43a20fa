from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from dinov2_sklearn.projection import UMAPProjector


@pytest.fixture(scope="session")
def digits():
    """Handwritten digits as (fitted rows, held-out rows)."""
    X = load_digits().data / 16
    return train_test_split(X, train_size=700, test_size=300, random_state=0)


@pytest.fixture(scope="session")
def fitted(digits):
    """A projector that tests must leave as it is."""
    return UMAPProjector().fit(digits[0])


@pytest.fixture(scope="session")
def umap_learn():
    """What umap-learn 0.5.12 makes of the digits: its graph, its curves, its maps."""
    file = Path(__file__).parent.parent / "data" / "umap_learn" / "version_0_5_12.npz"
    with np.load(file) as arrays:
        return dict(arrays)
