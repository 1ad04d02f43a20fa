"""Tokens agree with plain transformers; batches shrink when memory runs out."""

import numpy as np
import pytest
import torch

from dinov2_sklearn.backbone import find_checkpoint
from dinov2_sklearn.backbone._forward import BatchRunner, forward_tokens
from dinov2_sklearn.backbone._loading import load_backbone
from dinov2_sklearn.backbone._plan import PlannedBlock, attend, plan_block


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


def test_tokens_of_every_architecture_are_those_of_transformers(architecture):
    folder, pixels, reference = architecture
    checkpoint = find_checkpoint(folder)
    backbone = load_backbone(checkpoint, torch.device("cpu"), torch.float32)
    expected, last = reference(), checkpoint.depth - 1
    n_prefix = checkpoint.n_prefix
    tokens = forward_tokens(backbone, pixels, [last])[last]
    sequence = expected.last_hidden_state
    torch.testing.assert_close(tokens.patches, sequence[:, n_prefix:], atol=1e-5, rtol=1e-5)
    assert tokens.patches.shape[1:] == ((pixels.shape[2] // checkpoint.patch_size) ** 2, 32)
    assert tokens.registers.shape[1] == checkpoint.n_registers
    if checkpoint.layout.cls == "none":
        assert tokens.cls is None
        return
    cls = sequence[:, 0] if checkpoint.layout.cls == "token" else expected.pooler_output
    only = forward_tokens(backbone, pixels, [last], only_cls=True)[last]
    for found in (tokens.cls, only.cls):
        torch.testing.assert_close(found, cls, atol=1e-5, rtol=1e-5)


def test_every_transformer_is_planned_and_takes_other_sizes(architecture):
    folder, _, _ = architecture
    backbone = load_backbone(find_checkpoint(folder), torch.device("cpu"), torch.float32)
    if backbone.checkpoint.n_heads:
        assert all(isinstance(block, PlannedBlock) for block in backbone.tower.blocks)
    last = backbone.checkpoint.depth - 1
    patches = forward_tokens(backbone, _pixels(1, 3, 64, 128), [last])[last].patches
    assert patches.shape[1] == 64 * 128 // backbone.checkpoint.patch_size**2


def test_positions_that_cannot_be_resized(tmp_path):
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = ViTConfig(**sizes, intermediate_size=32, image_size=(64, 32), patch_size=16)
    ViTModel(config).save_pretrained(tmp_path)  # 4 x 2 patches, of which the model keeps no shape
    backbone = load_backbone(find_checkpoint(str(tmp_path)), torch.device("cpu"), torch.float32)
    with pytest.raises(ValueError, match=r"cannot take images of 96 x 96 pixels.*image_size=None"):
        forward_tokens(backbone, _pixels(1, 3, 96, 96), [0])


@pytest.mark.parametrize("n_images", [1, 5, 16, 17, 40])
def test_a_cls_token_does_not_depend_on_the_others_of_its_batch(tiny_registers, n_images):
    backbone = load_backbone(find_checkpoint(tiny_registers), torch.device("cpu"), torch.float32)
    pixels = _pixels(40, 3, 56, 56)
    everything = forward_tokens(backbone, pixels, [2], only_cls=True)[2].cls
    some = forward_tokens(backbone, pixels[:n_images], [2], only_cls=True)[2].cls
    assert torch.equal(some, everything[:n_images])


@pytest.mark.parametrize("blocks", [[0], [0, 2], [1, 2]])
def test_cls_tokens_of_earlier_blocks_alone(tiny_registers, blocks):
    backbone = load_backbone(find_checkpoint(tiny_registers), torch.device("cpu"), torch.float32)
    pixels = _pixels(3, 3, 56, 56)
    everything = forward_tokens(backbone, pixels, blocks)
    alone = forward_tokens(backbone, pixels, blocks, only_cls=True)
    for block in blocks:
        torch.testing.assert_close(alone[block].cls, everything[block].cls, atol=1e-5, rtol=1e-5)


def test_bfloat16_is_as_close_to_float32_as_transformers_is(tiny_dinov2):
    from transformers import AutoModel

    pixels = _pixels(8, 3, 56, 56)
    full, half = (
        load_backbone(find_checkpoint(tiny_dinov2), torch.device("cpu"), dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    expected = forward_tokens(full, pixels, [3])[3].cls
    plain = AutoModel.from_pretrained(tiny_dinov2, dtype=torch.bfloat16).eval()
    with torch.inference_mode():
        theirs = plain(pixels.bfloat16()).last_hidden_state[:, 0]
    ours = forward_tokens(half, pixels, [3], only_cls=True)[3].cls

    def distance(found):
        return 1 - torch.nn.functional.cosine_similarity(found.float(), expected)

    assert distance(ours).mean() <= 1.5 * distance(theirs).mean()


def test_both_ways_of_attention_are_one():
    query, key, value = _pixels(3, 2, 4, 50, 16)
    for dtype in (torch.bfloat16, torch.float16):
        halves = [part.to(dtype) for part in (query, key, value)]
        plain = torch.nn.functional.scaled_dot_product_attention(*halves, scale=0.3)
        torch.testing.assert_close(attend(*halves, 0.3), plain, atol=0.03, rtol=0.03)


def test_a_block_that_computes_something_else_keeps_its_own_code(tiny_dinov2):
    backbone = load_backbone(find_checkpoint(tiny_dinov2), torch.device("cpu"), torch.float32)
    block = backbone.model.encoder.layer[0]

    class NormedAfterwards(type(block)):
        def forward(self, hidden, **kwargs):
            return self.norm1(super().forward(hidden, **kwargs))

    other = NormedAfterwards(backbone.model.config).eval()
    other.load_state_dict(block.state_dict(), strict=False)
    assert plan_block(other, 2, 1, lambda n, d: {}) is other
    assert isinstance(plan_block(block, 2, 1, lambda n, d: {}), PlannedBlock)


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
