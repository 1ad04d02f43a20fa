"""What the tests on a GPU share; without a GPU they are skipped."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def gpu():
    """The GPU with all its memory, which is given back at the end."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU on this machine")
    yield torch.device("cuda", 0)
    torch.cuda.empty_cache()


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Paths of 90 crops of a real photograph, no two alike."""
    from sklearn.datasets import load_sample_image

    photo = load_sample_image("flower.jpg")
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    paths = [str(folder / f"{i:02}.{'png' if i % 3 else 'jpg'}") for i in range(90)]
    for path in paths:
        top, left = rng.integers(0, 220), rng.integers(0, 420)
        Image.fromarray(photo[top : top + 200, left : left + 220]).save(path)
    return paths
