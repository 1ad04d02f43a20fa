"""Selections in the forms of labelling tools, and their images in a folder."""

import json
import os
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from dinov2_sklearn import list_boxes, load_labels, load_selection
from dinov2_sklearn.selection import (
    Selection,
    copy_images,
    read_selection,
    write_selection,
    write_yolo,
)

ODD = ["a b.jpg", "é.png", "100%.jpg", "x#y&z=1+1.jpg"]
# What each format keeps of a selection.
PARTS = {"paths", "rows", "scores", "clusters", "distances", "columns", "settings"}
KEPT = {
    "csv": PARTS - {"settings"},
    "txt": {"paths"},
    "json": PARTS,
    "coco": {"paths", "columns", "settings"},
    "label-studio": {"paths", "scores", "clusters", "columns"},
}


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos/sub").mkdir(parents=True)
    paths = []
    for i, name in enumerate(ODD):
        paths.append(f"photos/sub/{name}")
        exif = Image.Exif()
        exif[0x0112] = 6 if i == 0 else 1  # lies on its side
        Image.new("RGB", (40 + i, 30)).save(paths[-1], exif=exif)
    return paths


@pytest.mark.parametrize("root", [None, "photos"])
def test_coco_is_read_by_its_own_tool(photos, root):
    write_selection("picks.json", photos, [2, 0, 3], format="coco", root=root)
    coco = COCO("picks.json")
    images = coco.loadImgs(coco.getImgIds())
    assert [image["rank"] for image in images] == [1, 2, 3]
    # Stricter readers than this one require a license.
    assert [entry["id"] for entry in coco.dataset["licenses"]] == [0]
    names = [os.path.join(root or "", image["file_name"]) for image in images]  # noqa: PTH118
    assert names == [photos[i] for i in (2, 0, 3)]
    # As it is shown: the second was turned upright.
    assert [(i["width"], i["height"]) for i in images] == [(42, 30), (30, 40), (43, 30)]
    assert load_selection("picks.json", photos, root=root).tolist() == [2, 0, 3]


def test_label_studio_tasks(photos):
    write_selection("tasks.json", photos, [3, 1], format="label-studio", root="photos")
    tasks = json.loads(Path("tasks.json").read_text())
    assert [task["data"]["image"] for task in tasks] == [
        "/data/local-files/?d=sub/x%23y%26z%3D1%2B1.jpg",
        "/data/local-files/?d=sub/%C3%A9.png",
    ]
    assert tasks[0]["data"]["rank"] == 1
    assert json.loads(Path("tasks.json.json").read_text())["n_picks"] == 2
    assert load_selection("tasks.json", photos, root="photos").tolist() == [3, 1]


@pytest.fixture(scope="module")
def odd_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    names = [*ODD, "bytes\udcff.png", 'a, "b".jpg', "?d=c.jpg"]
    for name in names:
        Image.new("RGB", (4, 3)).save(folder / name)
    return folder, [str(folder / name) for name in names]


@st.composite
def selections(draw, paths):
    """Selections of any of these paths, with whatever may be known of them."""
    n = draw(st.integers(0, 5))

    def values(strategy):
        return st.lists(strategy, min_size=n, max_size=n)

    unit = st.floats(0, 1)
    return Selection(
        draw(values(st.sampled_from(paths))),
        draw(st.lists(st.integers(0, 2**40), min_size=n, max_size=n, unique=True)),
        scores=draw(st.none() | values(unit)),
        clusters=draw(st.none() | values(st.integers(0, 99))),
        distances=draw(st.none() | values(unit | st.just(np.inf))),
        columns=draw(st.dictionaries(st.sampled_from(["camera", "a,b"]), values(st.text(COLUMN)))),
        settings=draw(st.dictionaries(st.sampled_from("mn"), st.integers() | st.text(COLUMN))),
    )


COLUMN = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


@pytest.mark.parametrize("name", KEPT)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_every_format_comes_back(odd_files, name, data):
    folder, paths = odd_files
    selection = data.draw(selections(paths))
    file = folder / f"picks{'.json' if name in ('coco', 'label-studio') else f'.{name}'}"
    write_selection(file, None, selection, format=name, root=folder)
    back = read_selection(file, root=folder)
    assert back.paths == selection.paths
    for part in KEPT[name] & {"rows", "scores", "clusters", "distances"}:
        was, now = getattr(selection, part), getattr(back, part)
        if was is None or not np.isfinite(was).any():
            assert now is None or not len(now)
        else:  # there is no infinity in JSON: who has no earlier pick has no distance to it
            np.testing.assert_array_equal(now, np.where(np.isfinite(was), was, np.nan))
    if "columns" in KEPT[name] and len(selection):
        assert back.columns == selection.columns
    if "settings" in KEPT[name]:
        assert back.settings == {**selection.settings, "settings": {}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None,), "there are neither"),
        ((["a"], [0, 1]), "rows has 2 values for 1 picks"),
        ((["a"], [-1]), "rows holds -1, which is no row number"),
        ((["a", "b"], [1, 1]), "more than once"),
        ((["a"], None, None, None, None, {"score": [1]}), "may not be called 'score'"),
    ],
)
def test_what_is_no_selection(arguments, message):
    with pytest.raises(ValueError, match=message):
        Selection(*arguments)


def test_columns_travel_with_their_rows(photos):
    camera = pd.Series(["north", "east", "south", "west"], index=[3, 2, 1, 0])
    for suffix in (".csv", ".json"):
        write_selection(
            f"p{suffix}", pd.Series(photos, index=[3, 2, 1, 0]), [2, 0], columns={"camera": camera}
        )
        back = read_selection(f"p{suffix}")
        assert back.paths == [photos[2], photos[0]]
        assert back.columns == {"camera": ["south", "north"]}
    with pytest.raises(ValueError, match="camera has 3 values for 4 paths"):
        write_selection("p.csv", photos, [0], columns={"camera": camera[:3]})
    for name, format in (("width", "coco"), ("image", "label-studio")):
        with pytest.raises(ValueError, match=f"keeps something else as '{name}'"):
            write_selection("p.json", photos, [0], format=format, root=".", columns={name: camera})
    with pytest.raises(ValueError, match="has paths, rows and columns of its own"):
        write_selection("p.csv", photos, back)


@pytest.mark.parametrize("suffix", [".csv", ".txt", ".json"])
def test_equal_paths_come_back_as_distinct_rows(tmp_path, suffix):
    write_selection(tmp_path / f"p{suffix}", ["a", "a", "b"], [0, 1, 2])
    assert load_selection(tmp_path / f"p{suffix}", ["a", "b", "a"]).tolist() in (
        [0, 2, 1],
        [2, 0, 1],
    )
    assert load_selection(tmp_path / f"p{suffix}", ["b", "a"]).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("p.json", {"format": "label-studio"}, "give that folder as root"),
        ("p.json", {"format": "coco", "root": "elsewhere"}, "is not inside root="),
        ("p.csv", {"format": "coco"}, "should end in '.json'"),
        ("p.doc", {}, "A selection is a .csv, a .txt or a .json"),
        ("p.csv", {"format": "xml"}, "format must be one of"),
    ],
)
def test_what_cannot_be_written_is_told(photos, name, options, message):
    with pytest.raises(ValueError, match=message):
        write_selection(name, photos, [0], **options)
    assert not Path(name).exists()


def test_single_path_is_refused(photos):
    with pytest.raises(TypeError, match="one path a row"):
        write_selection("p.csv", photos[0], [0])
    with pytest.raises(TypeError, match="several paths"):
        copy_images(photos[0], "to")


def test_numbers_of_a_larger_table(photos):
    write_selection("p.csv", photos, [1, 0], rows=[10, 20, 30, 40])
    assert load_selection("p.csv").tolist() == [20, 10]


def test_symlink_to_a_selection_stays_one(photos):
    Path("store").mkdir()
    Path("p.csv").symlink_to("store/real.csv")
    write_selection("p.csv", photos, [1])
    assert Path("p.csv").is_symlink()
    assert load_selection("store/real.csv").tolist() == [1]


@pytest.mark.parametrize("mode", ["copy", "symlink", "hardlink"])
def test_images_are_gathered_without_clashes(photos, mode):
    Path("other").mkdir()
    Image.new("RGB", (9, 9)).save("other/a b.jpg")
    sources = [photos[0], "other/a b.jpg", photos[0]]
    targets = copy_images(sources, "to", mode=mode)
    assert targets == ["to/a b.jpg", "to/a b-2.jpg", "to/a b.jpg"]
    for source, target in zip(sources, targets, strict=True):
        assert Path(source).read_bytes() == Path(target).read_bytes()
    assert copy_images(sources, "to", mode=mode) == targets
    assert sorted(path.name for path in Path("to").iterdir()) == ["a b-2.jpg", "a b.jpg"]
    assert Path(targets[0]).is_symlink() == (mode == "symlink")


def test_hard_link_of_a_link_is_the_file(photos):
    Path("links").mkdir()
    Path("links/l.jpg").symlink_to(f"../{photos[0]}")
    (target,) = copy_images(["links/l.jpg"], "deep/er", mode="hardlink")
    assert Path(target).samefile(photos[0])


def test_copies_are_copies_where_links_were(photos):
    copy_images(photos, "to", mode="symlink")
    for target in copy_images(photos, "to"):
        assert not Path(target).is_symlink()


def test_missing_image_is_named(photos):
    for mode in ("copy", "symlink", "hardlink"):
        with pytest.raises(OSError, match="none.jpg"):
            copy_images(["none.jpg"], "to", mode=mode)
    assert list(Path("to").iterdir()) == []
    with pytest.raises(ValueError, match="mode must be one of"):
        copy_images(photos, "to", mode="move")


def test_concurrent_copies_lose_nothing(tmp_path):
    sources = []
    for worker in range(4):
        (tmp_path / str(worker)).mkdir()
        sources.append([str(tmp_path / str(worker) / f"{i}.bin") for i in range(50)])
        for i, source in enumerate(sources[-1]):
            Path(source).write_text(f"{worker} {i}")
    targets = [[]] * 4

    def work(worker):
        targets[worker] = copy_images(sources[worker], tmp_path / "to")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({target for of_worker in targets for target in of_worker}) == 200
    for from_, to in zip(np.ravel(sources), np.ravel(targets), strict=True):
        assert Path(from_).read_text() == Path(to).read_text()


@pytest.fixture
def boxes(tmp_path, monkeypatch):
    """A whole picture, boxes of two of one stem, and of one whose name looks like a box."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    pictures = ["in/a.jpg", "in/a.png", "in/odd#xywh=1,2,3,4.jpg"]
    for picture in pictures:
        Image.new("RGB", (40, 20)).save(picture)
    return [pictures[0], *(f"{picture}#xywh=10,5,20,10" for picture in pictures), pictures[2]]


@pytest.mark.parametrize("root", [".", "in"])
@pytest.mark.parametrize("format", ["coco", "label-studio", "fiftyone"])
def test_whole_pictures_and_boxes_come_back_together(boxes, format, root):
    file = "picks.csv" if format == "fiftyone" else "picks.json"
    order = [3, 0, 4, 1, 2]
    write_selection(file, boxes, order, format=format, root=root)
    paths = [Path(box).absolute().as_posix() for box in boxes]
    read_root = "." if format == "fiftyone" else root
    assert load_selection(file, paths, root=read_root).tolist() == order


@pytest.mark.parametrize("format", ["coco", "fiftyone"])
def test_labels_are_those_of_boxes(boxes, format):
    file, labels = f"boxes.{'csv' if format == 'fiftyone' else 'json'}", ["x", "y", "x"]
    crops = [*boxes[1:3], "in/a.jpg#xywh=0,0,5,5"]
    write_selection(file, crops, [0, 1, 2], format=format, columns={"label": labels})
    assert load_labels(file, crops).tolist() == labels


def test_yolo_keeps_all_pictures_and_the_numbers_of_classes(boxes):
    crops = boxes[1:4]
    write_yolo("out", crops[:2], ["cat", None])
    for _ in range(2):  # again changes nothing
        write_yolo("out", crops[1:], [None, "dog"])
    back = list_boxes("out/labels")
    found = {
        Path(picture).name: label
        for picture, label in zip(back.columns["picture"], back.columns["label"], strict=True)
    }
    assert found == {"a.jpg": "cat", "a-2.png": "object", "odd#xywh=1,2,3,4.jpg": "dog"}
    with pytest.raises(ValueError, match="'in/a.jpg#xywh=90,0,5,5': its box .* lies outside"):
        write_yolo("out", ["in/a.jpg#xywh=90,0,5,5"])
