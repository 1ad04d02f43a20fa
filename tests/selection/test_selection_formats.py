"""Selections in the forms of labelling tools, and their images in a folder."""

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from dinov2_sklearn import load_selection
from dinov2_sklearn.selection import copy_images, write_selection

ODD = ["a b.jpg", "é.png", "100%.jpg", "x#y&z=1+1.jpg"]


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


@pytest.mark.parametrize("suffix", [".csv", ".txt", ".json"])
def test_every_form_comes_back(photos, suffix):
    write_selection(f"picks{suffix}", photos, [2, 0])
    assert load_selection(f"picks{suffix}", photos).tolist() == [2, 0]


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
