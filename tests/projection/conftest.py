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
