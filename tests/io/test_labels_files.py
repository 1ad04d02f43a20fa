"""Labels in files, back to the rows of the images as they are listed now."""

import json

import numpy as np
import pandas as pd
import pytest

from dinov2_sklearn import load_labels, save_labels
from dinov2_sklearn.selection import write_selection
from dinov2_sklearn.utils import encode_labels

PATHS = [
    *("a.jpg", "new\nline.jpg", 'quo"te,;.jpg', "bytes\udcff.jpg", "é.jpg", "http://a/b.jpg"),
    *("photo.jpg#xywh=1,2,3,4", "photo.jpg#xywh=percent:0,0,50,50", "clip.mp4#t=3.5"),
]
TEXT = ["wren", None, "robin", "wren", "mésange", " x,", "y", "z", None]


def write(file, contents):
    file.write_text(contents if isinstance(contents, str) else json.dumps(contents))
    return file


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_labels_follow_their_paths(kind, tmp_path):
    labels = [label and label.strip() for label in TEXT]
    save_labels(tmp_path / f"labels.{kind}", PATHS, labels)
    assert load_labels(tmp_path / f"labels.{kind}", PATHS).tolist() == labels
    now = ["earlier.jpg", *PATHS[::-1], "a.jpg"]
    found = load_labels(tmp_path / f"labels.{kind}", now)
    assert found.tolist() == [None, *labels[::-1], "wren"]


def test_the_box_of_a_task_may_have_the_label(tmp_path):
    result = {"type": "rectanglelabels", "value": {"x": 1, "rectanglelabels": ["wren"]}}
    task = {
        "data": {"image": "a.jpg", "part": "xywh=1,2,3,4"},
        "annotations": [{"result": [result]}],
    }
    (tmp_path / "tasks.json").write_text(json.dumps([task]))
    found = load_labels(tmp_path / "tasks.json", ["a.jpg", "a.jpg#xywh=1,2,3,4"])
    assert found.tolist() == [None, "wren"]


def test_whole_numbers_stay_numbers_in_json(tmp_path):
    y = np.array([3.0, np.nan, 0.0])
    save_labels(tmp_path / "labels.json", ["a", "b", "c"], y)
    assert load_labels(tmp_path / "labels.json", ["a", "b", "c"]).tolist() == [3, None, 0]
    save_labels(tmp_path / "labels.csv", ["a", "b", "c"], y)
    assert load_labels(tmp_path / "labels.csv", ["a", "b", "c"]).tolist() == ["3", None, "0"]


LABEL_STUDIO = [
    {
        "data": {"image": "/data/local-files/?d=birds/%C3%A9.jpg", "index": 3},
        "annotations": [
            {"result": [{"type": "choices", "value": {"choices": ["wren"]}}]},
            {"was_cancelled": True, "result": [{"value": {"choices": ["robin"]}}]},
        ],
    },
    {"data": {"image": "birds/a.jpg"}, "annotations": [{"result": []}]},
    {
        "data": {"image": "birds/b.jpg"},
        "annotations": [{"result": [{"value": {"choices": ["robin"]}}]}],
    },
]
COCO = {
    "images": [{"id": 7, "file_name": "birds/é.jpg"}, {"id": 8, "file_name": "birds/b.jpg"}],
    "categories": [{"id": 1, "name": "wren"}, {"id": 2, "name": "robin"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1},
        {"id": 2, "image_id": 7, "category_id": 1},
        {"id": 3, "image_id": 8, "category_id": 2},
    ],
}
FORMATS = {
    "tasks.json": LABEL_STUDIO,
    "min.json": [
        {"image": "birds/é.jpg", "id": 1, "choice": "wren"},
        {"image": "birds/a.jpg", "id": 2},
        {"image": "birds/b.jpg", "id": 3, "choice": "robin"},
    ],
    "studio.csv": "image,id,choice\nbirds/é.jpg,1,wren\nbirds/a.jpg,2,\nbirds/b.jpg,3,robin\n",
    "coco.json": COCO,
    "mapping.json": {"birds/é.jpg": "wren", "birds/a.jpg": None, "birds/b.jpg": "robin"},
    "page.csv": "path,label,row\r\nbirds/é.jpg,wren,0\r\nbirds/b.jpg,robin,2\r\n",
    "sheet.csv": "\ufefffilepath;label\nbirds/é.jpg; wren \nbirds/a.jpg;-1\nbirds/b.jpg;robin\n",
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("base", ["working directory", "the file's folder", "root"])
def test_formats_of_tools(name, base, tmp_path, monkeypatch):
    file = write(tmp_path / name, FORMATS[name])
    paths = [str(tmp_path / "birds" / stem) for stem in ("é.jpg", "a.jpg", "b.jpg")]
    root = None
    if base == "working directory":
        monkeypatch.chdir(tmp_path)
    elif base == "root":
        (tmp_path / "elsewhere").mkdir()
        file, root = file.rename(tmp_path / "elsewhere" / name), tmp_path
    assert load_labels(file, paths, root=root).tolist() == ["wren", None, "robin"]


def test_a_selection_with_a_column_of_labels(tmp_path):
    file = tmp_path / "picks.csv"
    write_selection(file, ["a.jpg", "b.jpg"], [1, 0], columns={"label": ["wren", "robin"]})
    assert load_labels(file, ["b.jpg", "a.jpg"]).tolist() == ["robin", "wren"]


def test_a_folder_a_class(tmp_path):
    paths = [tmp_path / name for name in ("wren/a.jpg", "robin/far/b.jpg", "loose.jpg")]
    y = load_labels(tmp_path, [*paths, "elsewhere/wren/c.jpg"])
    assert y.tolist() == ["wren", "robin", None, None]
    with pytest.raises(ValueError, match="None of the 1 paths lies in a folder of a class"):
        load_labels(tmp_path, ["elsewhere/c.jpg"])


def test_images_that_are_gone_are_told_and_nothing_shifts(tmp_path):
    save_labels(tmp_path / "labels.csv", ["gone.jpg", "a.jpg"], ["x", "y"])
    with pytest.warns(UserWarning, match="1 of the 2 images .* the first of them 'gone.jpg'"):
        y = load_labels(tmp_path / "labels.csv", ["b.jpg", "a.jpg"])
    assert y.tolist() == [None, "y"]
    with pytest.raises(ValueError, match="None of the 2 images .* Give root"):
        load_labels(tmp_path / "labels.csv", ["b.jpg", "c.jpg"])


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("a.csv", "path,label\na.jpg,x\na.jpg,y\n", "'a.jpg' two labels, 'x' and 'y'"),
        ("a.csv", "path,label\na.jpg,x\n./a.jpg,y\n", "'a.jpg, ./a.jpg' two labels"),
        ("a.json", '{"a.jpg": "x", "a.jpg": "y"}', "'a.jpg' has two values, 'x' and 'y'"),
        ("a.json", [{"path": "a.jpg", "label": 1}, {"path": "a.jpg", "label": 2}], "two labels"),
        ("a.json", [{"path": "a.jpg", "label": ["x"]}], "which is no class"),
        (
            "a.json",
            {**COCO, "annotations": COCO["annotations"] + [{"image_id": 8, "category_id": 1}]},
            "'birds/b.jpg' two labels, 'robin' and 'wren'",
        ),
        (
            "a.json",
            [
                {
                    "data": {"image": "a.jpg"},
                    "annotations": [{"result": [{"value": {"choices": ["x", "y"]}}]}],
                }
            ],
            "has 2 labels: x, y",
        ),
        ("a.csv", "path,label\na.jpg,\n", "every label in it is empty"),
        ("a.csv", "file,label\na.jpg,x\n", "no 'path' among 'file', 'label'"),
        ("a.csv", "path,class\na.jpg,x\n", "no 'label' among 'path', 'class'"),
        ("a.csv", "path,label\na,b.jpg,x\n", "line 2 has more fields"),
        ("a.csv", "", "no 'path' among"),
        ("a.json", "[1, 2]", "holds no labels that can be read"),
        ("a.json", "{", "holds no labels that can be read"),
        ("a.txt", "a.jpg", "has the extension '.txt'"),
    ],
)
def test_files_that_hold_no_labels(name, contents, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_labels(write(tmp_path / name, contents), ["a.jpg", "birds/b.jpg"])


def test_other_mistakes_with_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file of labels"):
        load_labels(tmp_path / "a.csv", ["a.jpg"])
    with pytest.raises(TypeError, match="the single path 'a.jpg'"):
        load_labels(tmp_path / "a.csv", "a.jpg")
    with pytest.raises(ValueError, match="has the extension '.txt'"):
        save_labels(tmp_path / "a.txt", ["a.jpg"], ["x"])
    with pytest.raises(ValueError, match="one label a row, 2 in all"):
        save_labels(tmp_path / "a.csv", ["a.jpg", "b.jpg"], ["x"])


@pytest.mark.parametrize(
    "y",
    [
        [2, -1, 7, 2],
        np.array([2.0, np.nan, 7.0, 2.0]),
        [2, None, 7, 2],
        np.array([2, np.nan, 7, np.int8(2)], dtype=object),
        pd.Series([2, None, 7, 2], dtype="Int64"),
        ["b", None, "c", "b"],
        ["b", np.nan, "c", "b"],
        ["b", -1, "c", "b"],
        pd.Series(["b", None, "c", "b"]),
        pd.Series(["b", None, "c", "b"], dtype="category"),
        pd.Series(["b", pd.NA, "c", "b"], dtype="string"),
        pd.Series([False, None, True, False]),
    ],
)
def test_what_stands_for_no_label(y):
    classes, codes = encode_labels(y, 4)
    assert codes.tolist() == [0, -1, 1, 0]
    assert classes.tolist() in ([2, 7], ["b", "c"], [False, True])


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        (["a"], ValueError, "one label a row, 3 in all, .* shape \\(1,\\)"),
        ([["a"], ["b"], ["c"]], ValueError, "shape \\(3, 1\\)"),
        (["a", 1, "b"], TypeError, "mixes text and whole numbers: 'a' \\(row 0\\) and 1 \\(row 1"),
        (np.array(["a", np.nan, "b"]), ValueError, "the text 'nan' \\(row 1\\)"),
        (np.array(["a", -1, "b"]), ValueError, "the text '-1' \\(row 1\\)"),
        (["a", "", "b"], ValueError, "the text '' \\(row 1\\)"),
        ([0.5, 1, 2], ValueError, "0.5 \\(row 0\\), which is no class"),
        ([1, np.inf, 2], ValueError, "inf \\(row 1\\), which is no class"),
        ([("a",), ("b",), ("c", "d")], (TypeError, ValueError), "y"),
        ([object(), "a", "b"], TypeError, "labels are text or whole numbers"),
    ],
)
def test_what_cannot_be_labels(y, kind, message):
    with pytest.raises(kind, match=message):
        encode_labels(y, 3)
