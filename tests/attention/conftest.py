"""The tiny checkpoints again, with attention that is far from uniform."""

import shutil

import pytest
from safetensors.torch import load_file, save_file


def _sharpen(folder, copy):
    """Copy a checkpoint with larger query and key weights.

    The attention of random weights is nearly uniform, and one wrong in its scale or its tokens
    would be hard to tell from the right one.
    """
    shutil.copytree(folder, copy)
    tensors = load_file(copy / "model.safetensors")
    for name in tensors:
        if name.endswith(("query.weight", "key.weight", "q_proj.weight", "k_proj.weight")):
            tensors[name] = tensors[name] * 6
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return str(copy)


@pytest.fixture(scope="session")
def tiny_dinov2(tiny_dinov2, tmp_path_factory):
    return _sharpen(tiny_dinov2, tmp_path_factory.mktemp("sharp") / "dinov2")


@pytest.fixture(scope="session")
def tiny_registers(tiny_registers, tmp_path_factory):
    return _sharpen(tiny_registers, tmp_path_factory.mktemp("sharp") / "registers")
