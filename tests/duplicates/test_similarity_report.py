import json
import re

import numpy as np
import pandas as pd
import pytest

from dinov2_sklearn import NearDuplicates, leaks, similarity_report


def rows_and_copies(noise, n=300, d=32):
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(n, d))
    return np.concatenate([rows, rows[: n // 3] + noise * draw.normal(size=(n // 3, d))])


def test_thresholds_group_as_the_estimator_does():
    X = rows_and_copies(0.2)
    report = similarity_report(X, thresholds=(0.9, 0.97, 0.99))
    for i, threshold in enumerate(report.thresholds):
        fitted = NearDuplicates(threshold).fit(X)
        assert report.n_groups[i] == fitted.n_groups_
        assert report.largest_group[i] == fitted.group_sizes_.max()
        assert report.n_duplicates[i] == len(X) - fitted.n_groups_
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -1)
    nearest = similarity.max(axis=1)
    known = nearest >= 0.8
    np.testing.assert_allclose(report.nearest_similarity[known], nearest[known])
    assert np.isnan(report.nearest_similarity[~known]).all()


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-4, 0.01, 0.1])
def test_a_gap_suggests_a_threshold_that_tells_copies_apart(noise):
    report = similarity_report(rows_and_copies(noise))
    assert report.suggested is not None
    fitted = NearDuplicates(report.suggested).fit(rows_and_copies(noise))
    assert fitted.n_groups_ == 300
    assert fitted.group_sizes_.max() == 2
    # What is printed does as well.
    printed = float(re.search(r"suggests min_similarity=([\d.]+):", str(report))[1])
    np.testing.assert_array_equal(
        NearDuplicates(printed).fit(rows_and_copies(noise)).labels_, fitted.labels_
    )


def test_identical_images_do_not_hide_the_gap_behind_near_copies():
    X = np.concatenate([rows_and_copies(0.2), rows_and_copies(0.0)[:20]])
    suggested = similarity_report(X).suggested
    assert NearDuplicates(suggested).fit(X).n_groups_ == 300


def test_rows_that_thin_out_evenly_have_no_gap():
    draw = np.random.default_rng(0)
    turn = np.linspace(0, 1, 400) ** 2
    X = np.stack([np.cos(turn), np.sin(turn)], axis=1) + 1e-3 * draw.normal(size=(400, 2))
    report = similarity_report(X)
    assert report.suggested is None
    assert "no gap" in str(report)
    assert similarity_report(draw.normal(size=(50, 64))).suggested is None


def test_equal_rows_make_no_gap_beside_near_copies():
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(60, 32))
    near = rows + np.geomspace(1e-2, 1, 60)[:, np.newaxis] * draw.normal(size=(60, 32))
    assert similarity_report(np.concatenate([rows, near])).suggested is None
    assert similarity_report(np.concatenate([rows, near, rows[:7]])).suggested is None


def test_it_prints_and_becomes_json():
    X = rows_and_copies(0.0)
    report = similarity_report(X)
    assert report.n_equal == 100
    lines = str(report).splitlines()
    assert lines[0] == "400 rows, 100 of them equal to one before them"
    assert any(line.split()[:4] == ["0.95", "300", "2", "100"] for line in lines)
    assert json.loads(json.dumps(report.to_dict()))["n_groups"] == [300] * 4


def test_thresholds_that_were_not_searched_are_refused():
    with pytest.raises(ValueError, match=r"holds 0\.7, which is below lowest=0\.8"):
        similarity_report(np.eye(3), thresholds=(0.7,))
    for bad in (1.5, "0.9"):
        with pytest.raises(ValueError, match=f"at most 1. Got {bad!r}"):
            similarity_report(np.eye(3), thresholds=bad)


def test_leaks_names_the_nearest_training_row():
    train, test = rows_and_copies(0.0)[:300], rows_and_copies(0.1)[290:]
    report = leaks(train, test, 0.9)
    assert report.test_indices.tolist() == list(range(110))
    assert report.train_indices.tolist() == [*range(290, 300), *range(100)]
    assert report.share == 1.0
    assert (report.similarity[:10] == 1).all()
    assert "110 of 110 test rows (100.0%)" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["n_train"] == 300


def test_leaks_refuses_frames_whose_columns_are_in_another_order():
    frame = pd.DataFrame(rows_and_copies(0.0)).rename(columns=str)
    assert leaks(frame, frame).share == 1
    with pytest.raises(ValueError, match="in another order: 0, 1"):
        leaks(frame, frame[frame.columns[::-1]])


def test_nothing_leaks_from_other_rows():
    draw = np.random.default_rng(1)
    report = leaks(draw.normal(size=(50, 32)), draw.normal(size=(20, 32)))
    assert report.share == 0
    assert len(report.nearest_similarity) == 20
    assert str(report) == "0 of 20 test rows (0.0%) have a near-duplicate among 50 training rows"
    with pytest.raises(ValueError, match="3 features and X_test 2"):
        leaks(np.eye(3), np.eye(2))
    euclidean = leaks([[0.0], [5.0]], [[0.5], [9.0]], metric="euclidean", max_distance=1)
    assert euclidean.test_indices.tolist() == [0]
