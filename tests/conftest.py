"""What every room's tests share: tiny checkpoints and a few real images."""

import json
import os
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# No test may reach a model hub; those about its absence say so themselves.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

TINY = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "patch_size": 14,
    "image_size": 56,
}
PREPROCESSOR = {
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 64},
    "crop_size": {"height": 56, "width": 56},
    "resample": 3,
    "rescale_factor": 1 / 255,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_convert_rgb": True,
}


def save_tiny(model, folder):
    """Save a model as a checkpoint folder, with tokens that differ between images."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            # The published initialisation is so small that all images look alike.
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    model.save_pretrained(folder)
    Path(folder, "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return str(folder)


@pytest.fixture(scope="session")
def tiny_dinov2(tmp_path_factory):
    """Folder of a random Dinov2 checkpoint: 4 blocks of width 32, a 4 x 4 grid of patches."""
    from transformers import Dinov2Config, Dinov2Model

    model = Dinov2Model(Dinov2Config(num_hidden_layers=4, **TINY))
    return save_tiny(model, tmp_path_factory.mktemp("tiny-dinov2"))


@pytest.fixture(scope="session")
def tiny_registers(tmp_path_factory):
    """Folder of a random Dinov2WithRegisters checkpoint: 3 blocks, 2 register tokens."""
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(num_hidden_layers=3, num_register_tokens=2, **TINY)
    return save_tiny(Dinov2WithRegistersModel(config), tmp_path_factory.mktemp("tiny-registers"))


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """Paths of six crops of a real photograph, in several shapes and formats."""
    from sklearn.datasets import load_sample_image

    photo = Image.fromarray(load_sample_image("china.jpg"))
    folder = tmp_path_factory.mktemp("images")
    shapes = [(200, 200), (300, 150), (90, 240), (64, 64), (333, 222), (400, 400)]
    rng = np.random.default_rng(0)
    paths = []
    for i, (width, height) in enumerate(shapes):
        left, top = rng.integers(0, 640 - width), rng.integers(0, 427 - height)
        path = folder / f"image{i}.{'png' if i % 2 else 'jpg'}"
        photo.crop((left, top, left + width, top + height)).save(path)
        paths.append(str(path))
    return paths


@pytest.fixture(scope="session")
def opened():
    """Count how often each file is opened within a block, in all threads."""
    counters = []

    def hook(event, args):
        if event == "open" and isinstance(args[0], (str, os.PathLike)):
            for counter in counters:
                counter[os.fspath(args[0])] += 1

    sys.addaudithook(hook)  # for good: Python can take none away

    @contextmanager
    def counting():
        counters.append(Counter())
        try:
            yield counters[-1]
        finally:
            counters.pop()

    return counting


@pytest.fixture(scope="module")
def local_ray():
    """Ray on this machine, with two CPUs and a GPU that is only a name."""
    ray = pytest.importorskip("ray")
    # Nothing is sent anywhere, and nothing written into the user's home.
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
    with warnings.catch_warnings():
        # Ray 2.60 makes the context of its own with names that it deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        pytest.importorskip("ray.data").DataContext.get_current()
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    """A headless browser, where the machine has one. Two at once cannot be driven in a process."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if path is None:
        pytest.skip("there is no chromium on this machine (Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        # Software drawing: machines that test have no graphics card.
        flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def offline_onnx():
    """The ONNX file behind the offline checkpoint."""
    from dinov2_sklearn.backbone._offline import _installed_onnx_file

    return _installed_onnx_file()
