"""The process-wide model cache, devices and precision."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from dinov2_sklearn.backbone import CheckpointError, find_checkpoint
from dinov2_sklearn.backbone._loading import load_backbone, resolve_device, resolve_dtype

CPU = torch.device("cpu")


def test_one_model_for_all_threads(tiny_dinov2, tmp_path):
    checkpoint = find_checkpoint(str(shutil.copytree(tiny_dinov2, tmp_path / "fresh")))
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda _: load_backbone(checkpoint, CPU, torch.float32), range(16)))
    assert len({id(backbone.model) for backbone in loaded}) == 1


def test_precision_and_files_tell_models_apart(tiny_dinov2, tmp_path):
    folder = shutil.copytree(tiny_dinov2, tmp_path / "changing")
    first = load_backbone(find_checkpoint(str(folder)), CPU, torch.float32)
    half = load_backbone(find_checkpoint(str(folder)), CPU, torch.bfloat16)
    assert half.model is not first.model
    assert half.model.layernorm.weight.dtype == torch.bfloat16

    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder)
    with torch.no_grad():
        changed = model.layernorm.bias + 1
        model.layernorm.bias += 1
    model.save_pretrained(folder)
    again = load_backbone(find_checkpoint(str(folder)), CPU, torch.float32)
    assert torch.equal(again.model.layernorm.bias, changed)


def test_cache_is_bounded(tiny_dinov2, tmp_path):
    import gc
    import weakref

    folders = [str(shutil.copytree(tiny_dinov2, tmp_path / str(i))) for i in range(6)]
    models = [
        weakref.ref(load_backbone(find_checkpoint(folder), CPU, torch.float32).model)
        for folder in folders
    ]
    gc.collect()
    assert sum(model() is not None for model in models) <= 4
    assert models[-1]() is not None


def test_model_is_ready_for_inference(tiny_dinov2):
    model = load_backbone(find_checkpoint(tiny_dinov2), CPU, torch.float32).model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_damaged_weights(tiny_dinov2, tmp_path):
    folder = shutil.copytree(tiny_dinov2, tmp_path / "damaged")
    weights = Path(folder) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="could not be loaded"):
        load_backbone(find_checkpoint(str(folder)), CPU, torch.float32)


@pytest.mark.filterwarnings("ignore")
def test_weights_that_lack_a_tensor_are_not_filled_with_random_numbers(tiny_dinov2, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_dinov2, tmp_path / "lacking")
    tensors = load_file(folder / "model.safetensors")
    del tensors["layernorm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack 1 of the model's tensors \(layernorm.weight"):
        load_backbone(find_checkpoint(str(folder)), CPU, torch.float32)


def test_weights_of_other_shapes_than_the_configuration_says(tiny_dinov2, tmp_path):
    folder = shutil.copytree(tiny_dinov2, tmp_path / "wide")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 48}))
    with pytest.raises(CheckpointError, match="could not be loaded"):
        load_backbone(find_checkpoint(str(folder)), CPU, torch.float32)


def test_scales_of_layers_are_in_the_weights(tiny_dinov2):
    blocks = load_backbone(find_checkpoint(tiny_dinov2), CPU, torch.float32).model.encoder.layer
    assert all(isinstance(block.layer_scale1, torch.nn.Identity) for block in blocks)


def test_auto_device_is_there():
    assert resolve_device("auto").type in ("cuda", "mps", "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_absent_gpu_falls_back_with_a_warning():
    with pytest.warns(UserWarning, match=r"'cuda:3' is not available.*computing on the CPU"):
        assert resolve_device("cuda:3") == CPU


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:x", ""])
def test_unknown_device(name):
    with pytest.raises(ValueError, match=r"use 'auto', 'cpu', 'cuda'"):
        resolve_device(name)


def test_precision():
    assert resolve_dtype("float16", CPU) == torch.float16
    native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert resolve_dtype("auto", CPU) == (torch.bfloat16 if native else torch.float32)
