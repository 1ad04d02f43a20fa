"""Selections in files, back to rows."""

import json

import numpy as np
import pytest

from dinov2_sklearn import DiversitySampler, load_selection
from dinov2_sklearn.selection import write_selection

PATHS = ["a.jpg", "new\nline.jpg", 'quo"te,.jpg', "bytes\udcff.jpg", "é.jpg", "<b>.jpg"]


def page_json(folder, rows, paths=PATHS, **changes):
    record = {
        "format": "dinov2_sklearn selection",
        "version": 1,
        "n_points": len(PATHS),
        "indices": rows,
        "paths": paths and [paths[row] for row in rows],
    }
    file = folder / "selection.json"
    file.write_text(json.dumps(record | changes))
    return file


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_rows_come_back_and_follow_their_paths(kind, tmp_path):
    rows = [3, 0, 5, 1]
    if kind == "csv":
        file = tmp_path / "picks.csv"
        write_selection(file, PATHS, rows)
    else:
        file = page_json(tmp_path, rows)
    np.testing.assert_array_equal(load_selection(file), rows)
    now = ["earlier.jpg", *PATHS[::-1]]
    moved = load_selection(file, now)
    assert moved.dtype == np.intp
    assert [now[row] for row in moved] == [PATHS[row] for row in rows]


@pytest.mark.parametrize("name", ["picks.csv", "picks.txt", "picks.json"])
def test_relative_paths_count_from_the_root(name, tmp_path):
    file = tmp_path / name
    paths = ["a.jpg", "sub/b.jpg", "/elsewhere/c.jpg"]
    write_selection(file, paths, [2, 1])
    now = ["/data/a.jpg", "/data/sub/b.jpg", "/elsewhere/c.jpg"]
    assert load_selection(file, now, root="/data").tolist() == [2, 1]


def test_a_selection_is_preselected(tmp_path):
    X = np.random.default_rng(0).normal(size=(6, 3))
    rows = load_selection(page_json(tmp_path, [4, 2]))
    picks = DiversitySampler(2).select(X, preselected=rows)
    assert not set(picks) & {4, 2}


def test_of_equal_paths_the_selected_row_is_taken(tmp_path):
    twice = ["a.jpg", "b.jpg", "a.jpg"]
    file = tmp_path / "picks.csv"
    write_selection(file, twice, [2])
    assert load_selection(file, twice).tolist() == [2]
    assert load_selection(file, ["b.jpg", "a.jpg", "c.jpg", "a.jpg"]).tolist() == [1]


def test_an_empty_selection_is_one(tmp_path):
    rows = load_selection(page_json(tmp_path, []))
    assert rows.shape == (0,)
    assert rows.dtype == np.intp


def test_rows_without_paths_cannot_be_looked_up(tmp_path):
    file = page_json(tmp_path, [1, 2], paths=None)
    assert load_selection(file).tolist() == [1, 2]
    with pytest.raises(ValueError, match="holds row numbers only"):
        load_selection(file, PATHS)


def test_a_path_that_is_gone_is_named(tmp_path):
    file = page_json(tmp_path, [0, 4])
    with pytest.raises(ValueError, match=r"1 of 2 paths .* the first of them 'é.jpg'"):
        load_selection(file, PATHS[:4])


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"},
        {"version": 2},
        {"indices": [-1]},
        {"indices": [0.5]},
        {"indices": [True]},
        {"indices": [1, 1], "paths": ["a", "a"]},
        {"indices": 3},
        {"indices": [0, 1, 2]},
        {"paths": [1]},
    ],
)
def test_what_is_no_selection_is_refused(changes, tmp_path):
    file = page_json(tmp_path, [0], **changes)
    with pytest.raises(ValueError, match=r"selection.json' is damaged, or is no selection"):
        load_selection(file)


@pytest.mark.parametrize("text", ["", "[1]", "{}", "\x00", "{"])
@pytest.mark.parametrize("name", ["s.json", "s.csv"])
def test_damage_is_named(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match="is damaged, or is no selection"):
        load_selection(tmp_path / name)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"extension '.xml'"):
        load_selection(tmp_path / "s.xml")
    with pytest.raises(FileNotFoundError, match="no selection"):
        load_selection(tmp_path / "s.json")
