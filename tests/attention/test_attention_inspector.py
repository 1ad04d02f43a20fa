"""The inspector agrees with plain transformers, and with itself, whatever the settings.

The contract that it shares with other estimators over images is tested beside theirs.
"""

import json
import pickle
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from dinov2_sklearn.attention import PatchAttentionInspector
from dinov2_sklearn.backbone import find_checkpoint
from dinov2_sklearn.images import ImageDecodeError


@lru_cache
def _eager(folder):
    from transformers import AutoModel
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    processor = BitImageProcessorPil.from_pretrained(folder)
    return processor, AutoModel.from_pretrained(folder, attn_implementation="eager")


def _reference(folder, path, size=None, query=0):
    """Attention (layers, heads, patches) as a user would get it from transformers alone."""
    processor, model = _eager(folder)
    options = {}
    if size is not None:
        options["size"] = {"shortest_edge": round(64 * size / 56)}
        options["crop_size"] = {"height": size, "width": size}
    with Image.open(path) as image:
        pixels = processor(image.convert("RGB"), return_tensors="pt", **options)
    with torch.inference_mode():
        attentions = model(**pixels, output_attentions=True).attentions
    skip = 1 + getattr(model.config, "num_register_tokens", 0)
    return torch.cat(attentions)[:, :, query, skip:].numpy()


@pytest.mark.parametrize("name", ["tiny_dinov2", "tiny_registers"])
def test_agrees_with_transformers(request, name, image_folder):
    folder = request.getfixturevalue(name)
    expected = np.stack([_reference(folder, path) for path in image_folder])
    for layer in (0, -1):
        for head in (0, -1):
            inspector = PatchAttentionInspector(folder, layer=layer, head=head, batch_size=4)
            rows = inspector.fit_transform(image_folder)
            assert rows.dtype == np.float32
            np.testing.assert_allclose(rows, expected[:, layer, head], atol=1e-4)


@pytest.mark.parametrize("reduction", ["mean", "max", "min"])
def test_reduction_of_heads(tiny_dinov2, image_folder, reduction):
    heads = [
        PatchAttentionInspector(tiny_dinov2, head=head).transform(image_folder) for head in (0, 1)
    ]
    inspector = PatchAttentionInspector(tiny_dinov2, head_reduction=reduction)
    expected = getattr(np, reduction)(heads, axis=0)
    np.testing.assert_allclose(inspector.transform(image_folder), expected, atol=1e-7)


@pytest.mark.parametrize("name", ["tiny_dinov2", "tiny_registers"])
def test_inspect_gives_the_rows_of_transform(request, name, image_folder):
    folder = request.getfixturevalue(name)
    inspector = PatchAttentionInspector(folder, layer=1)
    rows = inspector.transform(image_folder)
    for path, row in zip(image_folder, rows, strict=True):
        maps = inspector.inspect(path)
        found = maps.attention[maps.layers.index(1)].mean(axis=0)
        np.testing.assert_allclose(found.ravel(), row, atol=1e-6)


@pytest.mark.parametrize(
    ("query", "token"), [("cls", 0), (1, 2), (-1, 2), ((0, 0), 3), ((2, 3), 14), ((-1, -1), 18)]
)
def test_queries_agree_with_transformers(tiny_registers, image_folder, query, token):
    expected = np.stack([_reference(tiny_registers, p, query=token) for p in image_folder])
    inspector = PatchAttentionInspector(tiny_registers, query=query)
    found = inspector.transform(image_folder)
    np.testing.assert_allclose(found, expected[:, -1].mean(axis=1), atol=1e-4)
    maps = PatchAttentionInspector(tiny_registers).inspect(image_folder[0], query=query)
    assert maps.query == query
    np.testing.assert_allclose(maps.attention.reshape(3, 2, -1), expected[0], atol=1e-4)
    np.testing.assert_array_equal(inspector.inspect(image_folder[0]).attention, maps.attention)


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        (2, IndexError, "query=2 asks for a register token: the model has 2 register tokens"),
        ((4, 0), IndexError, "no patch at row=4, col=0: the grid has 4 rows and 4 columns"),
        ((0, -5), IndexError, "no patch at row=0, col=-5"),
        ((0.5, 1), ValueError, "query must be"),
        ((1, 2, 3), ValueError, "query must be"),
        ("patch", ValueError, "'query' parameter"),
    ],
)
def test_bad_queries_are_told_before_any_work(tiny_registers, query, error, message):
    inspector = PatchAttentionInspector(tiny_registers, query=query)
    for method in (inspector.fit, inspector.transform, inspector.inspect_many):
        with pytest.raises(error, match=message):
            method(["not-read.jpg"])
    if error is IndexError:
        inspector = PatchAttentionInspector(tiny_registers)
        with pytest.raises(error, match=message):
            inspector.inspect("not-read.jpg", query=query)


def test_query_outside_the_grid_of_a_whole_image(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2, keep_aspect=True, query=(0, 7))
    assert inspector.inspect(image_folder[1]).grid == (4, 8)
    with pytest.raises(IndexError, match="row=0, col=7: the grid has 4 rows and 4 columns"):
        inspector.inspect(image_folder[0])


@pytest.mark.parametrize("reduction", ["mean", "max"])
def test_rollout_agrees_with_transformers(tiny_registers, image_folder, reduction):
    skip = 3
    inspector = PatchAttentionInspector(tiny_registers)
    for layer, n_blocks in [(None, 3), (0, 1), (-2, 2)]:
        processor, model = _eager(tiny_registers)
        pixels = processor(Image.open(image_folder[1]).convert("RGB"), return_tensors="pt")
        with torch.inference_mode():
            attentions = model(**pixels, output_attentions=True).attentions
        product = np.eye(skip + 16)
        for attention in attentions[:n_blocks]:
            mixing = getattr(attention[0].numpy(), reduction)(axis=0) + np.eye(len(product))
            product = mixing / mixing.sum(axis=1, keepdims=True) @ product
        for query, token in [("cls", 0), ((1, 2), skip + 6)]:
            maps = inspector.inspect(image_folder[1], layers=-1, query=query)
            found = pickle.loads(pickle.dumps(maps)).rollout(layer, reduction)
            np.testing.assert_allclose(found.ravel(), product[token, skip:], atol=1e-4)


def test_rollout_of_what_is_not_there(tiny_dinov2, image_folder):
    maps = PatchAttentionInspector(tiny_dinov2, keep_aspect=True).inspect(image_folder[1])
    assert maps.rollout().shape == (4, 8)
    with pytest.raises(ValueError, match="layer=4"):
        maps.rollout(4)
    with pytest.raises(ValueError, match="head_reduction must be one of"):
        maps.rollout(head_reduction="sum")


def test_rollout_keeps_the_settings_of_its_time(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2)
    maps = inspector.inspect(image_folder[0])
    expected = maps.rollout()
    inspector.set_params(image_size=28, model_name="no-such-model")
    np.testing.assert_array_equal(maps.rollout(), expected)


@pytest.mark.parametrize("keep_aspect", [False, True])
def test_inspect_many_is_inspect_of_each(tiny_dinov2, image_folder, keep_aspect):
    inspector = PatchAttentionInspector(tiny_dinov2, keep_aspect=keep_aspect, batch_size=2)
    images = [image_folder[i] for i in (0, 3, 5, 1, 1, 2, 4, 0)]
    found = list(inspector.inspect_many(images, layers=[0, -1], query=(1, 1)))
    assert len(found) == len(images)
    for path, maps in zip(images, found, strict=True):
        expected = inspector.inspect(path, layers=[0, -1], query=(1, 1))
        np.testing.assert_allclose(maps.attention, expected.attention, atol=1e-6)
        np.testing.assert_allclose(maps.patch_tokens, expected.patch_tokens, atol=1e-4)
        np.testing.assert_array_equal(maps.image, expected.image)
        assert (maps.layers, maps.window) == (expected.layers, expected.window)


def test_inspect_many_raises_in_its_turn(tiny_dinov2, image_folder, tmp_path):
    (tmp_path / "bad.jpg").write_text("this is text")
    inspector = PatchAttentionInspector(tiny_dinov2, batch_size=1)
    found = inspector.inspect_many([image_folder[0], tmp_path / "bad.jpg"])
    next(found)
    with pytest.raises(ImageDecodeError, match=r"bad\.jpg.*not an image"):
        next(found)
    with pytest.raises(ValueError, match="inspect_many takes several images, got the single path"):
        inspector.inspect_many("photos")
    with pytest.raises(ValueError, match="layers=9 is out of range"):
        inspector.inspect_many(["not-read.jpg"], layers=9)


def test_large_images(tiny_dinov2, image_folder):
    maps = PatchAttentionInspector(tiny_dinov2, image_size=1036).inspect(image_folder[5], layers=0)
    assert maps.attention.shape == (1, 2, 74, 74)
    assert maps.image.shape == (1036, 1036, 3)
    assert maps.attention.sum(axis=(2, 3)).max() < 1


@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (10_000, 50), (50, 10_000), (1, 300)])
def test_extreme_shapes(tiny_dinov2, width, height, keep_aspect):
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[:, : width // 2] = 255
    maps = PatchAttentionInspector(tiny_dinov2, keep_aspect=keep_aspect).inspect(image)
    assert np.isfinite(maps.attention).all()
    assert maps.image.shape == (14 * maps.grid[0], 14 * maps.grid[1], 3)
    back = maps.on_original(maps.select())
    assert back.shape == (height, width)
    assert np.isfinite(back).any()
    assert np.isfinite(back).all() or not keep_aspect


def test_maps_fall_on_the_pixels_that_they_are_of(tiny_dinov2, tmp_path):
    """The picture that the model saw, put back, is the original where it was seen."""
    for width, height, orientation in [(100, 60, 1), (60, 100, 1), (100, 60, 6), (3000, 1000, 8)]:
        ramp = np.linspace(0, 255, width)[None, :] * np.ones((height, 1))
        path = tmp_path / "ramp.jpg"
        exif = Image.Exif()
        exif[0x0112] = orientation
        grey = Image.fromarray(np.uint8(ramp))
        Image.merge("RGB", [grey] * 3).save(path, exif=exif, quality=95)
        upright = ImageOps.exif_transpose(Image.open(path)).convert("L")
        for keep_aspect in (False, True):
            maps = PatchAttentionInspector(tiny_dinov2, keep_aspect=keep_aspect).inspect(path)
            rows, columns = maps.grid
            seen = maps.image[..., 0].reshape(rows, 14, columns, 14).mean(axis=(1, 3))
            back = maps.on_original(seen)
            assert back.shape == (upright.height, upright.width)
            inner = np.isfinite(back)
            assert inner.all() or not keep_aspect
            # Away from the edges, where the interpolation between middles of patches ends.
            difference = np.abs(back - np.asarray(upright, dtype=float))
            assert np.nanpercentile(difference, 70) < 6
            if not keep_aspect:
                short = min(width, height)
                assert inner.sum() == pytest.approx((short * 56 / 64) ** 2, rel=0.05)


def test_inspect(tiny_registers, image_folder):
    maps = PatchAttentionInspector(tiny_registers).inspect(image_folder[1])
    assert maps.attention.shape == (3, 2, 4, 4)
    assert maps.attention.dtype == np.float32
    assert maps.layers == (0, 1, 2)
    assert (maps.attention > 0).all()
    assert (maps.attention.sum(axis=(2, 3)) < 1).all()
    assert maps.patch_tokens.shape == (4, 4, 32)
    assert maps.patch_tokens.dtype == np.float32
    assert maps.image.shape == (56, 56, 3)
    assert maps.image.dtype == np.uint8


def test_inspect_chosen_layers(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2)
    everything = inspector.inspect(image_folder[0])
    some = inspector.inspect(image_folder[0], layers=[-1, 1])
    assert some.layers == (3, 1)
    np.testing.assert_allclose(some.attention, everything.attention[[3, 1]], atol=1e-6)
    assert inspector.inspect(image_folder[0], layers=np.int64(2)).layers == (2,)


def test_patch_tokens_are_those_of_the_layer(tiny_dinov2, image_folder):
    last = PatchAttentionInspector(tiny_dinov2).inspect(image_folder[0], layers=0)
    first = PatchAttentionInspector(tiny_dinov2, layer=0).inspect(image_folder[0], layers=3)
    again = PatchAttentionInspector(tiny_dinov2, layer=3).inspect(image_folder[0])
    np.testing.assert_allclose(last.patch_tokens, again.patch_tokens, atol=1e-5)
    assert not np.allclose(last.patch_tokens, first.patch_tokens, atol=1e-3)


def test_the_image_is_what_the_model_saw(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2)
    image = Image.open(image_folder[0]).resize((64, 64), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(
        inspector.inspect(image_folder[0]).image, np.asarray(image.crop((4, 4, 60, 60)))
    )


def test_paths_images_and_arrays_give_the_same_maps(tiny_dinov2, image_folder):
    path = image_folder[1]
    image = Image.open(path).convert("RGB")
    inspector = PatchAttentionInspector(tiny_dinov2)
    expected = inspector.inspect(path).attention
    for source in (Path(path), image, np.asarray(image)):
        np.testing.assert_array_equal(inspector.inspect(source).attention, expected)


def test_image_size(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2, image_size=98, head=1)
    expected = [_reference(tiny_dinov2, path, size=98)[-1, 1] for path in image_folder]
    np.testing.assert_allclose(inspector.transform(image_folder), expected, atol=1e-4)


def test_image_size_between_patches_is_rounded_with_a_warning(tiny_dinov2, image_folder):
    rounded = PatchAttentionInspector(tiny_dinov2, image_size=100)
    expected = PatchAttentionInspector(tiny_dinov2, image_size=98)
    match = "image_size=100 is not a multiple of the model's patch of 14 pixels; 98 x 98 is used"
    with pytest.warns(UserWarning, match=match) as caught:
        rows = rounded.transform(image_folder)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(rows, expected.transform(image_folder))
    for method in (rounded.fit, rounded.fit_transform, rounded.inspect_many):
        with pytest.warns(UserWarning, match=match) as caught:
            method(image_folder)
        assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(UserWarning, match=match) as caught:
        rounded.patch_rgb(image_folder)
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(UserWarning, match=match) as caught:
        maps = rounded.inspect(image_folder[0])
    assert [warning.filename for warning in caught] == [__file__]
    assert maps.image.shape == (98, 98, 3)
    assert maps.attention.shape[2:] == (7, 7)


def test_keep_aspect_shows_whole_images(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2, keep_aspect=True)
    grids = [inspector.inspect(path).attention.shape[2:] for path in image_folder]
    assert grids == [(4, 4), (4, 8), (11, 4), (4, 4), (4, 6), (4, 4)]
    maps = inspector.inspect(image_folder[2])
    assert maps.image.shape == (154, 56, 3)
    assert maps.patch_tokens.shape == (11, 4, 32)


def test_keep_aspect_in_rows(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2, keep_aspect=True)
    square, wide = image_folder[0], image_folder[1]
    assert inspector.transform([wide, wide]).shape == (2, 32)
    with pytest.raises(ValueError, match=r"grid of 4 x 4 patches, '.*image1\.png' one of 4 x 8"):
        inspector.transform([square, wide])
    with pytest.raises(ValueError, match="image 1 one of 4 x 8"):
        inspector.transform([square, Image.open(wide)])


def test_feature_names(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2, image_size=42)
    names = inspector.get_feature_names_out()
    assert list(names[2:5]) == [f"patchattentioninspector_{i}" for i in ("0_2", "1_0", "1_1")]
    assert names.shape == (9,)
    inspector.set_output(transform="pandas")
    assert list(inspector.transform(image_folder).columns) == list(names)
    whole = PatchAttentionInspector(tiny_dinov2, keep_aspect=True)
    with pytest.raises(ValueError, match="the columns depend on the images"):
        whole.get_feature_names_out()


@pytest.mark.parametrize("params", [{"batch_size": 1}, {"batch_size": 100}, {"num_workers": 0}])
def test_batches_and_threads_do_not_change_rows(tiny_dinov2, image_folder, params):
    many = image_folder * 2
    np.testing.assert_allclose(
        PatchAttentionInspector(tiny_dinov2, **params).transform(many),
        PatchAttentionInspector(tiny_dinov2).transform(many),
        atol=1e-6,
    )


def _copy_checkpoint(folder, tmp_path, **changes):
    """Link a checkpoint's files, and change its preprocessing."""
    copy = tmp_path / "checkpoint"
    copy.mkdir()
    for name in ("config.json", "model.safetensors"):
        (copy / name).symlink_to(Path(folder, name))
    recipe = json.loads(Path(folder, "preprocessor_config.json").read_text()) | changes
    (copy / "preprocessor_config.json").write_text(json.dumps(recipe))
    return str(copy)


def test_checkpoint_whose_own_size_is_between_patches(tiny_dinov2, image_folder, tmp_path):
    folder = _copy_checkpoint(tiny_dinov2, tmp_path, crop_size={"height": 60, "width": 60})
    inspector = PatchAttentionInspector(folder)
    with pytest.warns(UserWarning, match=r"own image size 60 x 60 is not.*; 56 x 56 is used"):
        maps = inspector.inspect(image_folder[0])
    assert maps.image.shape == (56, 56, 3)
    assert len(inspector.get_feature_names_out()) == 16


def test_checkpoint_that_crops_nothing(tiny_dinov2, image_folder, tmp_path):
    changes = {"do_center_crop": False, "size": {"shortest_edge": 56}}
    folder = _copy_checkpoint(tiny_dinov2, tmp_path, **changes)
    maps = PatchAttentionInspector(folder).inspect(image_folder[1])
    assert maps.image.shape == (56, 112, 3)
    with pytest.raises(ValueError, match="rows would differ in length"):
        PatchAttentionInspector(folder).transform(image_folder)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"layer": 4}, r"layer=4 is out of range.*has 4 blocks"),
        ({"layer": -5}, r"layer=-5 is out of range"),
        ({"head": 2}, r"head=2 is out of range: the model has 2 heads.*0 to 1, or -1"),
        ({"head": -3}, r"head=-3 is out of range"),
        ({"layer": 0.5}, "'layer' parameter"),
        ({"head_reduction": "sum"}, "'head_reduction' parameter"),
        ({"image_size": 0}, "'image_size' parameter"),
    ],
)
def test_bad_parameters_are_told_before_any_work(tiny_dinov2, params, message):
    inspector = PatchAttentionInspector(tiny_dinov2, **params)
    for method in (inspector.fit, inspector.transform, inspector.fit_transform):
        with pytest.raises(ValueError, match=message):
            method(["not-read.jpg"])
    with pytest.raises(ValueError, match=message):
        inspector.inspect("not-read.jpg")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (4, "layers=4 is out of range"),
        ([0, -5], "layers=-5 is out of range"),
        ([], "one or more ints"),
        ([0.5], "one or more ints"),
        (1.5, "one or more ints"),
        ("all", "one or more ints"),
    ],
)
def test_bad_layers(tiny_dinov2, layers, message):
    with pytest.raises(ValueError, match=message):
        PatchAttentionInspector(tiny_dinov2).inspect("not-read.jpg", layers=layers)


def test_unreadable_file_is_named(tiny_dinov2, image_folder, tmp_path):
    (tmp_path / "bad.jpg").write_text("this is text")
    inspector = PatchAttentionInspector(tiny_dinov2)
    with pytest.raises(ImageDecodeError, match=r"bad\.jpg.*not an image"):
        inspector.transform([*image_folder, tmp_path / "bad.jpg"])
    with pytest.raises(ImageDecodeError, match=r"bad\.jpg.*not an image"):
        inspector.inspect(tmp_path / "bad.jpg")


@pytest.mark.filterwarnings("ignore:Of .* images the model sees less")
def test_every_architecture_shows_where_it_looks_or_says_why_not(architecture, image_folder):
    folder, _, _ = architecture
    layout = find_checkpoint(folder).layout
    inspector = PatchAttentionInspector(folder, image_size=64)
    if layout.n_heads == 0:
        with pytest.raises(ValueError, match="is a convolutional network and has no attention"):
            inspector.transform(image_folder)
        return
    if layout.cls != "token":
        with pytest.raises(
            IndexError, match=r"the CLS token, which this model does not have.*patch"
        ):
            inspector.transform(image_folder)
        inspector.set_params(query=(1, 2))
    assert inspector.transform(image_folder).shape == (6, 16)
    maps = inspector.inspect(image_folder[0])
    assert maps.attention.shape == (3, 2, 4, 4)
    assert maps.rollout().shape == (4, 4)


def test_no_warning_in_ordinary_use(tiny_registers, image_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PatchAttentionInspector(tiny_registers).fit_transform(image_folder)
        PatchAttentionInspector(tiny_registers).inspect(image_folder[0])
