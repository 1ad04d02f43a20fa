import json

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from dinov2_sklearn import DiversitySampler, selection_report
from dinov2_sklearn.neighbors import _geometry
from dinov2_sklearn.selection import compute_diversity


@pytest.fixture
def X():
    return np.random.RandomState(0).normal(size=(60, 4))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_measures_match_their_definitions(X, metric):
    indices, labels = [5, 0, 33, 41], np.arange(60) % 7
    scores = selection_report(X, indices, labels, metric=metric).selection
    everything = pairwise_distances(X, metric=metric)
    distances = everything[:, indices].min(axis=1)
    assert scores.covering_radius == pytest.approx(distances.max())
    assert scores.radius_q99 == pytest.approx(np.quantile(distances, 0.99))
    assert scores.radius_q95 == pytest.approx(np.quantile(distances, 0.95))
    assert scores.mean_distance == pytest.approx(distances.mean(), abs=1e-12)
    among = everything[np.ix_(indices, indices)] + 9 * np.eye(4)
    assert scores.min_pick_distance == pytest.approx(among.min())
    assert scores.class_coverage == len({5, 0, 33 % 7, 41 % 7}) / 7


def test_random_draws_are_measured_in_the_same_way(X):
    rng = np.random.RandomState(3)
    draws = [rng.choice(60, 6, replace=False) for _ in range(4)]
    report = selection_report(X, np.arange(6), n_random=4, random_state=3)
    assert (report.n_rows, report.n_picks, report.n_random) == (60, 6, 4)
    for name in ("covering_radius", "mean_distance", "min_pick_distance", "radius_q95"):
        expected = np.mean(
            [getattr(selection_report(X, draw, n_random=1).selection, name) for draw in draws]
        )
        assert getattr(report.random, name) == pytest.approx(expected)


def test_selecting_everything_leaves_nothing_to_cover(X):
    report = selection_report(X, np.ones(60, dtype=bool), ["a", "b"] * 30)
    for scores in (report.selection, report.random):
        assert scores.covering_radius == 0
        assert scores.class_coverage == 1


def test_one_pick_has_no_pick_distance(X):
    assert selection_report(X, [3]).selection.min_pick_distance == np.inf


def test_agrees_with_the_sampler(X):
    sampler = DiversitySampler(9).fit(X)
    scores = selection_report(X, sampler.selected_indices_).selection
    assert scores.covering_radius == sampler.covering_radius_
    assert scores.min_pick_distance == sampler.pick_distances_.min()
    assert scores.mean_distance == pytest.approx(-sampler.score(X))
    assert selection_report(X, sampler.support_).selection == scores


def test_blocks_do_not_change_the_report(X, monkeypatch):
    X, indices = X.astype(np.float32), [5, 0, 33]
    whole = selection_report(X, indices)
    monkeypatch.setattr(_geometry, "_BLOCK_SIZE", 16)
    monkeypatch.setattr(_geometry, "_FEW_ROWS", 1)
    assert selection_report(X, indices) == whole


def test_prints_as_a_table_and_becomes_a_dict(X):
    report = selection_report(X, [0, 1, 2], ["cat"] * 59 + ["dog"])
    lines = str(report).splitlines()
    assert lines[0] == "3 of 60 rows, euclidean distance"
    assert len({len(line) for line in lines[1:-1]}) == 1
    assert f"{report.selection.covering_radius:.4g}" in lines[2]
    assert "classes covered" in lines[-3]
    assert "0.5" in lines[-3].split()
    share = f"{report.selection.representation:.0%}"
    assert lines[-1] == f"these 3 rows take away {share} of the spread"
    unlabelled = selection_report(X, [0, 1, 2])
    assert "classes covered" not in str(unlabelled)
    values = unlabelled.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert values["selection"]["class_coverage"] is None
    assert values["random"]["covering_radius"] == unlabelled.random.covering_radius


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([],), {}, "indices is empty"),
        (([0, 60],), {}, "indices holds 60, which is no row of X"),
        (([4, 4],), {}, "indices holds row 4 more than once"),
        (([0], ["a"] * 59), {}, "inconsistent numbers of samples"),
        (([0],), {"metric": "l1"}, "metric must be one of .* Got 'l1'"),
        (([0],), {"n_random": 0}, "n_random must be an int of at least 1. Got 0"),
    ],
)
def test_impossible_arguments(X, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        selection_report(X, *arguments, **options)


def test_report_names_rows_that_are_not_finite(X):
    X[7, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in row 7"):
        selection_report(X, [0])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_diversity_is_the_mean_distance_to_the_neighbours(X, metric):
    distances = pairwise_distances(X, metric=metric)
    np.fill_diagonal(distances, np.inf)
    nearest = np.sort(distances, axis=1)
    got = compute_diversity(X, 5, metric=metric)
    np.testing.assert_allclose(got, nearest[:, :5].mean(axis=1), atol=1e-7)
    everyone = nearest[:, :-1].mean(axis=1)
    np.testing.assert_allclose(compute_diversity(X, 500, metric=metric), everyone, atol=1e-7)


def test_diversity_of_duplicates_and_of_a_row_alone():
    assert compute_diversity(np.full((20, 3), 0.1, dtype=np.float32)).tolist() == [0.0] * 20
    assert compute_diversity([[1.0, 2.0]]).tolist() == [0.0]
    far_from_the_origin = np.repeat([[1e6], [1e6 + 1]], 11, axis=0)
    assert compute_diversity(far_from_the_origin).tolist() == [0.0] * 22


@pytest.mark.parametrize("n_neighbors", [0, -1, 2.5, True, None])
def test_impossible_numbers_of_neighbours(X, n_neighbors):
    with pytest.raises(ValueError, match="n_neighbors must be an int of at least 1"):
        compute_diversity(X, n_neighbors)
