"""What the tests of extraction share beyond the rooms above."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Paths of 120 small images of noise, no two alike."""
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    paths = [str(folder / f"{i:03}.png") for i in range(120)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(path)
    return paths
