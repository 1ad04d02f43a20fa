"""Embeddings agree with plain transformers, row by row, whatever the settings."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dinov2_sklearn import DINOv2Transformer
from dinov2_sklearn.backbone import find_checkpoint
from dinov2_sklearn.images import ImageDecodeError, load_image


@pytest.fixture
def bad_image(tmp_path):
    path = tmp_path / "bad.jpg"
    path.write_text("this is text")
    return str(path)


def _reference(folder, paths, *, layer=-1, pooling="cls", size=None):
    """What a user would write with transformers alone."""
    from transformers import AutoModel
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    processor = BitImageProcessorPil.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder)
    size_kwargs = (
        {}
        if size is None
        else {
            "size": {"shortest_edge": round(64 * size / 56)},
            "crop_size": {"height": size, "width": size},
        }
    )
    rows = []
    for path in paths:
        with Image.open(path) as image:
            pixels = processor(image.convert("RGB"), return_tensors="pt", **size_kwargs)
        with torch.inference_mode():
            states = model(**pixels, output_hidden_states=True).hidden_states[1:]
            tokens = model.layernorm(states[layer])[0]
        skip = 1 + getattr(model.config, "num_register_tokens", 0)
        pooled = {"cls": [tokens[0]], "mean": [tokens[skip:].mean(0)]}
        pooled["cls_mean"] = pooled["cls"] + pooled["mean"]
        rows.append(torch.cat(pooled[pooling]).numpy())
    return np.stack(rows)


def _embed(folder, **params):
    return DINOv2Transformer(folder, exact_decode=True, dtype="float32", batch_size=4, **params)


@pytest.mark.parametrize("pooling", ["cls", "mean", "cls_mean"])
@pytest.mark.parametrize("name", ["tiny_dinov2", "tiny_registers"])
def test_agrees_with_transformers(request, name, pooling, image_folder):
    folder = request.getfixturevalue(name)
    rows = _embed(folder, pooling=pooling).fit_transform(image_folder)
    expected = _reference(folder, image_folder, pooling=pooling)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected, atol=2e-4)


def test_layers_are_concatenated_in_the_order_given(tiny_dinov2, image_folder):
    rows = _embed(tiny_dinov2, layer=(3, -4), pooling="mean").fit_transform(image_folder)
    parts = [_reference(tiny_dinov2, image_folder, layer=i, pooling="mean") for i in (3, 0)]
    np.testing.assert_allclose(rows, np.hstack(parts), atol=2e-4)


def test_scales_are_concatenated_and_rounded_to_the_patch(tiny_dinov2, image_folder):
    rows = _embed(tiny_dinov2, scales=(1.0, 1.6)).fit_transform(image_folder)
    parts = [_reference(tiny_dinov2, image_folder, size=size) for size in (56, 84)]
    np.testing.assert_allclose(rows, np.hstack(parts), atol=2e-4)


def test_columns_are_pooled_tokens_within_layers_within_scales(tiny_registers, image_folder):
    embed = _embed(tiny_registers, layer=(0, -1), pooling="cls_mean", scales=(1.5, 1.0))
    parts = [
        _reference(tiny_registers, image_folder, layer=layer, pooling=pooling, size=size)
        for size in (84, 56)
        for layer in (0, 2)
        for pooling in ("cls", "mean")
    ]
    rows = embed.fit_transform(image_folder)
    np.testing.assert_allclose(rows, np.hstack(parts), atol=3e-4)
    assert rows.shape[1] == len(embed.get_feature_names_out())


def test_images_that_are_not_cropped_go_one_by_one(tiny_dinov2, image_folder, tmp_path):
    folder = Path(shutil.copytree(tiny_dinov2, tmp_path / "model"))
    recipe = json.loads((folder / "preprocessor_config.json").read_text())
    recipe |= {"do_center_crop": False, "do_resize": False}
    (folder / "preprocessor_config.json").write_text(json.dumps(recipe))
    with pytest.raises(ValueError, match="does not crop images to one size.*Set batch_size=1"):
        DINOv2Transformer(str(folder)).transform(image_folder)
    rows = DINOv2Transformer(str(folder), batch_size=1).transform(image_folder)
    assert rows.shape == (6, 32)


def test_image_size(tiny_dinov2, image_folder):
    rows = _embed(tiny_dinov2, image_size=100).fit_transform(image_folder)
    np.testing.assert_allclose(rows, _reference(tiny_dinov2, image_folder, size=98), atol=2e-4)


@pytest.mark.parametrize("params", [{"batch_size": 1}, {"batch_size": 100}, {"num_workers": 0}])
def test_batches_and_threads_do_not_change_rows(tiny_dinov2, image_folder, params):
    many = image_folder * 5
    np.testing.assert_allclose(
        DINOv2Transformer(tiny_dinov2).set_params(**params).transform(many),
        DINOv2Transformer(tiny_dinov2).transform(many),
        atol=1e-5,
    )


@pytest.mark.slow
def test_how_many_images_there_are_does_not_change_a_row(image_folder):
    """Products of few rows are computed in another way where the processor has bfloat16."""
    # Few and small: without native bfloat16 each takes half a second or more.
    embed = DINOv2Transformer("offline", dtype="bfloat16", batch_size=8, image_size=112)
    images = [np.asarray(load_image(path)) for path in image_folder]
    rows = embed.transform(images)
    np.testing.assert_array_equal(embed.transform(images[:1]), rows[:1])


def test_paths_images_and_arrays_give_the_same_rows(tiny_dinov2, image_folder):
    paths = image_folder[1::2]
    images = [Image.open(path).convert("RGB") for path in paths]
    embed = DINOv2Transformer(tiny_dinov2)
    rows = embed.transform(paths)
    np.testing.assert_array_equal(embed.transform(images), rows)
    np.testing.assert_array_equal(embed.transform([np.asarray(image) for image in images]), rows)


def test_repeated_paths_keep_their_places(tiny_dinov2, image_folder):
    embed = DINOv2Transformer(tiny_dinov2)
    order = [2, 0, 2, 5, 0, 1]
    rows = embed.transform([image_folder[i] for i in order])
    np.testing.assert_allclose(rows, embed.transform(image_folder)[order], atol=1e-5)
    np.testing.assert_array_equal(rows[0], rows[2])


def test_normalize(tiny_dinov2, image_folder):
    plain = DINOv2Transformer(tiny_dinov2).transform(image_folder)
    unit = DINOv2Transformer(tiny_dinov2, normalize=True).transform(image_folder)
    expected = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, expected, atol=1e-6)


def test_half_precision_is_close_and_float32(tiny_dinov2, image_folder):
    full = DINOv2Transformer(tiny_dinov2, dtype="float32").transform(image_folder)
    half = DINOv2Transformer(tiny_dinov2, dtype="bfloat16").transform(image_folder)
    cosine = (full * half).sum(1) / np.linalg.norm(full, axis=1) / np.linalg.norm(half, axis=1)
    assert half.dtype == np.float32
    assert cosine.min() > 0.99
    assert not np.array_equal(full, half)


def test_bad_image_raises_its_name_and_cause(tiny_dinov2, image_folder, bad_image):
    with pytest.raises(ImageDecodeError, match=r"bad\.jpg.*not an image"):
        DINOv2Transformer(tiny_dinov2).transform([*image_folder, bad_image])


def test_bad_image_as_nan_leaves_its_neighbours_unharmed(tiny_dinov2, image_folder, bad_image):
    good = DINOv2Transformer(tiny_dinov2).transform(image_folder)
    mixed = [*image_folder[:2], bad_image, *image_folder[2:], bad_image, "missing.png"]
    embed = DINOv2Transformer(tiny_dinov2, on_error="nan")
    with pytest.warns(UserWarning, match=r"3 of 9 images.*rows are NaN") as caught:
        rows = embed.transform(mixed)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "bad.jpg" in message
    assert "missing.png" in message
    failed = [2, 7, 8]
    assert np.isnan(rows[failed]).all()
    np.testing.assert_allclose(np.delete(rows, failed, axis=0), good, atol=1e-5)


def test_all_images_bad(tiny_dinov2, bad_image):
    with pytest.warns(UserWarning, match="1 of 1"):
        rows = DINOv2Transformer(tiny_dinov2, on_error="nan").transform([bad_image])
    assert rows.shape == (1, 32)
    assert np.isnan(rows).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"layer": 99}, r"layer=99 is out of range.*has 4 blocks"),
        ({"layer": (0, -5)}, r"layer=-5 is out of range"),
        ({"layer": ()}, "layer must be an int or a tuple of ints"),
        ({"layer": (0.5,)}, "layer must be an int or a tuple of ints"),
        ({"scales": ()}, "scales must be one or more positive numbers"),
        ({"scales": (1.0, -1.0)}, "scales must be one or more positive numbers"),
        ({"scales": ("1",)}, "scales must be one or more positive numbers"),
        ({"scales": (float("inf"),)}, "scales must be one or more positive numbers"),
        ({"pooling": "max"}, "'pooling' parameter"),
        ({"batch_size": 0}, "'batch_size' parameter"),
        ({"on_error": "skip"}, "'on_error' parameter"),
    ],
)
def test_bad_parameters_are_told_before_any_work(tiny_dinov2, params, message):
    with pytest.raises(ValueError, match=message):
        DINOv2Transformer(tiny_dinov2, **params).fit(["not-read.jpg"])


def test_large_jpegs_by_default_are_close_to_exact(tmp_path):
    from sklearn.datasets import load_sample_image

    photo = Image.fromarray(load_sample_image("flower.jpg")).resize((2560, 1708))
    photo.save(tmp_path / "large.jpg", quality=92)
    rows = [
        DINOv2Transformer("offline", exact_decode=exact).transform([tmp_path / "large.jpg"])[0]
        for exact in (False, True)
    ]
    cosine = rows[0] @ rows[1] / np.linalg.norm(rows[0]) / np.linalg.norm(rows[1])
    assert cosine > 0.995


def test_progress_is_shown_on_request_only(tiny_dinov2, image_folder, capfd):
    DINOv2Transformer(tiny_dinov2).transform(image_folder)
    assert capfd.readouterr().err == ""
    DINOv2Transformer(tiny_dinov2, verbose=True).transform(image_folder)
    assert "6/6" in capfd.readouterr().err


@pytest.mark.parametrize("method", ["fit", "transform", "fit_transform"])
def test_checkpoint_is_read_once(tiny_dinov2, image_folder, opened, tmp_path, method):
    folder = Path(shutil.copytree(tiny_dinov2, tmp_path / "fresh"))
    # transformers reads the other file, too.
    config = folder / "preprocessor_config.json"
    embed = DINOv2Transformer(str(folder)).set_output(transform="pandas")
    with opened() as files:
        getattr(embed, method)(image_folder)
        assert files[str(config)] == 1
        again = embed.transform(image_folder)
        assert [*again.columns] == [*embed.get_feature_names_out()]
    assert files[str(config)] == 1
    recipe = json.loads(config.read_text())
    config.write_text(json.dumps({**recipe, "image_mean": [0, 0, 0]}))
    assert not np.allclose(embed.transform(image_folder), again, atol=1e-3)


def test_no_warning_in_ordinary_use(tiny_dinov2, image_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DINOv2Transformer(tiny_dinov2).fit_transform(image_folder)


def test_every_architecture_embeds(architecture, image_folder):
    folder, _, _ = architecture
    has_cls = find_checkpoint(folder).layout.cls != "none"
    embed = DINOv2Transformer(folder, image_size=64, crop_mode="squash")
    if not has_cls:
        with pytest.raises(ValueError, match="has no CLS token.*pooling='mean'"):
            embed.transform(image_folder)
    rows = embed.set_params(pooling="cls_mean" if has_cls else "mean").transform(image_folder)
    assert rows.shape == (6, 64 if has_cls else 32)
    assert len(np.unique(rows[:, 0])) == 6
