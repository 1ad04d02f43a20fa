"""ImageDataset: what a DataLoader makes of it, and that torch is loaded only for it."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import dinov2_sklearn.images
from dinov2_sklearn.images import ImageDataset, ImageDecodeError, Preprocessing, load_image


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(5):
        pixels = rng.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i} ü.png")
    return tmp_path


def test_items_are_images_and_paths(folder):
    dataset = ImageDataset(folder)
    assert isinstance(dataset, Dataset)
    assert [dataset[i][1] for i in range(len(dataset))] == [
        str(p) for p in sorted(folder.iterdir())
    ]
    image, path = dataset[-1]
    assert path == dataset.paths[4]
    assert_array_equal(image, load_image(path))
    with pytest.raises(IndexError):
        dataset[5]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_data_loader_gives_every_image_once_in_order(folder, num_workers):
    preprocessing = Preprocessing().with_image_size(28, 14)
    dataset = ImageDataset(folder, transform=preprocessing)
    loader = DataLoader(dataset, batch_size=2, num_workers=num_workers)
    images, paths = zip(*loader, strict=True)
    assert [path for batch in paths for path in batch] == list(dataset.paths)
    expected = np.stack([preprocessing(load_image(path)) for path in dataset.paths])
    assert_array_equal(torch.cat(images).numpy(), expected)


def test_list_with_duplicates_keeps_its_order(folder):
    first, second = sorted(folder.iterdir())[:2]
    dataset = ImageDataset([second, first, second])
    assert [path for _, path in dataset] == [str(second), str(first), str(second)]


def test_bad_file_names_itself(folder):
    (folder / "9.png").write_bytes(b"no picture")
    dataset = ImageDataset(folder)
    with pytest.raises(ImageDecodeError, match=r"9\.png"):
        dataset[5]


def test_pickles(folder):
    dataset = pickle.loads(pickle.dumps(ImageDataset(folder, transform=Preprocessing())))
    assert dataset[0][0].shape == (3, 224, 224)


def test_importing_the_room_loads_no_heavy_library():
    code = (
        "import sys, dinov2_sklearn.images as room; room.list_images, room.load_image;"
        "heavy = {'torch', 'pandas', 'transformers', 'sklearn', 'scipy'} & set(sys.modules);"
        "sys.exit(f'{heavy} loaded' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_exist():
    for name in dinov2_sklearn.images.__all__:
        assert name in dir(dinov2_sklearn.images)
        assert getattr(dinov2_sklearn.images, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        dinov2_sklearn.images.nothing  # noqa: B018
