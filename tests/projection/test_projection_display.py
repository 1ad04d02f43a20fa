import colorsys
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from dinov2_sklearn.drawing._palette import PALETTE
from dinov2_sklearn.projection import ProjectionDisplay, UMAPProjector
from dinov2_sklearn.projection._colors import NO_GROUP, group_points
from dinov2_sklearn.projection._drawing import FAINTEST, arrange, shade

POINTS = np.random.default_rng(0).normal(size=(60, 2))
THIRDS = np.repeat(["north", "south", "west"], 20)


def drawn_points(display):
    """Each drawn dot of the map as {position: colour}, the selected ones apart."""
    parts = []
    for collection in display.ax_.collections:
        colors = np.broadcast_to(collection.get_facecolors(), (len(collection.get_offsets()), 4))
        offsets = map(tuple, np.asarray(collection.get_offsets()).tolist())
        parts.append(dict(zip(offsets, (to_hex(color) for color in colors), strict=True)))
    return parts


def test_every_point_is_drawn_once_in_the_colour_of_its_group():
    display = ProjectionDisplay.from_coordinates(POINTS, labels=THIRDS)
    (dots,) = drawn_points(display)
    expected = np.repeat(PALETTE[:3], 20)
    assert dots == {
        tuple(point): color.lower() for point, color in zip(POINTS.tolist(), expected, strict=True)
    }


def test_group_names_stand_on_their_groups():
    display = ProjectionDisplay.from_coordinates(POINTS, labels=THIRDS)
    texts = {text.get_text(): text.xy for text in display.ax_.texts}
    assert sorted(texts) == ["north", "south", "west"]
    for name, position in texts.items():
        assert (POINTS[name == THIRDS] == position).all(axis=1).any()


@pytest.mark.parametrize("n_groups", [5, 40, 100])
@pytest.mark.parametrize("spread", [0.0, 0.3, 5.0])
def test_names_do_not_overlap(n_groups, spread, tmp_path):
    rng = np.random.default_rng(n_groups)
    labels = np.arange(1000) % n_groups
    points = rng.normal(size=(n_groups, 2))[labels] * spread + rng.normal(size=(1000, 2)) * 0.3
    display = ProjectionDisplay.from_coordinates(points, labels=labels)
    boxes = {}
    for text in display.ax_.texts:
        # As it is drawn, when its place is settled.
        text.draw = lambda renderer, text=text, draw=text.draw: (
            draw(renderer),
            boxes.update({text.get_text(): Text.get_window_extent(text, renderer).extents}),
        )
    display.save(tmp_path / "map.png", dpi=80)
    window = display.ax_.get_window_extent().extents * 80 / display.figure_.dpi
    assert len(boxes) == n_groups
    boxes = np.array(list(boxes.values()))
    lower = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    upper = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    overlap = (lower < upper).all(axis=2)
    np.fill_diagonal(overlap, False)
    assert not overlap.any()
    assert (boxes[:, :2] >= window[:2] - 1).all()
    assert (boxes[:, 2:] <= window[2:] + 1).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_boxes_are_placed_apart_inside_or_not_at_all(n_boxes, seed):
    rng = np.random.default_rng(seed)
    anchors, sizes = rng.uniform(-10, 110, (n_boxes, 2)), rng.uniform(1, [60, 10], (n_boxes, 2))
    places = arrange(anchors, sizes, np.array([[0.0, 0.0], [100.0, 100.0]]))
    placed = np.isfinite(places).all(axis=1)
    assert placed[0]
    places, sizes = places[placed], sizes[placed]
    assert (places - sizes / 2 >= -1e-9).all()
    assert (places + sizes / 2 <= 100 + 1e-9).all()
    apart = np.abs(places[:, None] - places) - (sizes[:, None] + sizes) / 2
    assert (apart.max(axis=2)[np.triu_indices(len(places), 1)] >= -1e-9).all()


def test_a_name_with_room_stands_on_its_group():
    anchors = np.array([[50.0, 50.0], [20.0, 80.0]])
    places = arrange(anchors, np.full((2, 2), 10.0), np.array([[0.0, 0.0], [100.0, 100.0]]))
    np.testing.assert_array_equal(places, anchors)


@pytest.mark.parametrize("labels", ["none", "groups", "measurements"])
def test_more_than_fifty_thousand_points_are_shaded(labels, tmp_path):
    rng = np.random.default_rng(0)
    points = np.vstack([rng.normal(size=(60_000, 2)), [[9.0, 9.0]]])
    values = {
        "none": None,
        "groups": np.arange(60_001) % 2,
        "measurements": np.append(rng.random(60_000), np.nan),
    }
    display = ProjectionDisplay.from_coordinates(points, labels=values[labels], selected=[60_000])
    (image,) = display.ax_.images
    (marks,) = display.ax_.collections
    assert np.asarray(marks.get_offsets()).tolist() == [[9, 9]]
    limits = np.array([display.ax_.get_xlim(), display.ax_.get_ylim()])
    assert (limits[:, 0] < points.min(axis=0)).all()
    assert (limits[:, 1] > points.max(axis=0)).all()
    opacity = np.asarray(image.get_array())[..., 3]
    assert opacity[-1, -1] == FAINTEST  # one point alone is still seen
    assert opacity.max() == 1
    display.save(tmp_path / "map.png", dpi=30)


def test_shading_counts_and_mixes():
    points = np.array([[0.0, 0.0]] * 8 + [[1.0, 0.5]] * 2)
    colors = np.array([[1.0, 0, 0]] * 8 + [[0, 0, 1.0], [0, 1.0, 0]])
    picture, extent = shade(points, colors)
    full = picture[picture[..., 3] > 0]
    np.testing.assert_allclose(full[0], [1, 0, 0, 1])
    np.testing.assert_allclose(full[1], [0, 0.5, 0.5, FAINTEST + (1 - FAINTEST) / 3])
    assert extent[0] == extent[2] == 0
    assert extent[1] > 1
    assert extent[3] > 0.5


def test_a_map_without_extent_is_shaded_too(tmp_path):
    display = ProjectionDisplay.from_coordinates(np.zeros((50_001, 1)))
    display.save(tmp_path / "map.png", dpi=30)
    ProjectionDisplay.from_coordinates(np.zeros((50_001, 2))).save(tmp_path / "map.png", dpi=30)


def test_no_group_is_grey_and_nameless():
    labels = np.repeat([-1, 0, 1], 20)
    display = ProjectionDisplay.from_coordinates(POINTS, labels=labels)
    assert {t.get_text() for t in display.ax_.texts} == {"0", "1"}
    (dots,) = drawn_points(display)
    assert all(dots[tuple(point)] == NO_GROUP.lower() for point in POINTS[:20].tolist())


def test_measurements_have_a_scale_and_gaps_are_grey():
    values = np.linspace(0, 1, 60)
    values[7] = np.nan
    display = ProjectionDisplay.from_coordinates(POINTS, labels=values)
    (dots,) = drawn_points(display)
    assert dots[tuple(POINTS[7])] == NO_GROUP.lower()
    assert dots[tuple(POINTS[0])] == "#440154"  # the ends of viridis
    assert dots[tuple(POINTS[59])] == "#fde725"
    assert len(display.figure_.axes) == 2


@pytest.mark.parametrize("selected", [[9, 3, 50], np.isin(np.arange(60), [3, 9, 50])])
def test_selected_points_are_drawn_again_on_top(selected):
    display = ProjectionDisplay.from_coordinates(POINTS, labels=THIRDS, selected=selected)
    dots, marks = drawn_points(display)
    assert set(marks) == {tuple(POINTS[i]) for i in (3, 9, 50)}
    assert len(dots) == 60
    assert [t.get_text() for t in display.ax_.get_legend().get_texts()] == ["selected (3)"]


@pytest.mark.parametrize("n_groups", [3, 30])
def test_a_name_has_the_hue_of_its_group_and_can_be_read(n_groups):
    # Wherever the points of a group lie, its name says which they are.
    labels = np.resize([f"group {i}" for i in range(n_groups)], 60)
    display = ProjectionDisplay.from_coordinates(POINTS, labels=labels)
    (dots,) = drawn_points(display)
    for text in display.ax_.texts:
        group = np.flatnonzero(labels == text.get_text())[0]
        own = colorsys.rgb_to_hsv(*to_rgb(dots[tuple(POINTS[group])]))
        written = colorsys.rgb_to_hsv(*to_rgb(text.get_color()))
        assert min(abs(own[0] - written[0]), 1 - abs(own[0] - written[0])) < 0.05
        linear = np.array(to_rgb(text.get_color())) ** 2.2
        assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) > 3  # contrast to white


def test_texts_that_look_like_mathematics_or_hidden_labels_are_shown_as_they_are(tmp_path):
    names = np.resize(["$x$", "_hidden", "50% $"], 60)
    for annotate in (True, False):
        display = ProjectionDisplay.from_coordinates(
            POINTS, labels=names, annotate=annotate, title="a $ b $"
        )
        legend = display.ax_.get_legend()
        texts = display.ax_.texts if annotate else legend.get_texts()
        assert sorted(text.get_text() for text in texts) == ["$x$", "50% $", "_hidden"]
        display.save(tmp_path / "map.png", dpi=30)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([3, 1, 3]), ["1", "3"]),
        (np.array([True, False, True]), ["False", "True"]),
        (np.array(["b", None, "a"], dtype=object), ["a", "b"]),
        (np.array([None, 2, "x"], dtype=object), ["2", "x"]),
        (np.array([-1, -1, -1]), []),
    ],
)
def test_labels_of_any_type_make_groups(labels, names):
    groups = group_points(labels, np.zeros((3, 2)))
    assert groups.names == names
    assert [names[code] if code >= 0 else None for code in groups.codes] == [
        None if label is None or label == -1 else str(label) for label in labels
    ]


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_maps_of_one_to_three_coordinates_are_drawn(n_components, tmp_path):
    points = np.random.default_rng(0).normal(size=(80, n_components))
    display = ProjectionDisplay.from_coordinates(points, labels=np.arange(80) % 12, selected=[5])
    display.save(tmp_path / "map.png", dpi=40)
    with Image.open(tmp_path / "map.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 1
    assert display.ax_.name == ("3d" if n_components == 3 else "rectilinear")


@pytest.mark.parametrize("n_points", [1, 2])
def test_the_smallest_maps_are_drawn(n_points, tmp_path):
    display = ProjectionDisplay.from_coordinates(np.zeros((n_points, 2)), labels=[0] * n_points)
    display.save(tmp_path / "map.png", dpi=30)


def test_axes_of_the_caller_are_used():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    display = ProjectionDisplay.from_coordinates(POINTS, ax=right, show_axes=True)
    assert display.ax_ is right
    assert display.figure_ is figure
    assert right.axison
    assert not left.collections


def test_one_scale_for_both_coordinates_and_no_axes_by_default():
    ax = ProjectionDisplay.from_coordinates(POINTS).ax_
    assert ax.get_aspect() == 1
    assert not ax.axison


def test_from_estimator_draws_the_fitted_rows_or_new_ones(digits, fitted):
    (dots,) = drawn_points(ProjectionDisplay.from_estimator(fitted))
    assert set(dots) == set(map(tuple, fitted.embedding_.astype(float).tolist()))
    (dots,) = drawn_points(ProjectionDisplay.from_estimator(fitted, digits[1][:9]))
    assert set(dots) == set(map(tuple, fitted.transform(digits[1][:9]).astype(float).tolist()))


def test_plot_static_shows_the_clusters(digits, tmp_path):
    projector = UMAPProjector(n_epochs=20).fit(digits[0][:200])
    projector.cluster(4)
    display = projector.plot_static(tmp_path / "map.png", dpi=40, figsize=(6, 5))
    assert {text.get_text() for text in display.ax_.texts} == {"0", "1", "2", "3"}
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.size == (240, 200)


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_the_extension_is_the_format_and_the_same_map_the_same_file(name, start, tmp_path):
    files = []
    for _ in range(2):
        display = ProjectionDisplay(POINTS, labels=THIRDS, selected=[1, 2])
        display.save(tmp_path / name, dpi=50)
        files.append((tmp_path / name).read_bytes())
    assert files[0].startswith(start)
    assert files[0] == files[1]


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "map.png"
    path.write_bytes(b"before")
    display = ProjectionDisplay.from_coordinates(POINTS)
    display.ax_.set_title("$\\broken{$")  # an error in the midst of drawing
    with pytest.raises(ValueError, match="broken"):
        display.save(path)
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["map.png"]


def test_a_drawn_display_shows_itself_in_a_notebook():
    assert ProjectionDisplay(POINTS)._repr_png_() is None
    assert ProjectionDisplay.from_coordinates(POINTS)._repr_png_().startswith(b"\x89PNG")


def test_drawing_needs_no_pyplot(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from dinov2_sklearn.projection import ProjectionDisplay\n"
        "ProjectionDisplay(np.eye(2), labels=[0.5, 1]).save(sys.argv[1])\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "map.png")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [1, 2]}, r"labels has shape \(2,\), and the map has 60 points"),
        ({"names": ["a"]}, "names has 1 entries, and the map has 60 points"),
        ({"names": "abc"}, "must be a sequence with one path for each point, got 'abc'"),
        ({"selected": [60]}, "indices run from 0 to 59"),
        ({"selected": [-1]}, "indices run from 0 to 59"),
        ({"selected": [True, False]}, "The mask selected has 2 values for 60 points"),
        ({"selected": [0.5]}, "must be indices or a mask"),
    ],
)
def test_arguments_that_do_not_fit_the_map_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ProjectionDisplay(POINTS, **options)


@pytest.mark.parametrize(
    ("points", "message"),
    [(np.zeros((5, 4)), "4 coordinates"), ([[np.nan, 1]], "NaN"), (np.zeros((0, 2)), "0 sample")],
)
def test_what_is_no_map_is_refused(points, message):
    with pytest.raises(ValueError, match=message):
        ProjectionDisplay(points)


def test_an_unknown_format_and_a_missing_folder_are_refused(tmp_path):
    display = ProjectionDisplay(POINTS)
    with pytest.raises(ValueError, match=r"one of \.png, \.jpg"):
        display.save(tmp_path / "map.txt")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        display.save(tmp_path / "nowhere" / "map.png")


def test_an_empty_selection_is_one():
    display = ProjectionDisplay.from_coordinates(POINTS, selected=[])
    assert display.selected.tolist() == []


@pytest.mark.parametrize("kind", ["datetime64", "date", "zoned"])
def test_times_are_a_scale_whose_ends_are_dates(kind):
    times = pd.Series(pd.date_range("2024-01-01", periods=60, freq="D"))
    times[3] = pd.NaT
    if kind == "date":
        times = times.dt.date
    elif kind == "zoned":
        times = times.dt.tz_localize("Asia/Tokyo")
    display = ProjectionDisplay.from_coordinates(POINTS, labels=times)
    (dots,) = drawn_points(display)
    colors = [dots[tuple(point)] for point in POINTS.tolist()]
    assert colors[0] == "#440154"  # viridis, from one end to the other
    assert colors[-1] == "#fde725"
    assert colors[3] == NO_GROUP.lower()
    bar = display.figure_.axes[1]
    display.figure_.draw_without_rendering()
    assert any("Feb" in label.get_text() for label in bar.get_yticklabels())


@pytest.mark.parametrize("dtype", ["string", "boolean", "object"])
def test_pandas_missing_labels_are_no_group(dtype):
    labels = pd.Series([True, pd.NA, False] * 4 if dtype == "boolean" else ["a", pd.NA, "b"] * 4)
    points = np.random.default_rng(0).normal(size=(12, 2))
    groups = group_points(np.asarray(labels.astype(dtype), dtype=object), points)
    assert len(groups.names) == 2
    assert (groups.codes[1::3] == -1).all()
    ProjectionDisplay.from_coordinates(points, labels=labels.astype(dtype))
