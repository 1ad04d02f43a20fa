"""Vision Transformers of timm, with its own classes and random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dinov2_sklearn import DINOv2Transformer, PatchAttentionInspector
from dinov2_sklearn.attention._maths import queries_and_keys
from dinov2_sklearn.backbone import CheckpointError, find_checkpoint
from dinov2_sklearn.backbone._forward import forward_tokens
from dinov2_sklearn.backbone._loading import load_backbone
from dinov2_sklearn.backbone._plan import PlannedBlock
from dinov2_sklearn.backbone._timm import read_preprocessing

SMALL = {"embed_dim": 32, "depth": 3, "num_heads": 2}
MODELS = {
    "vit_tiny_patch16_224": {"img_size": 64},
    "vit_small_patch14_reg4_dinov2": {"img_size": 56},
    "vit_small_patch16_dinov3": {"img_size": 64},
    "eva02_tiny_patch14_224": {"img_size": 56},
    "vit_base_patch16_siglip_224": {"img_size": 64},
    # Which the plan does not know.
    "vit_medium_patch16_reg4_gap_256": {"img_size": 64, "qk_norm": True},
}


@pytest.fixture(scope="session")
def timm():
    """timm, also where torchvision's compiled part is for another build of torch.

    timm imports torchvision, which then fails to register what its own operators are like. None of
    them is used here; declared, they let it be imported.
    """
    try:
        import torchvision  # noqa: F401
    except ModuleNotFoundError:
        pytest.skip("torchvision, which timm needs, is not installed")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return pytest.importorskip("timm")


@pytest.fixture(scope="module", params=MODELS)
def model(request, timm, tmp_path_factory):
    """The folder of a checkpoint as timm writes it, and timm's model with its pixels."""
    settings = {**SMALL, **MODELS[request.param]}
    model = timm.create_model(request.param, num_classes=0, **settings).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    folder = tmp_path_factory.mktemp(request.param)
    timm.models.save_for_hf(model, folder, model_args=settings, safe_serialization=True)
    edge = settings["img_size"]
    return str(folder), model, torch.randn(2, 3, edge, edge, generator=generator)


def _backbone(folder):
    return load_backbone(find_checkpoint(folder), torch.device("cpu"), torch.float32)


@torch.inference_mode()
def test_tokens_are_those_of_timm(model):
    folder, theirs, pixels = model
    backbone = _backbone(folder)
    expected = theirs.forward_features(pixels)
    found = forward_tokens(backbone, pixels, [2])[2]
    n_prefix = backbone.checkpoint.n_prefix
    torch.testing.assert_close(found.patches, expected[:, n_prefix:], atol=1e-5, rtol=1e-4)
    if backbone.checkpoint.layout.cls == "token":
        alone = forward_tokens(backbone, pixels, [2], only_cls=True)[2].cls
        torch.testing.assert_close(alone, expected[:, 0], atol=1e-5, rtol=1e-4)
    elif backbone.checkpoint.layout.cls == "head":
        pooled = theirs.forward_head(expected, pre_logits=True)
        torch.testing.assert_close(found.cls, pooled, atol=1e-5, rtol=1e-4)
    planned = "qk_norm" not in MODELS[Path(folder).name[:-1]]
    assert all(isinstance(block, PlannedBlock) == planned for block in backbone.tower.blocks)


def test_attention_is_that_which_timm_computes_without_a_kernel(model):
    folder, theirs, pixels = model
    weights = []
    for block in theirs.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda *args: weights.append(args[2]))
    with torch.inference_mode():
        theirs.forward_features(pixels)
    pairs = queries_and_keys(_backbone(folder), pixels, range(3))
    for (query, key), expected in zip(pairs, weights, strict=True):
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        torch.testing.assert_close(scores.softmax(-1), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:Of .* images the model sees less", "ignore:image_size=96 is")
def test_estimators_take_timm(model, image_folder):
    folder, _, _ = model
    checkpoint = find_checkpoint(folder)
    pooling = "mean" if checkpoint.layout.cls == "none" else "cls"
    rows = DINOv2Transformer(folder, pooling=pooling, image_size=96).transform(image_folder[:3])
    assert rows.shape == (3, 32)
    assert len(np.unique(rows[:, 0])) == 3
    inspector = PatchAttentionInspector(folder, query=(1, 1), image_size=96)
    maps = inspector.transform(image_folder[:2])
    assert maps.shape == (2, round(96 / checkpoint.patch_size) ** 2)


def test_preprocessing_is_timms(model, timm, image_folder):
    folder, _, _ = model
    config = json.loads(Path(folder, "config.json").read_text())["pretrained_cfg"]
    # In the published size: where an odd number of pixels is cut off, the sides differ.
    config["input_size"] = [3, 224, 224]
    prepare = timm.data.create_transform(**timm.data.resolve_data_config(config), is_training=False)
    image = Image.open(image_folder[1]).convert("RGB")
    ours = read_preprocessing({"pretrained_cfg": config})(image)
    np.testing.assert_allclose(ours, prepare(image), atol=1e-5)


def test_no_vision_transformer(timm, tmp_path):
    network = timm.create_model("resnet18", num_classes=0)
    timm.models.save_for_hf(network, tmp_path, safe_serialization=True)
    with pytest.raises(CheckpointError, match="of timm is no Vision Transformer"):
        DINOv2Transformer(str(tmp_path)).get_feature_names_out()
