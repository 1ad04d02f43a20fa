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
from hypothesis import settings
from PIL import Image

# No test may reach a model hub; those about its absence say so themselves.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# Whether a change lands depends on the change, not on what hypothesis thinks of that day.
# Everywhere else it looks further each time.
settings.register_profile("landing", derandomize=True, database=None)
if "CI" in os.environ:
    settings.load_profile("landing")


def pytest_collection_modifyitems(items):
    """Run the cluster's tests first: beside several processes, they would be the last to end."""
    items.sort(key=lambda item: item.path.name != "test_ray.py")


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


def _tiny_models():
    """Return what makes a tiny model of each architecture of transformers."""
    import transformers as t

    sizes = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3}
    vit = {**sizes, "intermediate_size": 64, "image_size": 64, "patch_size": 16}
    text = {**sizes, "intermediate_size": 64, "vocab_size": 50}
    pair = {"vision_config": vit, "text_config": text}
    packed = {**pair, "vision_config": {**vit, "num_patches": 16}}
    decoder = {
        f"decoder_{name}": size
        for name, size in {**sizes, "num_hidden_layers": 1, "intermediate_size": 32}.items()
    }
    dinov2 = {**sizes, "mlp_ratio": 2, "patch_size": 16, "image_size": 64}
    dinov3 = {**vit, "num_register_tokens": 3}
    stages = {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 2, 1]}
    return {
        "dinov2": lambda: t.Dinov2Model(t.Dinov2Config(**dinov2)),
        "dinov2-swiglu": lambda: t.Dinov2Model(t.Dinov2Config(use_swiglu_ffn=True, **dinov2)),
        "dinov2-registers": lambda: t.Dinov2WithRegistersModel(
            t.Dinov2WithRegistersConfig(num_register_tokens=2, **dinov2)
        ),
        "dinov3": lambda: t.DINOv3ViTModel(t.DINOv3ViTConfig(**dinov3)),
        "dinov3-gated": lambda: t.DINOv3ViTModel(
            t.DINOv3ViTConfig(use_gated_mlp=True, key_bias=True, **dinov3)
        ),
        "dinov3-convnext": lambda: t.DINOv3ConvNextModel(t.DINOv3ConvNextConfig(**stages)),
        "vit": lambda: t.ViTForImageClassification(t.ViTConfig(**vit)),
        "vit-mae": lambda: t.ViTMAEForPreTraining(t.ViTMAEConfig(**vit, **decoder)),
        "ijepa": lambda: t.IJepaModel(t.IJepaConfig(**vit)),
        "clip": lambda: t.CLIPModel(t.CLIPConfig(**pair)),
        "clip-vision": lambda: t.CLIPVisionModel(t.CLIPVisionConfig(**vit)),
        "siglip": lambda: t.SiglipModel(t.SiglipConfig(**pair)),
        "siglip2": lambda: t.Siglip2Model(t.Siglip2Config(**packed)),
    }


# By name, as making them needs transformers, whose import takes seconds.
ARCHITECTURES = (
    *("dinov2", "dinov2-swiglu", "dinov2-registers", "dinov3", "dinov3-gated", "dinov3-convnext"),
    *("vit", "vit-mae", "ijepa", "clip", "clip-vision", "siglip", "siglip2"),
)


@pytest.fixture(scope="session", params=ARCHITECTURES)
def architecture(request, tmp_path_factory):
    """A tiny checkpoint's folder, pixels, and what gives the outputs of transformers alone."""
    import torch
    from transformers import AutoConfig, AutoModel

    folder = save_tiny(_tiny_models()[request.param](), tmp_path_factory.mktemp(request.param))
    config = AutoConfig.from_pretrained(folder)
    config = getattr(config, "vision_config", config)
    eager = {} if request.param == "dinov3-convnext" else {"attn_implementation": "eager"}
    model = AutoModel.from_pretrained(folder, config=config, **eager).eval()
    edge = 128 if request.param == "dinov3-convnext" else 64
    pixels = torch.randn(2, 3, edge, edge, generator=torch.Generator().manual_seed(1))

    @torch.inference_mode()
    def reference(pixels=pixels):
        inputs = {"pixel_values": pixels}
        grid = [edge // 16 for edge in pixels.shape[2:]]
        if request.param == "vit-mae":
            model.config.mask_ratio = 0.0
            inputs["noise"] = torch.arange(grid[0] * grid[1]).expand(len(pixels), -1)
        if request.param == "siglip2":  # as its image processor cuts them
            cut = pixels.unflatten(3, (-1, 16)).unflatten(2, (-1, 16)).permute(0, 2, 4, 3, 5, 1)
            inputs = {
                "pixel_values": cut.flatten(3).flatten(1, 2),
                "pixel_attention_mask": torch.ones(len(pixels), grid[0] * grid[1]),
                "spatial_shapes": torch.tensor([grid] * len(pixels)),
            }
        found = model(**inputs, **({"output_attentions": True} if eager else {}))
        if request.param.startswith("clip"):  # which normalises the CLS token alone
            tower = getattr(model, "vision_model", model)
            found.last_hidden_state = tower.post_layernorm(found.last_hidden_state)
        return found

    return folder, pixels, reference


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


@pytest.fixture
def write_clip():
    """Write a video of grey frames, each a step lighter than the one before."""
    av = pytest.importorskip("av")

    def write(path, rate, n_frames, step):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=rate)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for i in range(n_frames):
                grey = np.full((64, 64, 3), step * i, dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(stream.encode())

    return write


@pytest.fixture(scope="module")
def local_ray():
    """Ray on this machine, with two CPUs and a GPU that is only a name."""
    ray = pytest.importorskip("ray")
    # Nothing is sent anywhere, and nothing written into the user's home.
    # Its workers would give way to all other tests, which would wait for them.
    os.environ |= {
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }
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
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def offline_onnx():
    """The ONNX file behind the offline checkpoint."""
    from dinov2_sklearn.backbone._offline import _installed_onnx_file

    return _installed_onnx_file()
