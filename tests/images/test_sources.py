"""list_images: every image of a source, in a sure order, and errors that help."""

import codecs
import csv
import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinov2_sklearn.images import IMAGE_EXTENSIONS, list_images

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs links and names of any bytes")


def make(folder, *names):
    for name in names:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return [str(Path(folder, name)) for name in names]


STEMS = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=6)
EXTENSIONS = st.sampled_from([*sorted(IMAGE_EXTENSIONS), ".JPG", ".Tiff", ".txt", ".jpgx", ""])
NAMES = st.builds(str.__add__, STEMS, EXTENSIONS).filter(lambda name: name not in (".", ".."))
TREES = st.recursive(
    st.just(None), lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
).filter(lambda tree: tree is not None)


def plant(tree, folder):
    """Make the tree's files; a None is a file, a dict a folder."""
    for name, inner in tree.items():
        path = os.path.join(folder, name)  # noqa: PTH118
        if inner is None:
            Path(path).touch()
        else:
            Path(path).mkdir()
            plant(inner, path)


def expected_below(tree, folder, recursive=True):
    """The rule as a sentence: visible files with an image's extension, sorted by path."""
    found = []
    for name, inner in tree.items():
        path = f"{folder}{os.sep}{name}"
        if name.startswith("."):
            continue
        if inner is None:
            # A name such as ".jpg" is hidden; one such as "a.b.jpg" counts by its last part.
            if "." in name and "." + name.rsplit(".", 1)[1].lower() in IMAGE_EXTENSIONS:
                found.append(path)
        elif recursive:
            found += expected_below(inner, path)
    return sorted(found)


@posix_only
@pytest.mark.filterwarnings("ignore:.* are left out")
@settings(max_examples=80, deadline=None)
@given(TREES, st.booleans(), st.data())
def test_folder_gives_each_visible_image_once_sorted(tree, recursive, data):
    with tempfile.TemporaryDirectory() as folder:
        plant(tree, folder)
        expected = expected_below(tree, folder, recursive)
        folders = [root for root, _, _ in os.walk(folder)]
        for i, target in enumerate(data.draw(st.lists(st.sampled_from(folders), max_size=3))):
            # Links to folders of the tree, so to ancestors too, add nothing.
            where = data.draw(st.sampled_from(folders if recursive else folders[:1]))
            if f"{os.sep}." not in target[len(folder) :]:
                Path(where, f"link{i}").symlink_to(target)
        if expected:
            result = list_images(folder, recursive=recursive)
            assert result.dtype == object
            assert result.ndim == 1
            assert all(type(path) is str for path in result)
            assert list(result) == expected
            assert list(list_images(Path(folder), recursive=recursive)) == expected
        else:
            with pytest.raises(ValueError, match="No images in the folder"):
                list_images(folder, recursive=recursive)


@posix_only
def test_links_to_outside_are_followed_and_circles_end(tmp_path):
    make(tmp_path, "in/a.jpg", "out/deep/b.jpg")
    (tmp_path / "in/link").symlink_to(tmp_path / "out", target_is_directory=True)
    (tmp_path / "out/back").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "out/deep/self").symlink_to(tmp_path / "out/deep", target_is_directory=True)
    expected = [str(tmp_path / "in/a.jpg"), str(tmp_path / "in/link/deep/b.jpg")]
    assert list(list_images(tmp_path / "in")) == expected
    assert list(list_images(str(tmp_path / "in/**/*.jpg"))) == expected


@posix_only
def test_links_that_lead_nowhere_are_listed_for_decoding_to_report(tmp_path):
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert [Path(p).name for p in list_images(tmp_path)] == ["gone.jpg", "loop.jpg"]


@posix_only
def test_names_that_are_no_text(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff\xfe\xe4.jpg"
    Path(os.fsdecode(name)).touch()
    for source in (tmp_path, str(tmp_path), os.fsencode(tmp_path), f"{tmp_path}/*.jpg"):
        (path,) = list_images(source)
        assert os.fsencode(path) == name
    # Not at the very start, where these two bytes would mark UTF-16.
    (tmp_path / "names.txt").write_bytes(b"./\xff\xfe\xe4.jpg\n")
    (path,) = list_images(tmp_path / "names.txt")
    assert Path(path).samefile(os.fsdecode(name))


def test_relative_source_gives_relative_paths(tmp_path, monkeypatch):
    make(tmp_path, "d/a.jpg", "d/e/b.jpg")
    monkeypatch.chdir(tmp_path)
    expected = [os.path.join("d", "a.jpg"), os.path.join("d", "e", "b.jpg")]  # noqa: PTH118
    assert list(list_images("d")) == expected
    assert list(list_images("**/*.jpg")) == expected
    assert list(list_images("d/*.jpg")) == expected[:1]
    assert list(list_images(["d/e/b.jpg"])) == ["d/e/b.jpg"]


def test_home_is_expanded(tmp_path, monkeypatch):
    make(tmp_path, "photos/a.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert len(list_images("~/photos")) == 1


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["a/x1.jpg", "a/x2.PNG", "b/x1.JPG", "x1.gif"]),
        ("x1*", ["a/x1.jpg", "b/x1.JPG", "x1.gif"]),
        ("*.jpg", ["a/x1.jpg", "b/x1.JPG"]),
        ("X?.[jp][pn]g", ["a/x1.jpg", "a/x2.PNG", "b/x1.JPG"]),
        ("a/*", ["a/x1.jpg", "a/x2.PNG"]),
    ],
)
def test_pattern_selects_by_name_or_by_path_below(tmp_path, pattern, expected):
    make(tmp_path, "a/x1.jpg", "a/x2.PNG", "b/x1.JPG", "x1.gif", "x1.txt", ".x1.jpg")
    found = [
        Path(p).relative_to(tmp_path).as_posix() for p in list_images(tmp_path, pattern=pattern)
    ]
    assert found == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("*/x1.*", ["a/x1.jpg", "b/x1.png"]),
        ("a/*", ["a/x1.jpg", "a/x2.png"]),
        ("**/x2.png", ["a/c/x2.png", "a/x2.png"]),
        ("a/**", ["a/c/x2.png", "a/x1.jpg", "a/x2.png"]),
        ("**/c/*", ["a/c/x2.png"]),
        ("**/**/x1.jpg", ["a/x1.jpg"]),
        ("[ab]/x[12].png", ["a/x2.png", "b/x1.png"]),
        ("a/**/c/**/x2.png", ["a/c/x2.png"]),
    ],
)
def test_glob(tmp_path, source, expected):
    make(tmp_path, "a/x1.jpg", "a/x2.png", "a/c/x2.png", "a/notes.txt", "b/x1.png", "a/.x.png")
    found = list_images(str(tmp_path / source))
    assert [Path(path).relative_to(tmp_path).as_posix() for path in found] == expected
    assert len(list_images(str(tmp_path / source), pattern="x*")) == len(expected)


def test_folder_whose_name_looks_like_a_glob(tmp_path):
    (path,) = (
        make(tmp_path, "[2020] *?/a[1].jpg") if os.name != "nt" else make(tmp_path, "[2]/a.jpg")
    )
    folder = Path(path).parent
    assert list(list_images(folder)) == [path]
    assert list(list_images(str(tmp_path / "**" / "*.jpg"))) == [path]


def test_single_image_file(tmp_path):
    (path,) = make(tmp_path, "a.WebP")
    assert list(list_images(path)) == [path]


CELLS = st.text(
    st.characters(exclude_characters="/\0\r\n", exclude_categories=["Cs"], codec="utf-8"),
    min_size=1,
    max_size=8,
).filter(lambda text: text.strip() and text not in (".", ".."))


@posix_only
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
)
def test_csv_gives_the_column_in_the_files_order(rows, delimiter, encoding, end, quoting, first):
    with tempfile.TemporaryDirectory() as folder:
        expected = [f"{folder}/{name}.jpg" for name, _ in rows]
        for path in expected:
            Path(path).touch()
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, delimiter=delimiter, lineterminator=end, quoting=quoting)
        for name, label in [("image_path", "label"), *((f"{n}.jpg", label) for n, label in rows)]:
            writer.writerow([name, label] if first else [label, name])
        table = Path(folder, "table.csv")
        table.write_bytes(buffer.getvalue().encode(encoding))
        result = list_images(table)
        assert list(result) == expected
        labels = pd.read_csv(table, sep=delimiter, encoding=encoding, dtype=str, na_filter=False)
        assert list(labels["label"]) == [label for _, label in rows]


def test_csv_keeps_duplicates_and_resolves_against_its_folder(tmp_path, monkeypatch):
    b, a = make(tmp_path, "d/b.jpg", "a.jpg")
    (tmp_path / "d/t.csv").write_text(f"label,file\nx,b.jpg\ny,../a.jpg\n\nz,b.jpg\nw,{a}\n")
    monkeypatch.chdir("/")
    result = list_images(tmp_path / "d/t.csv", image_col="file")
    assert [os.path.normpath(path) for path in result] == [b, a, b, a]
    (tmp_path / "d/t.tsv").write_text("label\tfile\nx\tb.jpg\n")
    assert len(list_images(tmp_path / "d/t.tsv", image_col="file")) == 1
    monkeypatch.chdir(tmp_path / "d")
    assert list(list_images("t.tsv", image_col="file")) == ["b.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.jpg,1\n", "no column 'image_path'; its columns are 'path', 'label'"),
        ("path;label\na.jpg;1\n", "no column 'image_path'; its columns are 'path', 'label'"),
        ("", "no column 'image_path'; its columns are none"),
        ("image_path,image_path\na.jpg,a.jpg\n", "has 2 columns 'image_path'"),
        ("image_path,label\n", "a header but no rows"),
        ("image_path,label\na.jpg,1\n,2\n  ,3\n", "No path in the column .*: lines 3, 4"),
        ("label,image_path\n1,a.jpg\n2\n", "No path in the column .*: line 3"),
        ("image_path,label\na.jpg,1\nb,c.jpg,2\n", "more fields than its 2 columns at line 3"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    make(tmp_path, "a.jpg")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as info:
        list_images(tmp_path / "t.csv")
    assert "t.csv" in str(info.value)


def test_txt_is_taken_line_by_line(tmp_path):
    names = [" a.jpg", "b .jpg", "#c.jpg", "d\u2028e.jpg", "f,g.jpg", '"h".jpg', " a.jpg"]
    if os.name == "nt":
        names = ["b .jpg", "#c.jpg", "f,g.jpg"]
    paths = make(tmp_path, *names)
    for end, mark in (("\n", b""), ("\r\n", codecs.BOM_UTF8)):
        text = end.join(["", *names[:3], "   ", *names[3:], ""])
        (tmp_path / "list.txt").write_bytes(mark + text.encode())
        assert list(list_images(tmp_path / "list.txt")) == paths
    (tmp_path / "list.txt").write_text("\n \n")
    with pytest.raises(ValueError, match="no line that is not blank"):
        list_images(tmp_path / "list.txt")


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_data_frame(tmp_path, frame):
    b, a = make(tmp_path, "b.jpg", "a.jpg")
    table = frame({"file": [b, a, b], "label": [1, 2, 3]})
    assert list(list_images(table, image_col="file")) == [b, a, b]
    assert list(list_images(table["file"])) == [b, a, b]
    with pytest.raises(ValueError, match="no column 'image_path'; its columns are 'file', 'label'"):
        list_images(table)
    with pytest.raises(ValueError, match="No path in the column 'file' at position 1"):
        list_images(frame({"file": [b, None, a]}), image_col="file")
    with pytest.raises(TypeError, match="the column 'label' has a int at positions 0, 1, 2"):
        list_images(table, image_col="label")


def test_lists_keep_order_and_duplicates(tmp_path):
    b, a = make(tmp_path, "b.jpg", "a.jpg")
    paths = [b, a, b]
    for source in (paths, tuple(paths), np.array(paths), [Path(b), os.fsencode(a), np.str_(b)]):
        result = list_images(source)
        assert list(result) == paths
        assert all(type(path) is str for path in result)
    assert list(list_images(list_images(paths))) == paths


@pytest.mark.parametrize("kind", ["csv", "txt", "list", "frame"])
def test_missing_files_are_counted_and_the_first_named(tmp_path, kind):
    make(tmp_path, "here.jpg")
    names = ["here.jpg", *(f"gone{i}.jpg" for i in range(7)), "here.jpg"]
    source = {
        "csv": tmp_path / "t.csv",
        "txt": tmp_path / "t.txt",
        "list": [str(tmp_path / name) for name in names],
        "frame": pd.DataFrame({"image_path": [tmp_path / name for name in names]}),
    }[kind]
    if kind in ("csv", "txt"):
        source.write_text("\n".join(["image_path"] * (kind == "csv") + names))
    with pytest.raises(FileNotFoundError, match="7 of the 9 files listed in") as info:
        list_images(source)
    for i in range(7):
        assert (f"gone{i}.jpg" in str(info.value)) == (i < 5)


def test_folder_in_a_list_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="1 of the 1 files"):
        list_images([tmp_path])


def test_folder_without_images_tells_what_it_holds(tmp_path):
    make(tmp_path, "a.txt", "b.txt", "c.xyz", "README", "d/e.jpg")
    with pytest.raises(ValueError, match=r"2 \.txt, 1 \(no extension\), 1 \.xyz") as info:
        list_images(tmp_path, recursive=False)
    assert "recursive=False" in str(info.value)
    with pytest.raises(ValueError, match=r"1 images that pattern='\*.png' leaves out"):
        list_images(tmp_path, pattern="*.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="found no files at all"):
        list_images(tmp_path / "empty")
    with pytest.raises(ValueError, match="No images in the glob"):
        list_images(str(tmp_path / "*.bmp"))


def test_missing_source_tells_what_is_there_instead(tmp_path):
    make(tmp_path, "photos/a.jpg")
    with pytest.raises(FileNotFoundError, match="'photos'") as info:
        list_images(tmp_path / "foto" / "deep")
    assert repr(str(tmp_path)) in str(info.value)
    assert repr(str(tmp_path / "foto" / "deep")) in str(info.value)
    with pytest.raises(FileNotFoundError, match="'photos'"):
        list_images(str(tmp_path / "foto" / "*.jpg"))


def test_file_of_unknown_type(tmp_path):
    for name in ("a.h5", "noextension"):
        (path,) = make(tmp_path, name)
        with pytest.raises(ValueError, match=r"is a file of type .*\.csv"):
            list_images(path)


@pytest.mark.parametrize("source", [None, 3, {"a": 1}, {"a.jpg"}, np.array([["a.jpg"]]), iter([])])
def test_source_of_another_type(source):
    with pytest.raises(TypeError, match=f"got an object of type {type(source).__name__}"):
        list_images(source)


@pytest.mark.parametrize("listing", [[], (), np.array([], dtype=object), pd.Series([], dtype=str)])
def test_empty_list(listing):
    with pytest.raises(ValueError, match="No images: the list has no elements"):
        list_images(listing)


def test_list_of_other_things():
    with pytest.raises(TypeError, match="the list has a int at positions 1, 3"):
        list_images(["a", 1, "b", 2])
    for missing in (None, float("nan"), pd.NA, pd.NaT, np.float32("nan")):
        with pytest.raises(ValueError, match="No path in the list at position 1"):
            list_images(["a", missing])


def test_pattern_where_every_row_counts_is_refused(tmp_path):
    make(tmp_path, "a.jpg")
    (tmp_path / "t.csv").write_text("image_path\na.jpg\n")
    for source in (tmp_path / "t.csv", [tmp_path / "a.jpg"]):
        with pytest.raises(ValueError, match=r"pattern='\*.jpg' applies to folders and globs"):
            list_images(source, pattern="*.jpg")
