import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st

from dinov2_sklearn import DiversitySampler, __version__
from dinov2_sklearn.selection import write_selection

HEADER = "rank,index,filepath,score,cluster,distance_to_selected"


@pytest.fixture
def X():
    return np.random.RandomState(0).normal(size=(30, 4))


@pytest.fixture
def paths():
    return [f"images/{i}.jpg" for i in range(30)]


def read(path):
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def test_columns_hold_the_samplers_picks(X, paths, tmp_path):
    sampler = DiversitySampler(8).fit(X)
    write_selection(tmp_path / "picks.csv", paths, sampler)
    assert (tmp_path / "picks.csv").read_text().splitlines()[0] == HEADER
    # Older versions of pandas round as they parse; Python does not.
    table = pd.read_csv(tmp_path / "picks.csv", converters={"score": float})
    assert table["rank"].tolist() == list(range(1, 9))
    assert table["index"].tolist() == sampler.selected_indices_.tolist()
    assert table["filepath"].tolist() == [paths[i] for i in sampler.selected_indices_]
    assert table["cluster"].tolist() == sampler.labels_[sampler.selected_indices_].tolist()
    np.testing.assert_array_equal(table["score"], sampler.coverage_)
    distances = table["distance_to_selected"]
    np.testing.assert_allclose(distances[1:], sampler.pick_distances_[1:], rtol=1e-15)
    # The first pick has no earlier one.
    assert np.isnan(table["distance_to_selected"][0])


def test_fields_without_a_value_are_empty(X, paths, tmp_path):
    write_selection(tmp_path / "fps.csv", paths, DiversitySampler(3, strategy="fps").fit(X))
    assert {row["cluster"] for row in read(tmp_path / "fps.csv")} == {""}
    write_selection(str(tmp_path / "plain.csv"), np.array(paths), np.array([4, 2]))
    assert [list(row.values()) for row in read(tmp_path / "plain.csv")] == [
        ["1", "4", "images/4.jpg", "", "", ""],
        ["2", "2", "images/2.jpg", "", "", ""],
    ]


def test_sidecar_tells_how_it_was_made(X, paths, tmp_path):
    sampler = DiversitySampler(0.2, strategy="fps", random_state=np.int64(3)).fit(X)
    settings_ = {"model": "small", "dim": np.int32(384), "source": Path("a") / "b"}
    write_selection(tmp_path / "picks.csv", paths, sampler, settings=settings_)
    record = json.loads((tmp_path / "picks.csv.json").read_text())
    assert record["sampler"] == sampler.get_params()
    assert record["covering_radius"] == sampler.covering_radius_
    assert record["settings"] == {"model": "small", "dim": 384, "source": str(Path("a") / "b")}
    assert (record["n_rows"], record["n_picks"]) == (30, 6)
    assert record["versions"]["dinov2_sklearn"] == __version__
    assert record["versions"]["scikit-learn"] == sklearn.__version__
    assert pd.Timestamp(record["created"]).tzinfo is not None


def by_hand(X, n_samples, *, preselected, weights, random_state):
    return np.arange(n_samples)


def test_sidecar_of_parameters_that_json_does_not_know(X, paths, tmp_path):
    sampler = DiversitySampler(2, strategy=by_hand, random_state=np.random.RandomState(0)).fit(X)
    write_selection(tmp_path / "picks.csv", paths, sampler)
    parameters = json.loads((tmp_path / "picks.csv.json").read_text())["sampler"]
    assert parameters["strategy"].endswith(".by_hand")
    assert parameters["random_state"].startswith("RandomState")


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=60, deadline=None)
@given(st.lists(names | st.just('a,"b"\r\nc\rd\n\udce9'), min_size=1, max_size=6))
def test_any_file_name_survives(tmp_path_factory, filepaths):
    path = tmp_path_factory.mktemp("names") / "picks.csv"
    write_selection(path, filepaths, np.arange(len(filepaths)))
    assert [row["filepath"] for row in read(path)] == filepaths


def test_path_and_bytes_names(tmp_path):
    write_selection(tmp_path / "picks.csv", [Path("ä") / "b.png", b"\xe9.jpg"], [0, 1])
    assert [row["filepath"] for row in read(tmp_path / "picks.csv")] == ["ä/b.png", "\udce9.jpg"]


def test_a_failed_write_leaves_the_old_files_alone(paths, tmp_path):
    write_selection(tmp_path / "picks.csv", paths, [1])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    circular: dict = {}
    circular["self"] = circular
    with pytest.raises(ValueError, match="Circular"):
        write_selection(tmp_path / "picks.csv", paths, [2], settings=circular)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_files_are_replaced_and_nothing_else_is_left(paths, tmp_path):
    for picks in ([1, 2], [3]):
        write_selection(tmp_path / "picks.csv", paths, picks)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["picks.csv", "picks.csv.json"]
    assert [row["index"] for row in read(tmp_path / "picks.csv")] == ["3"]


def test_after_partial_fit_paths_are_those_of_the_last_batch(X, paths, tmp_path):
    sampler = DiversitySampler(4).partial_fit(X[:20]).partial_fit(X[20:])
    write_selection(tmp_path / "picks.csv", paths[20:], sampler)
    rows = read(tmp_path / "picks.csv")
    assert [row["filepath"] for row in rows] == [
        paths[i] for i in sampler.representative_indices_[4:]
    ]
    assert float(rows[0]["distance_to_selected"]) == sampler.pick_distances_[0]


def test_impossible_arguments(X, paths, tmp_path):
    sampler = DiversitySampler(4)
    path = tmp_path / "picks.csv"
    with pytest.raises(ValueError, match="not fitted"):
        write_selection(path, paths, sampler)
    with pytest.raises(ValueError, match="29 paths, but the sampler picked from 30 rows"):
        write_selection(path, paths[:29], sampler.fit(X))
    with pytest.raises(ValueError, match="selection holds 30, which is no row"):
        write_selection(path, paths, [30])
    with pytest.raises(FileNotFoundError, match="folder .*missing.* does not exist"):
        write_selection(tmp_path / "missing" / "picks.csv", paths, [0])
    assert list(tmp_path.iterdir()) == []
