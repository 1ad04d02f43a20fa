"""Tokens agree with plain transformers; batches shrink when memory runs out."""

import numpy as np
import pytest
import torch

from dinov2_sklearn.backbone import find_checkpoint
from dinov2_sklearn.backbone._forward import BatchRunner, forward_tokens
from dinov2_sklearn.backbone._loading import load_backbone


def _pixels(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [(56, 56), (28, 84)])
@pytest.mark.parametrize("name", ["tiny_dinov2", "tiny_registers"])
def test_tokens_agree_with_transformers(request, name, size):
    from transformers import AutoModel

    folder = request.getfixturevalue(name)
    backbone = load_backbone(find_checkpoint(folder), torch.device("cpu"), torch.float32)
    pixels = _pixels(3, 3, *size)
    reference = AutoModel.from_pretrained(folder, attn_implementation="eager")
    with torch.inference_mode():
        states = reference(pixels, output_hidden_states=True).hidden_states[1:]
        expected = [reference.layernorm(state) for state in states]
    n_registers = backbone.checkpoint.n_registers
    tokens = forward_tokens(backbone, pixels, range(backbone.checkpoint.depth))
    for index, state in enumerate(expected):
        torch.testing.assert_close(tokens[index].cls, state[:, 0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            tokens[index].registers, state[:, 1 : 1 + n_registers], atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(
            tokens[index].patches, state[:, 1 + n_registers :], atol=1e-5, rtol=1e-5
        )


def test_dinov3_tokens_agree_with_transformers(tmp_path):
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_register_tokens=3,
        image_size=64,
        patch_size=16,
    )
    model = DINOv3ViTModel(config).eval()
    model.save_pretrained(tmp_path)
    backbone = load_backbone(find_checkpoint(str(tmp_path)), torch.device("cpu"), torch.float32)
    pixels = _pixels(2, 3, 64, 32)
    with torch.inference_mode():
        expected = model(pixels).last_hidden_state
    tokens = forward_tokens(backbone, pixels, [1])[1]
    torch.testing.assert_close(tokens.cls, expected[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tokens.patches, expected[:, 4:], atol=1e-5, rtol=1e-5)


class LimitedMemory(torch.nn.Module):
    """Doubles its input, and runs out of memory above a batch size."""

    def __init__(self, limit, error):
        super().__init__()
        self.limit, self.error, self.seen = limit, error, []

    def forward(self, batch):
        if len(batch) > self.limit:
            raise self.error
        self.seen.append(len(batch))
        return batch * 2


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_batches_shrink_and_stay_small(error):
    model = LimitedMemory(5, error)
    run = BatchRunner(model, 32)
    batch = torch.arange(40.0)
    with pytest.warns(UserWarning, match=r"Memory ran out with (32|16|8) images"):
        np.testing.assert_array_equal(run(batch), batch * 2)
    assert run.batch_size == 4
    model.seen.clear()
    run(batch)
    assert model.seen == [4] * 10


def test_single_image_too_large():
    run = BatchRunner(LimitedMemory(0, torch.OutOfMemoryError("no")), 2)
    with (
        pytest.warns(UserWarning, match="with 2 images"),
        pytest.raises(MemoryError, match="a single image"),
    ):
        run(torch.zeros(2))


def test_other_errors_are_not_taken_for_memory():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        BatchRunner(LimitedMemory(0, RuntimeError("shapes cannot be multiplied")), 2)(torch.ones(2))
