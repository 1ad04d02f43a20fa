"""What is written into the page; how it behaves is tested in a browser."""

import base64
import gzip
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from dinov2_sklearn.projection import ProjectionDisplay, UMAPProjector

NASTY = "</script><script>alert('a & b')</script> <b>é\u2028\udcff.png"


class Page(HTMLParser):
    """A page as a browser takes it apart, with its data unpacked."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.links, self.scripts = [], [], {}
        self.feed(path.read_text(encoding="ascii"))
        self.close()
        self.data = json.loads(gzip.decompress(base64.b64decode(self.scripts["data"])))
        self.columns = {column["title"]: column for column in self.data["columns"]}

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, attributes))
        attributes = dict(attributes)
        self.links += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag == "script":
            self.current = attributes.get("id", "own")

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[self.current] = self.scripts.get(self.current, "") + data

    def handle_endtag(self, tag):
        self.tags.append(("/" + tag, []))

    def numbers(self, text, kind):
        return np.frombuffer(base64.b64decode(text), dtype=kind)

    def lengths(self):
        return self.numbers(self.data["pictures"]["lengths"], "<i4")

    def thumbnail(self, point):
        """Read a point's thumbnail, as the page does."""
        lengths = np.maximum(self.lengths(), 0)
        start = lengths[:point].sum()
        text = self.scripts["thumbnails"][start : start + lengths[point]]
        image = Image.open(io.BytesIO(base64.b64decode(text)))
        assert image.format == "WEBP"
        return np.asarray(image)


def write(tmp_path, points, image_paths=None, *, labels=None, selected=None, **options):
    path = tmp_path / "map.html"
    display = ProjectionDisplay(points, labels=labels, selected=selected)
    display.write_html(path, image_paths, **options)
    return Page(path)


@pytest.fixture
def images(tmp_path):
    """Five image files, the names of which are markup."""
    paths = [tmp_path / f"<img src=x onerror=alert({i})>.png" for i in range(5)]
    for i, path in enumerate(paths):
        Image.new("RGB", (400, 200 + i), (50 * i, 0, 0)).save(path)
    return paths


def test_a_page_is_one_file_with_every_point(tmp_path):
    points = np.random.default_rng(0).normal(size=(2500, 2))
    labels = np.arange(2500) % 3
    page = write(tmp_path, points, labels=labels, selected=[2, 0])
    assert page.links == []
    for axis, values in zip(page.data["axes"], points.T, strict=True):
        np.testing.assert_array_equal(page.numbers(axis, "<f4"), values.astype(np.float32))
    np.testing.assert_array_equal(page.numbers(page.columns["label"]["codes"], "<i4"), labels + 1)
    assert page.data["picks"] == [2, 0]
    assert [p.name for p in tmp_path.iterdir()] == ["map.html"]


def test_the_same_map_is_the_same_page(tmp_path):
    points = np.random.default_rng(0).normal(size=(10, 2))
    pages = []
    for _ in range(2):
        write(tmp_path, points, labels=np.arange(10.0))
        pages.append((tmp_path / "map.html").read_bytes())
    assert pages[0] == pages[1]


def test_what_users_named_stands_in_the_data_only(tmp_path):
    points = np.eye(3)[:, :2]
    plain = write(tmp_path, points, ["a", "b", "c"], labels=["d", "e", "f"], title="g")
    page = write(
        tmp_path,
        points,
        [NASTY] * 3,
        labels=[NASTY, "x", "y"],
        title=NASTY,
        columns={NASTY: [NASTY, "1", "2"]},
    )
    assert page.tags == plain.tags
    assert page.data["names"] == [NASTY] * 3
    assert page.data["title"] == NASTY
    assert "innerHTML" not in page.scripts["own"]


def test_columns_are_groups_or_measurements(tmp_path):
    page = write(
        tmp_path,
        np.eye(3)[:, :2],
        labels=["cat", None, "dog"],
        selected=[1],
        columns={"sharpness": [0.5, np.nan, 2.0], "cluster": [4, -1, 4]},
    )
    assert list(page.columns) == ["label", "sharpness", "cluster", "selection"]
    label, scale, cluster, selection = page.columns.values()
    assert (label["names"], label["counts"]) == (["cat", "dog"], [1, 1, 1])
    assert (scale["kind"], scale["low"], scale["high"]) == ("scale", 0.5, 2)
    np.testing.assert_array_equal(page.numbers(scale["values"], "<f8"), [0.5, np.nan, 2])
    assert (cluster["names"], cluster["counts"]) == (["4"], [1, 2])
    np.testing.assert_array_equal(page.numbers(selection["codes"], "<i4"), [0, 1, 0])


def test_thumbnails_are_inside_the_page(images, tmp_path):
    points = np.random.default_rng(0).normal(size=(5, 2))
    page = write(tmp_path, points, images, thumbnails="sprites", thumbnail_size=512, selected=[3])
    assert page.data["names"] == [str(path) for path in images]
    for i in range(5):
        thumbnail = page.thumbnail(i)
        assert thumbnail.shape == (200 + i, 400, 3)
        assert abs(thumbnail[..., 0].mean() - 50 * i) < 6
    # Of the files themselves, as COCO wants them, however small the copies.
    page = write(tmp_path, points, images, thumbnails="sprites", thumbnail_size=16)
    sizes = page.numbers(page.data["pictures"]["sizes"], "<u4").reshape(-1, 2)
    assert sizes.tolist() == [[400, 200 + i] for i in range(5)]


def test_images_that_cannot_be_read_are_placeholders_and_named_once(images, tmp_path):
    images[1] = tmp_path / "gone.jpg"
    images[3].write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"2 of 5 images cannot be read") as record:
        page = write(tmp_path, np.eye(5)[:, :2], images, thumbnails="sprites")
    (warning,) = record
    assert "gone.jpg" in str(warning.message)
    assert repr(str(images[3])) in str(warning.message)
    assert warning.filename == __file__
    assert (page.lengths() < 0).tolist() == [False, True, False, True, False]
    with pytest.warns(UserWarning, match=r"2 of 2 images cannot be read"):
        page = write(tmp_path, np.eye(2), [images[1], images[3]], thumbnails="sprites")
    assert page.lengths().tolist() == [-1, -1]


def test_a_page_keeps_within_its_size_and_says_what_it_left_out(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, size=(40, 64, 64, 3), dtype=np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(40)]
    for path, pixels in zip(paths, noise, strict=True):
        Image.fromarray(pixels).save(path)
    points, selected = np.random.default_rng(0).normal(size=(40, 2)), [31, 7]
    options = {"thumbnails": "sprites", "thumbnail_size": 340, "selected": selected}
    write(tmp_path, points, paths, **options)
    whole = (tmp_path / "map.html").stat().st_size
    with pytest.warns(UserWarning, match=r"of 40 thumbnails are left out .* max_mb") as record:
        page = write(tmp_path, points, paths, max_mb=(whole - 50_000) / 1e6, **options)
    assert record[0].filename == __file__
    assert (tmp_path / "map.html").stat().st_size <= whole - 50_000
    kept = page.lengths() > 0
    assert kept[selected].all()
    assert 9 <= kept.sum() < 40
    assert page.data["remarks"] == [f"Thumbnails: {kept.sum()} of 40 points."]


def test_without_thumbnails_no_file_is_opened(tmp_path):
    page = write(tmp_path, np.eye(2), ["/nowhere/a.jpg", "/nowhere/b.jpg"])
    assert page.data["names"] == ["/nowhere/a.jpg", "/nowhere/b.jpg"]
    assert page.data["pictures"] is None


def test_linked_files_are_addresses_seen_from_the_page(tmp_path):
    names = ["a b.jpg", "100%.jpg", "what?#1.jpg", "javascript:alert(1).jpg", "x\udcff.jpg"]
    paths = [tmp_path / "photos" / name for name in names]
    page = write(tmp_path, np.eye(5)[:, :2], paths, thumbnails="files")
    assert page.data["links"] == [
        "photos/a%20b.jpg",
        "photos/100%25.jpg",
        "photos/what%3F%231.jpg",
        "photos/javascript%3Aalert%281%29.jpg",
        "photos/x%FF.jpg",
    ]


def test_plot_interactive_writes_the_map(digits, images, tmp_path):
    projector = UMAPProjector(n_epochs=20, n_neighbors=4).fit(digits[0][:5])
    projector.cluster(2)
    projector.plot_interactive(tmp_path / "map.html", image_paths=images, show_images=True)
    page = Page(tmp_path / "map.html")
    xs = page.numbers(page.data["axes"][0], "<f4")
    np.testing.assert_array_equal(xs, projector.embedding_[:, 0])
    codes = page.numbers(page.columns["cluster"]["codes"], "<i4")
    np.testing.assert_array_equal(codes, projector.labels_ + 1)
    assert (page.lengths() > 0).all()
    with pytest.raises(ValueError, match="show_images=True needs image_paths"):
        projector.plot_interactive(tmp_path / "map.html", show_images=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_paths": ["a.jpg"]}, "image_paths has 1 entries, and the map has 3 points"),
        ({"image_paths": "a.jpg"}, "must be a sequence with one path for each point"),
        ({"thumbnails": "sprites"}, "thumbnails='sprites' needs image_paths"),
        ({"thumbnails": "png"}, "must be 'sprites', 'files' or None, got 'png'"),
        ({"thumbnail_size": 8}, "an int from 16 to 512, got 8"),
        ({"thumbnail_size": 64.0}, "an int from 16 to 512, got 64.0"),
        ({"max_mb": 0}, "max_mb must be a number above 0, got 0"),
        ({"columns": {"a": [1, 2]}}, r"The column 'a' has shape \(2,\), and the map has 3 points"),
        ({"columns": {"selection": [1, 2, 3]}}, "column title 'selection' is taken"),
        ({"columns": {"label": [1, 2, 3]}}, "column title 'label' is taken"),
    ],
)
def test_options_that_do_not_fit_are_refused_and_no_file_is_left(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, np.eye(3), labels=[1, 2, 3], **options)
    assert list(tmp_path.iterdir()) == []


def test_a_page_ends_in_html_and_has_a_folder(tmp_path):
    display = ProjectionDisplay(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"ends in \.html"):
        display.write_html(tmp_path / "map.txt")
    with pytest.raises(FileNotFoundError, match="'.*nowhere' does not exist"):
        display.write_html(tmp_path / "nowhere" / "map.html")
    assert list(tmp_path.iterdir()) == []
