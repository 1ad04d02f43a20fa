import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from plotly import graph_objects

from dinov2_sklearn.projection import ProjectionDisplay, UMAPProjector
from dinov2_sklearn.projection._colors import NO_GROUP, PALETTE

NASTY = "</script><script>alert('a & b')</script> <b>é\u2028\udcff.png"


class Page(HTMLParser):
    """A page as a browser takes it apart."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.scripts, self.text, self.links = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        self.data = json.loads(self.scripts[1])
        self.trace = self.data["trace"]

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        (self.scripts if self.tags[-1:] == ["script"] else self.text).append(data)

    def handle_endtag(self, tag):
        self.tags.append("/" + tag)


def write(tmp_path, points, image_paths=None, *, show_images=False, title=None, **options):
    path = tmp_path / "map.html"
    display = ProjectionDisplay(points, **options)
    display.write_html(path, image_paths, show_images=show_images, title=title)
    return Page(path)


@pytest.fixture
def images(tmp_path):
    """Five image files, the names of some of which are markup."""
    paths = [tmp_path / f"<img src=x onerror=alert({i})>.png" for i in range(5)]
    for i, path in enumerate(paths):
        Image.new("RGB", (400, 200 + i), (50 * i, 0, 0)).save(path)
    return paths


@pytest.mark.parametrize("n_points", [3, 2500])
def test_a_page_is_one_file_with_all_points_in_one_trace(n_points, tmp_path):
    points = np.random.default_rng(0).normal(size=(n_points, 2))
    labels = np.arange(n_points) % 3
    page = write(tmp_path, points, labels=labels, selected=[2, 0])
    assert page.links == []
    assert page.tags.count("script") == 3
    assert len(page.scripts[0]) > 1_000_000  # plotly itself
    np.testing.assert_allclose(page.trace["x"], points[:, 0], atol=1e-5)
    np.testing.assert_allclose(page.trace["y"], points[:, 1], atol=1e-5)
    assert page.trace["type"] == ("scatter" if n_points == 3 else "scattergl")
    assert page.trace["marker"]["color"] == [PALETTE[label] for label in labels]
    assert page.data["groups"] == [str(label) for label in labels]
    assert page.data["ranks"][:3] == [2, None, 1]
    assert page.trace["marker"]["size"][2] > page.trace["marker"]["size"][1]
    assert [note["text"] for note in page.data["layout"]["annotations"]] == ["0", "1", "2"]


@pytest.mark.parametrize("n_components", [1, 2, 3])
@pytest.mark.parametrize("labels", [None, [0, 1, 1], [0.5, 1, np.nan]])
def test_the_trace_and_layout_are_valid_plotly(n_components, labels, tmp_path):
    page = write(tmp_path, np.eye(3)[:, :n_components], labels=labels, selected=[1])
    graph_objects.Figure(data=[page.trace], layout=page.data["layout"])  # checks every property


def test_nothing_in_a_name_becomes_markup(tmp_path):
    points = np.eye(3)[:, :2]
    plain = write(tmp_path, points, ["a", "b", "c"], labels=["d", "e", "f"], title="g")
    page = write(
        tmp_path, points, [NASTY] * 3, labels=[NASTY, "x", "y"], title="<script>1</script>"
    )
    assert page.tags == plain.tags
    assert page.data["names"] == [NASTY] * 3
    assert "<script>1</script>" in "".join(page.text)
    # Plotly reads tags in what it draws, so names go there escaped, and to the card as text.
    assert all("<" not in note["text"] for note in page.data["layout"]["annotations"])
    assert "innerHTML" not in page.scripts[2]
    assert "textContent = page.names" in page.scripts[2]


def test_images_are_small_copies_inside_the_page(images, tmp_path):
    page = write(tmp_path, np.random.default_rng(0).normal(size=(5, 2)), images, show_images=True)
    assert page.data["names"] == [str(path) for path in images]
    for i, uri in enumerate(page.data["images"]):
        kind, data = uri.split(",")
        assert kind == "data:image/webp;base64"
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        assert max(image.size) == 128
        assert abs(np.asarray(image)[..., 0].mean() - 50 * i) < 6


def test_images_that_cannot_be_read_are_placeholders_and_named_once(images, tmp_path):
    images[1] = tmp_path / "gone.jpg"
    images[3].write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"2 of 5 images cannot be read") as record:
        page = write(tmp_path, np.eye(5)[:, :2], images, show_images=True)
    (warning,) = record
    assert "gone.jpg" in str(warning.message)
    assert repr(str(images[3])) in str(warning.message)
    assert warning.filename == __file__
    assert [image is None for image in page.data["images"]] == [False, True, False, True, False]


def test_without_show_images_no_file_is_opened(tmp_path):
    page = write(tmp_path, np.eye(2), ["/nowhere/a.jpg", "/nowhere/b.jpg"])
    assert page.data["names"] == ["/nowhere/a.jpg", "/nowhere/b.jpg"]
    assert page.data["images"] is None


def test_measurements_have_a_colour_scale(tmp_path):
    page = write(tmp_path, np.eye(3), labels=[0.5, np.nan, 2.0])
    assert page.trace["marker"]["color"] == [0.5, NO_GROUP, 2.0]
    assert page.trace["marker"]["showscale"]
    assert page.data["groups"] == ["0.5", "nan", "2"]


def test_one_and_three_coordinates(tmp_path):
    strip = write(tmp_path, np.arange(5.0)[:, None])
    assert strip.trace["x"] == [0, 1, 2, 3, 4]
    assert len(set(strip.trace["y"])) == 5
    space = write(tmp_path, np.eye(3), labels=[0, 1, 1], selected=[1])
    assert space.trace["type"] == "scatter3d"
    assert space.trace["z"] == [0, 0, 1]
    assert len(space.data["layout"]["scene"]["annotations"]) == 2


def test_plot_interactive_writes_the_map(digits, images, tmp_path):
    projector = UMAPProjector(n_epochs=20, n_neighbors=4).fit(digits[0][:5])
    projector.cluster(2)
    projector.plot_interactive(tmp_path / "map.html", image_paths=images, show_images=True)
    page = Page(tmp_path / "map.html")
    np.testing.assert_allclose(page.trace["x"], projector.embedding_[:, 0], atol=1e-5)
    assert page.data["groups"] == [str(label) for label in projector.labels_]
    assert len(page.data["images"]) == 5
    assert re.search("2 groups", "".join(page.text))


@pytest.mark.parametrize(
    ("image_paths", "show_images", "message"),
    [
        (["a.jpg"], False, "image_paths has 1 entries, and the map has 3 points"),
        ("a.jpg", True, "image_paths must be a sequence with one path for each point"),
        (None, True, "show_images=True needs image_paths"),
    ],
)
def test_paths_that_do_not_fit_are_refused_and_no_file_is_left(
    image_paths, show_images, message, tmp_path
):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, np.eye(3), image_paths, show_images=show_images)
    assert list(tmp_path.iterdir()) == []


def test_a_page_ends_in_html(tmp_path):
    display = ProjectionDisplay.from_coordinates(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"ends in \.html"):
        display.write_html(tmp_path / "map.txt")
    assert list(tmp_path.iterdir()) == []
