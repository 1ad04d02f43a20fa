"""What is drawn is the attention that was found, and files are whole."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.exceptions import NotFittedError

from dinov2_sklearn.attention import AttentionDisplay, AttentionMaps, PatchAttentionInspector


def _map(ax):
    """The attention that a panel shows, over its image."""
    assert len(ax.images) == 2
    return ax.images[1]


@pytest.fixture
def data():
    """Maps of three images: 3 layers, 5 heads, 4 x 6 patches."""
    rng = np.random.default_rng(0)
    return [
        AttentionMaps(
            attention=rng.random((3, 5, 4, 6), dtype=np.float32),
            layers=(2, 0, 7),
            patch_tokens=rng.random((4, 6, 8), dtype=np.float32),
            image=rng.integers(0, 256, (56, 84, 3), dtype=np.uint8),
            depth=9,
        )
        for _ in range(3)
    ]


def test_overlay_keeps_raw_values_and_clips_colours(data):
    display = AttentionDisplay(data, titles=["a", "b $x", "c"])
    assert display.plot(percentiles=(5, 90)) is display
    assert len(display.axes_) == 6
    for i in range(3):
        picture, overlay = display.axes_[2 * i : 2 * i + 2]
        np.testing.assert_array_equal(picture.images[0].get_array(), data[i].image)
        np.testing.assert_array_equal(overlay.images[0].get_array(), data[i].image)
        expected = data[i].attention[-1].mean(axis=0)
        np.testing.assert_array_equal(_map(overlay).get_array(), expected)
        np.testing.assert_allclose(_map(overlay).get_clim(), np.percentile(expected, (5, 90)))
        assert picture.get_title() == display.titles[i]


def test_map_covers_the_image_exactly(data):
    overlay = AttentionDisplay(data[:1]).plot().axes_[1]
    assert list(_map(overlay).get_extent()) == list(overlay.images[0].get_extent())


def test_percentiles_none_takes_the_whole_range(data):
    display = AttentionDisplay(data[:1]).plot(percentiles=None, head=-1, layer=2)
    shown = data[0].attention[0, -1]
    assert _map(display.axes_[1]).get_clim() == (shown.min(), shown.max())
    np.testing.assert_array_equal(_map(display.axes_[1]).get_array(), shown)


@pytest.mark.parametrize("n_images", [1, 3])
def test_grid_of_heads(data, n_images):
    display = AttentionDisplay(data[:n_images]).plot(kind="heads", layer=0)
    panels = display.axes_.reshape(n_images, 6)
    for i in range(n_images):
        for head in range(5):
            shown = _map(panels[i, 1 + head]).get_array()
            np.testing.assert_array_equal(shown, data[i].attention[1, head])
            assert panels[i, 1 + head].get_title() == f"head {head}"


@pytest.mark.parametrize(("head", "expected"), [(None, np.max), (4, lambda a, axis: a[:, 4])])
def test_grid_of_layers(data, head, expected):
    display = AttentionDisplay(data).plot(kind="layers", head=head, head_reduction="max")
    panels = display.axes_.reshape(3, 4)
    for i in range(3):
        shown = [_map(ax).get_array() for ax in panels[i, 1:]]
        np.testing.assert_array_equal(shown, expected(data[i].attention, axis=1))
    assert [ax.get_title() for ax in panels[0, 1:]] == ["layer 2", "layer 0", "layer 7"]


def test_colours_of_patches(data):
    colors = [np.full((4, 6, 3), i, dtype=np.uint8) for i in range(3)]
    display = AttentionDisplay(data, patch_rgb=colors).plot(kind="pca", interpolation="nearest")
    for i in range(3):
        (drawn,) = display.axes_[2 * i + 1].images
        np.testing.assert_array_equal(drawn.get_array(), colors[i])
        assert list(drawn.get_extent()) == list(display.axes_[2 * i].images[0].get_extent())


def test_drawn_on_axes_given(data):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots(3, 2)
    display = AttentionDisplay(data).plot(axes)
    assert display.figure_ is figure
    assert list(display.axes_) == list(axes.ravel())
    with pytest.raises(ValueError, match="3 images of 2 panels each need 6 axes, got 2"):
        AttentionDisplay(data).plot(axes[0])


def test_constant_attention_can_be_drawn(data, tmp_path):
    flat = replace(data[0], attention=np.full((3, 2, 4, 6), 0.1, dtype=np.float32))
    AttentionDisplay([flat]).save(tmp_path / "flat.png")
    with Image.open(tmp_path / "flat.png") as picture:
        assert picture.size[0] > 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "grid"}, "kind must be one of 'overlay', 'heads', 'layers', 'rollout', 'pca'"),
        ({"head": 5}, "head=5 is out of range: the model has 5 heads"),
        ({"layer": 1}, "layer=1 here: these maps hold the blocks 2, 0, 7 of 9"),
        ({"head_reduction": "sum"}, "head_reduction must be one of"),
        ({"percentiles": (99, 1)}, r"percentiles must rise within 0 to 100, got \(99, 1\)"),
        ({"kind": "pca"}, "give patch_rgb, or use AttentionDisplay.from_estimator"),
    ],
)
def test_bad_options(data, options, message):
    with pytest.raises(ValueError, match=message):
        AttentionDisplay(data).plot(**options)


def test_bad_data(data):
    with pytest.raises(ValueError, match="titles must have one entry.*got 1 for 3 images"):
        AttentionDisplay(data, titles=["a"])
    with pytest.raises(ValueError, match="patch_rgb must have one entry.*got 0 for 3"):
        AttentionDisplay(data, patch_rgb=[])
    with pytest.raises(ValueError, match="nothing to display"):
        AttentionDisplay([])
    with pytest.raises(TypeError, match="AttentionMaps, got an object of type str. Images are for"):
        AttentionDisplay(["a.jpg"])
    assert len(AttentionDisplay(data[0]).plot().axes_) == 2
    fewer = replace(data[1], attention=data[1].attention[:1], layers=(2,))
    with pytest.raises(ValueError, match=r"as the first, 3 and 5; got \(1, 5\)"):
        AttentionDisplay([data[0], fewer])


@pytest.mark.parametrize("extension", [".png", ".JPG", ".jpeg", ".webp", ".tif", ".pdf", ".svg"])
def test_formats(data, tmp_path, extension):
    path = tmp_path / f"attention{extension}"
    AttentionDisplay(data).save(path, dpi=50)
    start = path.read_bytes()[:200]
    if extension == ".pdf":
        assert start.startswith(b"%PDF")
    elif extension == ".svg":
        assert b"<?xml" in start
    else:
        kind = {".png": "PNG", ".webp": "WEBP", ".tif": "TIFF"}.get(extension, "JPEG")
        with Image.open(path) as picture:
            assert picture.format == kind


@pytest.mark.parametrize("extension", ["png", "svg", "pdf"])
def test_same_picture_is_the_same_file(data, tmp_path, extension):
    for name in ("a", "b"):
        AttentionDisplay(data).save(tmp_path / f"{name}.{extension}")
    first, second = ((tmp_path / f"{name}.{extension}").read_bytes() for name in ("a", "b"))
    assert first == second


def test_notebook_picture(data):
    display = AttentionDisplay(data)
    assert display._repr_png_() is None
    assert display.plot()._repr_png_().startswith(b"\x89PNG")


def test_from_estimator_takes_its_layer_and_head(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2, layer=1, head=1)
    display = AttentionDisplay.from_estimator(inspector, image_folder)
    shown = [_map(ax).get_array().ravel() for ax in display.axes_[1::2]]
    np.testing.assert_allclose(shown, inspector.transform(image_folder), atol=1e-6)


def test_from_estimator_with_other_layer_and_head(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2, head_reduction="max")
    display = AttentionDisplay.from_estimator(inspector, image_folder[2], layer=0, percentiles=None)
    maps = inspector.inspect(image_folder[2])
    np.testing.assert_allclose(
        _map(display.axes_[1]).get_array(), maps.attention[0].max(axis=0), atol=1e-6
    )
    display = AttentionDisplay.from_estimator(inspector, image_folder[2], head=0)
    np.testing.assert_allclose(_map(display.axes_[1]).get_array(), maps.attention[-1, 0], atol=1e-6)


def test_from_estimator_takes_one_image_of_any_kind(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2, keep_aspect=True)
    image = Image.open(image_folder[1]).convert("RGB")
    for source in (image_folder[1], [image_folder[1]], image, np.asarray(image)):
        display = AttentionDisplay.from_estimator(inspector, source)
        assert [maps.attention.shape for maps in display.maps] == [(1, 2, 4, 8)]


def test_from_estimator_draws_every_kind(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2, layer=1)
    with pytest.raises(NotFittedError):
        AttentionDisplay.from_estimator(inspector, image_folder, kind="pca")
    inspector.fit(image_folder)
    maps = inspector.inspect(image_folder[0])
    expected = {
        "heads": list(maps.attention[1]),
        "layers": list(maps.attention.mean(axis=1)),
        "rollout": [maps.rollout(layer=1)],
    }
    for kind, grids in expected.items():
        display = AttentionDisplay.from_estimator(inspector, image_folder[0], kind=kind)
        shown = [_map(ax).get_array() for ax in display.axes_[1:]]
        np.testing.assert_allclose(shown, grids, atol=1e-6)
    display = AttentionDisplay.from_estimator(inspector, image_folder[:2], kind="pca")
    shown = [ax.images[0].get_array() for ax in display.axes_[1::2]]
    np.testing.assert_array_equal(shown, inspector.patch_rgb(image_folder[:2]))


def test_from_estimator_takes_a_query(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2)
    display = AttentionDisplay.from_estimator(inspector, image_folder[0], query=(1, 2))
    expected = inspector.inspect(image_folder[0], query=(1, 2)).select()
    np.testing.assert_allclose(_map(display.axes_[1]).get_array(), expected, atol=1e-6)


def test_visualize_attention(tiny_dinov2, image_folder, tmp_path):
    inspector = PatchAttentionInspector(tiny_dinov2, layer=0, head=1)
    files = [tmp_path / f"{i}.png" for i in range(4)]
    inspector.visualize_attention(image_folder[0], files[0])
    inspector.visualize_attention(image_folder[0], str(files[1]), layer=0)
    inspector.visualize_attention(image_folder[0], files[2], layer=-1, head=0)
    maps = inspector.inspect(image_folder[0], layers=-1)
    AttentionDisplay([maps]).save(files[3])
    contents = [file.read_bytes() for file in files]
    assert len(set(contents[:3])) == 3
    # By default it is the mean over the heads of the last layer.
    assert contents[0] == contents[3]
    assert sorted(tmp_path.iterdir()) == files


def test_visualize_attention_leaves_nothing_half_done(tiny_dinov2, image_folder, tmp_path):
    inspector = PatchAttentionInspector(tiny_dinov2)
    path = tmp_path / "attention.png"
    path.write_text("old")
    with pytest.raises(ValueError, match=r"no-such\.jpg"):
        inspector.visualize_attention("no-such.jpg", path)
    with pytest.raises(ValueError, match="layers=9 is out of range"):
        inspector.visualize_attention(image_folder[0], path, layer=9)
    with pytest.raises(ValueError, match="head=9 is out of range"):
        inspector.visualize_attention(image_folder[0], path, head=9)
    with pytest.raises(ValueError, match=r"'.*attention\.txt': the extension says the format"):
        inspector.visualize_attention("not-read.jpg", tmp_path / "attention.txt")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        inspector.visualize_attention(image_folder[0], tmp_path / "nowhere" / "attention.png")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_importing_and_drawing_leave_pyplot_alone():
    code = (
        "import sys, numpy as np\n"
        "from dinov2_sklearn.attention import AttentionDisplay, AttentionMaps\n"
        "assert not {'torch', 'matplotlib', 'transformers'} & set(sys.modules)\n"
        "image, attention = np.zeros((28, 28, 3), np.uint8), np.ones((1, 2, 2, 2))\n"
        "maps = AttentionMaps(attention, (0,), np.ones((2, 2, 8)), image)\n"
        "AttentionDisplay([maps]).plot()._repr_png_()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
