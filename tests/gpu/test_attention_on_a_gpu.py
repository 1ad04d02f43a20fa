"""Attention, patch tokens and colours from a GPU are those of the CPU."""

import numpy as np
import pytest

from dinov2_sklearn import PatchAttentionInspector


@pytest.fixture(params=["tiny_dinov2", "tiny_registers"])
def inspectors(request):
    """The same inspector on the GPU and on the CPU."""
    model = request.getfixturevalue(request.param)
    return [
        PatchAttentionInspector(model, device=device, batch_size=4) for device in ("cuda", "cpu")
    ]


@pytest.mark.parametrize("query", ["cls", (1, 2)])
def test_all_layers_and_heads_are_those_of_the_cpu(inspectors, photos, query):
    gpu, cpu = (
        [*inspector.set_params(query=query).inspect_many(photos[:10])] for inspector in inspectors
    )
    for ours, theirs in zip(gpu, cpu, strict=True):
        np.testing.assert_allclose(ours.attention, theirs.attention, atol=1e-4)
        np.testing.assert_allclose(ours.patch_tokens, theirs.patch_tokens, atol=1e-3)
        np.testing.assert_allclose(ours.rollout(), theirs.rollout(), atol=1e-4)


def test_colours_are_those_of_the_cpu(inspectors, photos):
    gpu, cpu = (inspector.fit(photos[:20]).patch_rgb(photos[:20]) for inspector in inspectors)
    differences = np.abs(np.array(gpu, dtype=int) - np.array(cpu, dtype=int))
    # A patch at the border of the foreground may fall on its other side.
    assert (differences > 2).mean() < 0.01


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_looks_at_the_same_places(inspectors, photos, dtype):
    gpu, cpu = inspectors
    halved = gpu.set_params(dtype=dtype).transform(photos)
    full = cpu.transform(photos)
    # The largest deviation of a map, beside its largest attention.
    assert (np.abs(halved - full).max(axis=1) / full.max(axis=1)).max() < 0.15
