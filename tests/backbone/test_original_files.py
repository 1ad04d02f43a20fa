"""Files of the DINOv2 repository load as what they are."""

import pickle

import pytest
import torch

from dinov2_sklearn.backbone import CheckpointError, find_checkpoint
from dinov2_sklearn.backbone._forward import forward_tokens
from dinov2_sklearn.backbone._loading import load_backbone


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DINOV2_SKLEARN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def original_weights(*, swiglu=False, n_registers=0, chunk=""):
    """Random weights in the repository's names, 2 blocks of width 128 for 4 x 4 patches."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator) * 0.1

    weights = {
        "cls_token": random(1, 1, 128),
        "pos_embed": random(1, 17, 128),
        "mask_token": random(1, 128),
        "patch_embed.proj.weight": random(128, 3, 14, 14),
        "patch_embed.proj.bias": random(128),
        "norm.weight": random(128),
        "norm.bias": random(128),
    }
    if n_registers:
        weights["register_tokens"] = random(1, n_registers, 128)
    linears = {"attn.qkv": (384, 128), "attn.proj": (128, 128)}
    # As in the repository: two thirds of four times the width, in multiples of 8, both halves.
    gated = {"mlp.w12": (2 * 344, 128), "mlp.w3": (128, 344)}
    linears |= gated if swiglu else {"mlp.fc1": (512, 128), "mlp.fc2": (128, 512)}
    for block in range(2):
        prefix = f"blocks.{chunk}{block}."
        for name, shape in linears.items():
            weights[f"{prefix}{name}.weight"] = random(*shape)
            weights[f"{prefix}{name}.bias"] = random(shape[0])
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            weights[prefix + name] = random(128)
        weights |= {f"{prefix}ls{i}.gamma": random(128) for i in (1, 2)}
    return weights


def forward_as_the_repository_does(weights, pixels, n_registers):
    """Compute the tokens after all blocks and the last LayerNorm, in plain steps."""
    f = torch.nn.functional

    def linear(x, name):
        return f.linear(x, weights[name + ".weight"], weights[name + ".bias"])

    def norm(x, name):
        return f.layer_norm(x, (128,), weights[name + ".weight"], weights[name + ".bias"], 1e-6)

    w = weights["patch_embed.proj.weight"]
    patches = f.conv2d(pixels, w, weights["patch_embed.proj.bias"], stride=14)
    x = patches.flatten(2).transpose(1, 2)
    x = torch.cat([weights["cls_token"].expand(len(x), -1, -1), x], 1) + weights["pos_embed"]
    if n_registers:
        registers = weights["register_tokens"].expand(len(x), -1, -1)
        x = torch.cat([x[:, :1], registers, x[:, 1:]], 1)
    prefixes = sorted({name.split("norm1")[0] for name in weights if "norm1" in name})
    for p in prefixes:
        qkv = linear(norm(x, p + "norm1"), p + "attn.qkv").unflatten(-1, (3, 2, 64))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(2, 3) / 8).softmax(-1) @ v
        x = x + linear(mixed.transpose(1, 2).flatten(2), p + "attn.proj") * weights[p + "ls1.gamma"]
        y = norm(x, p + "norm2")
        if p + "mlp.fc1.weight" in weights:
            y = linear(f.gelu(linear(y, p + "mlp.fc1")), p + "mlp.fc2")
        else:
            gate, up = linear(y, p + "mlp.w12").chunk(2, dim=-1)
            y = linear(f.silu(gate) * up, p + "mlp.w3")
        x = x + y * weights[p + "ls2.gamma"]
    return norm(x, "norm")


@pytest.mark.parametrize("n_registers", [0, 4])
@pytest.mark.parametrize("swiglu", [False, True])
def test_tokens_are_those_of_the_repository(tmp_path, cache, swiglu, n_registers):
    weights = original_weights(swiglu=swiglu, n_registers=n_registers, chunk="0." if swiglu else "")
    file = tmp_path / "dinov2_vit.pth"
    torch.save(weights, file)
    checkpoint = find_checkpoint(str(file))
    assert (checkpoint.dim, checkpoint.depth, checkpoint.n_heads) == (128, 2, 2)
    assert (checkpoint.patch_size, checkpoint.n_registers) == (14, n_registers)
    assert checkpoint.preprocessing.crop == (224, 224)
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    backbone = load_backbone(checkpoint, torch.device("cpu"), torch.float32)
    found = forward_tokens(backbone, pixels, [1])[1]
    expected = forward_as_the_repository_does(weights, pixels, n_registers)
    torch.testing.assert_close(found.cls, expected[:, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.patches, expected[:, 1 + n_registers :], atol=1e-5, rtol=1e-4)
    assert find_checkpoint(str(file)) is checkpoint  # converted once
    assert [path.name for path in cache.iterdir()] == [checkpoint.folder.name]


def test_weights_of_a_training_run(tmp_path):
    weights = original_weights()
    named = {f"backbone.{name}": tensor for name, tensor in weights.items()}
    torch.save(
        {"teacher": {**named, "dino_head.mlp.0.weight": torch.ones(2, 2)}}, tmp_path / "a.pth"
    )
    assert find_checkpoint(str(tmp_path / "a.pth")).depth == 2


def test_weights_of_another_model(tmp_path):
    torch.save({"conv1.weight": torch.ones(2)}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match=r"'conv1.weight', which is no name of the DINOv2"):
        find_checkpoint(str(tmp_path / "resnet.pth"))


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('code was run')",)


def test_a_file_that_would_run_code(tmp_path):
    (tmp_path / "trap.pth").write_bytes(pickle.dumps({"cls_token": Trap()}))
    with pytest.raises(CheckpointError, match="Files that need code to be run are not read"):
        find_checkpoint(str(tmp_path / "trap.pth"))


def test_a_damaged_file(tmp_path):
    (tmp_path / "half.pth").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(CheckpointError, match="could not be read as weights alone"):
        find_checkpoint(str(tmp_path / "half.pth"))
