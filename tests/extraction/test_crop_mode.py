"""What of a picture the model sees: the middle, or all of it; and what is told of failures."""

import warnings

import numpy as np
import pytest
from PIL import Image

from dinov2_sklearn import DINOv2Transformer, PatchAttentionInspector

MODES = ("center", "pad", "squash")


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Two frames of 16:9 that differ at the edge alone."""
    folder = tmp_path_factory.mktemp("wide")
    frame = np.full((108, 192, 3), 90, np.uint8)
    Image.fromarray(frame).save(folder / "empty.png")
    frame[30:70, 2:38] = np.random.default_rng(0).integers(0, 256, (40, 36, 3))
    Image.fromarray(frame).save(folder / "edge.png")
    return [str(folder / "empty.png"), str(folder / "edge.png")]


@pytest.mark.parametrize("mode", MODES)
def test_what_stands_at_the_edge_is_seen_unless_cropped_away(wide, tiny_dinov2, mode):
    embed = DINOv2Transformer(tiny_dinov2, crop_mode=mode)
    if mode == "center":
        with pytest.warns(UserWarning, match="Of 2 of 2 images .*crop_mode='pad'") as caught:
            empty, edge = embed.fit_transform(wide)
        assert len(caught) == 1
        np.testing.assert_array_equal(empty, edge)
        return
    empty, edge = embed.transform(wide)
    assert np.abs(empty - edge).max() > 1e-3


def test_nothing_is_told_of_usual_shapes_or_of_one_image(wide, tiny_dinov2, tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embed = DINOv2Transformer(tiny_dinov2)
        embed.transform([str(tmp_path / "a.png")] * 3)
        embed.transform(wide[:1])
        embed.transform([wide[0], str(tmp_path / "a.png")])


def test_rows_of_one_mode_are_not_found_for_another(wide, tiny_dinov2, tmp_path):
    rows = {}
    for _ in range(2):
        for mode in MODES:
            embed = DINOv2Transformer(tiny_dinov2, crop_mode=mode, embedding_cache=tmp_path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = embed.transform(wide)
            np.testing.assert_array_equal(rows.setdefault(mode, found), found)
    assert not np.array_equal(rows["pad"], rows["squash"])


def test_default_settings_are_those_of_0_1_0(tiny_dinov2):
    recipe = DINOv2Transformer(tiny_dinov2)._extraction().recipe
    assert {*recipe.settings()} == {
        *("version", "preprocessing", "exact_decode", "blocks", "pooling", "normalize", "dtype")
    }
    (preprocessing,) = recipe.settings()["preprocessing"]
    assert "crop_mode" not in preprocessing
    other = DINOv2Transformer(tiny_dinov2, value_range=(0, 9), crop_mode="pad", max_pixels=None)
    assert other._extraction().recipe.settings()["value_range"] == [0.0, 9.0]


@pytest.mark.parametrize("estimator", [DINOv2Transformer, PatchAttentionInspector])
@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"crop_mode": "fit"}, "crop_mode"),
        ({"value_range": (5, 1)}, "lower first"),
        ({"bands": (0,)}, "counted from 1"),
        ({"max_pixels": 0}, "max_pixels"),
        ({"truncated": "maybe"}, "truncated"),
        ({"storage_options": "key"}, "storage_options"),
    ],
)
def test_impossible_parameters(estimator, parameters, word, wide, tiny_dinov2):
    with pytest.raises(ValueError, match=word):
        estimator(tiny_dinov2, **parameters).fit(wide)


def test_errors_are_all_there_and_nothing_else_changes(tiny_dinov2, wide, tmp_path):
    bad = []
    for i in range(15):
        bad.append(str(tmp_path / f"{i}.png"))
        (tmp_path / f"{i}.png").write_bytes(b"no image")
    embed = DINOv2Transformer(tiny_dinov2, on_error="nan", crop_mode="pad")
    with pytest.raises(AttributeError, match="no errors_ before transform"):
        _ = embed.errors_
    before = dict(embed.__dict__)
    with pytest.warns(UserWarning, match="15 of 16 images"):
        embed.transform([*bad, wide[0]])
    assert embed.__dict__ == before
    assert list(embed.errors_) == list(range(15))
    assert all("not an image" in error.reason for error in embed.errors_.values())
    embed.transform(wide)
    assert embed.errors_ == {}


@pytest.mark.parametrize("mode", ["pad", "squash"])
def test_maps_of_whole_pictures_lie_on_the_original(mode, wide, tiny_dinov2):
    inspector = PatchAttentionInspector(tiny_dinov2, crop_mode=mode)
    maps = inspector.inspect(wide[1])
    assert maps.original_shape == (108, 192)
    rows, columns = maps.grid
    # A map of columns: each pixel of the original has the number of the column that shows it.
    numbers = np.broadcast_to(np.arange(columns), (rows, columns))
    placed = maps.on_original(numbers, smooth=False)
    assert placed.shape == (108, 192)
    assert np.isfinite(placed).all()
    np.testing.assert_array_equal(placed[0], np.arange(192) * columns // 192)
    down = maps.on_original(numbers.T, smooth=False)[:, 0]
    assert np.isfinite(down).all()
    assert (np.diff(down) >= 0).all()
    if mode == "squash":
        np.testing.assert_array_equal(down, np.arange(108) * rows // 108)
    else:  # the borders above and below have no pixels of the original
        assert down[0] > 0 or rows < 5
        assert abs(down[0] + down[-1] - (rows - 1)) <= 1


def test_keep_aspect_and_crop_mode_are_one_too_many(wide, tiny_dinov2):
    with pytest.raises(ValueError, match="Leave one of them out"):
        PatchAttentionInspector(tiny_dinov2, crop_mode="pad", keep_aspect=True).transform(wide)
