"""What to label next, which labels look wrong, and how far one has come."""

import io
from dataclasses import replace

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from dinov2_sklearn import (
    DiversitySampler,
    LabelQuality,
    label_quality,
    label_report,
    label_uncertainty,
)
from dinov2_sklearn.labels import _quality


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600].astype(np.float32), y[:600]


@pytest.fixture(scope="module")
def first_round(digits):
    X, y = digits
    picks = DiversitySampler(20, strategy="coverage").select(X)
    return picks, np.where(np.isin(np.arange(len(X)), picks), y, -1)


def functions():
    return [label_uncertainty, label_quality, label_report]


BAD = {
    "wrong length": ([0, 1, -1], ValueError, "one label a row, 6 in all"),
    "none": ([-1] * 6, ValueError, "No row has a label"),
    "one class": (["a", None, "a", None, None, None], ValueError, "All 2 labels are 'a'"),
    "mixed": (["a", 1, None, None, None, "b"], TypeError, "mixes text and whole numbers"),
    "NaN as text": (np.array(["a", "b", np.nan] * 2), ValueError, "the text 'nan'"),
    "continuous": ([0.5, 1.5, 2, 3, 4, 5], ValueError, "0.5 \\(row 0\\), which is no class"),
}


@pytest.mark.parametrize("function", functions())
@pytest.mark.parametrize("case", BAD)
def test_bad_labels(function, case):
    y, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        function(np.eye(6) + 1, y)


@pytest.mark.parametrize("function", functions())
def test_bad_rows(function):
    with pytest.raises(ValueError, match="NaN or infinity in row 1"):
        function([[1.0], [np.nan], [2.0]], [0, 1, -1])
    with pytest.raises(ValueError, match="paths, such as 'a.jpg'"):
        function(["a.jpg", "b.jpg"], [0, 1])


def test_uncertainty_refuses_what_makes_no_weights(digits):
    X, y = digits
    with pytest.raises(ValueError, match="All rows have a label"):
        label_uncertainty(X, y)
    y = np.where(np.arange(len(y)) < 50, y, -1)
    with pytest.raises(TypeError, match="LinearSVC has no predict_proba"):
        label_uncertainty(X, y, estimator=LinearSVC())


def test_uncertainty_is_one_minus_the_margin_of_a_clone(digits, first_round):
    X, _ = digits
    picks, y = first_round
    model = KNeighborsClassifier(3)
    weights = label_uncertainty(X, y, estimator=model)
    best = np.sort(KNeighborsClassifier(3).fit(X[picks], y[picks]).predict_proba(X), axis=1)
    np.testing.assert_allclose(weights, 1 - best[:, -1] + best[:, -2])
    assert not hasattr(model, "classes_")


def test_a_few_labels_do_not_make_everything_certain(digits, first_round):
    X, _ = digits
    picks, y = first_round
    weights = label_uncertainty(X, y)
    assert weights.shape == (len(X),)
    assert weights.min() >= 0
    assert weights.max() <= 1
    rest = np.setdiff1d(np.arange(len(X)), picks)
    assert np.median(weights[rest]) > 0.2
    # Labels that are text, lists, another scale and another precision make the same weights.
    as_text = [None if label < 0 else f"c{label}" for label in y]
    np.testing.assert_allclose(label_uncertainty(X, as_text), weights, atol=1e-6)
    scaled = label_uncertainty(X.astype(np.float64) * 100 + 5, y)
    np.testing.assert_allclose(scaled, weights, atol=2e-2)


def test_a_first_round_with_a_label_a_class_warns_of_nothing(digits):
    X, truth = digits
    y = np.full(len(truth), -1)
    first = np.unique(truth, return_index=True)[1]
    y[first] = truth[first]
    assert label_uncertainty(X, y).max() > 0.5


def test_uncertain_rows_are_those_that_come_out_wrong(digits, first_round):
    X, truth = digits
    picks, y = first_round
    rest = np.setdiff1d(np.arange(len(X)), picks)
    wrong = KNeighborsClassifier(1).fit(X[picks], truth[picks]).predict(X[rest]) != truth[rest]
    assert roc_auc_score(wrong, label_uncertainty(X, y)[rest]) > 0.75


@pytest.mark.parametrize("kind", ["uniform", "confused"])
@pytest.mark.parametrize("share", [0.05, 0.1])
def test_changed_labels_score_low_and_are_mended(digits, kind, share):
    X, truth = digits
    y, changed = change(truth, share, kind)
    quality, suggested = label_quality(X, y)
    assert roc_auc_score(changed, -quality) > 0.99
    assert np.mean(suggested[changed] == truth[changed]) > 0.9
    assert quality.min() >= 0
    assert quality.max() <= 1


def change(y, share, kind):
    draw = np.random.default_rng(0)
    changed = np.isin(np.arange(len(y)), draw.choice(len(y), int(share * len(y)), replace=False))
    shift = draw.integers(1, 10, len(y)) if kind == "uniform" else np.where(y == 9, 4, 1)
    return np.where(changed, (y + shift) % 10, y), changed


def test_a_row_and_its_copies_never_vote_on_it(digits):
    X, y = digits
    draw = np.random.default_rng(0)
    # A burst of 60 near copies of one row, all labelled wrong.
    burst = X[:1] + draw.normal(scale=0.01, size=(60, X.shape[1])).astype(np.float32)
    rows, labels = np.concatenate([X, burst]), np.concatenate([y, np.full(60, (y[0] + 1) % 10)])
    quality, suggested = label_quality(rows, labels)
    assert quality[600:].max() < 0.1
    assert (suggested[600:] == y[0]).all()
    # Its own label changes nothing about what is suggested for a row.
    other = y.copy()
    other[5] = (y[5] + 1) % 10
    assert label_quality(X, other)[1][5] == label_quality(X, y)[1][5]


def test_a_burst_has_one_vote(digits):
    X, truth = digits
    draw = np.random.default_rng(0)
    y, changed = change(truth, 0.1, "uniform")
    rows = np.repeat(draw.choice(len(X), 30, replace=False), 20)  # bursts, some labelled wrong
    noise = draw.normal(scale=0.2, size=(len(rows), X.shape[1])).astype(np.float32)
    bursts, labels = np.concatenate([X, X[rows] + noise]), np.concatenate([y, y[rows]])
    model = LabelQuality().fit(bursts, labels)
    assert model.n_groups_ == len(X)
    np.testing.assert_allclose(model.label_quality_[:600], label_quality(X, y)[0])
    # All of a burst are judged alike.
    np.testing.assert_array_equal(model.label_quality_[600:], model.label_quality_[rows])
    assert roc_auc_score(np.concatenate([changed, changed[rows]]), -model.label_quality_) > 0.99
    # An image without a label follows its labelled copies.
    labels[600:] = -1
    assert (label_quality(bursts, labels)[1][600:] == y[rows]).mean() > 0.9


def test_copies_contradict_a_label_though_they_cannot_vouch_for_one(digits):
    X, y = digits
    draw = np.random.default_rng(0)
    # A scene of its own, all frames of which are copies: no other row has its label.
    burst = -X[:1] - 1 + draw.normal(scale=0.01, size=(40, X.shape[1])).astype(np.float32)
    rows, labels = np.concatenate([X, burst]), np.concatenate([y, np.full(40, 10)])
    labels[600:603] = [3, 3, 7]
    with pytest.warns(UserWarning, match="1 of 11 classes have a single label or copies of one"):
        model = LabelQuality().fit(rows, labels)
    quality, suggested = model.label_quality_[600:], model.suggested_labels_[600:]
    assert quality[:3].max() < 0.05 < 0.3 < quality[3:].min() <= quality.max() < 0.4
    assert (suggested == 10).all()
    np.testing.assert_array_equal(model.score_samples(burst, labels[600:]), quality)
    # All of another class: it is no copy's word against another's, and others judge it.
    labels[600:] = 3
    assert label_quality(rows, labels)[0][600:].max() < 0.2


def test_many_voters_are_looked_for_among_those_around_alone(digits, monkeypatch):
    X, truth = digits
    y, _ = change(truth, 0.1, "uniform")
    y[400:] = -1
    exact = LabelQuality().fit(X, y)
    monkeypatch.setattr(_quality, "EXACT_ROWS", 100)
    nearly = LabelQuality().fit(X, y)
    assert exact.neighbor_recall_ == 1 > nearly.neighbor_recall_ > 0.95
    assert np.median(np.abs(nearly.label_quality_ - exact.label_quality_)[:400]) < 1e-9
    assert np.corrcoef(nearly.label_quality_[:400], exact.label_quality_[:400])[0, 1] > 0.99
    assert (nearly.suggested_labels_ == exact.suggested_labels_).mean() > 0.98
    np.testing.assert_array_equal(nearly.score_samples(X, y), nearly.label_quality_)


def test_rows_without_a_label_get_a_suggestion_and_no_score(digits):
    X, truth = digits
    y = np.where(np.arange(len(truth)) < 400, truth, -1)
    quality, suggested = label_quality(X, y)
    assert np.isnan(quality).tolist() == (y < 0).tolist()
    assert np.mean(suggested[400:] == truth[400:]) > 0.85


def test_scores_of_other_rows_are_those_of_fit(digits):
    X, y = digits
    model = LabelQuality().fit(X, y)
    np.testing.assert_array_equal(model.score_samples(X, y), model.label_quality_)
    np.testing.assert_array_equal(model.score_samples(X[3:9], y[3:9]), model.label_quality_[3:9])
    assert (model.score_samples(X) >= model.label_quality_).all()
    partly = model.score_samples(X[:3], [y[0], -1, y[2]])
    assert np.isnan(partly).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="11, a class that had no label in fit"):
        model.score_samples(X[:2], [0, 11])
    with pytest.raises(ValueError, match="a class that had no label"):
        model.score_samples(X[:2], ["0", "1"])


def test_a_class_with_one_label_is_told():
    X = np.random.default_rng(0).normal(size=(8, 3))
    with pytest.warns(UserWarning, match="1 of 3 classes have a single label or copies of one"):
        quality, _ = label_quality(X, list("aaabbbbc"))
    assert quality[-1] < 1 / 3
    weights = label_uncertainty(X, [*"aaabbbc", None])
    assert np.isfinite(weights).all()
    assert label_report(X, list("aaabbbbc")).thin == ("a", "b", "c")


def test_where_there_is_nobody_to_ask_the_label_stays():
    with pytest.warns(UserWarning, match="4 of 4 labelled rows are copies at min_similarity=0.99"):
        quality, suggested = label_quality([[1.0, 0], [1, 0], [2, 0], [2, 0]], list("aabb"))
    assert suggested.tolist() == list("aabb")
    np.testing.assert_allclose(quality, quality[0])


@parametrize_with_checks(
    [LabelQuality()],
    expected_failed_checks=lambda estimator: {
        # Replaced by test_dtypes.
        "check_estimators_dtypes": "casts rows to integers, where some are zero: an error",
    },
)
@pytest.mark.filterwarnings("ignore:.* classes have a single label:UserWarning")
@pytest.mark.filterwarnings("ignore:.* labelled rows are copies:UserWarning")
def test_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_dtypes(digits, dtype):
    X, y = digits
    expected = LabelQuality().fit(X, y).label_quality_
    np.testing.assert_allclose(LabelQuality().fit(X.astype(dtype), y).label_quality_, expected)


@pytest.mark.parametrize("way", ["joblib", "skops"])
def test_pickles(digits, way):
    X, y = digits
    model = LabelQuality(5).fit(X[:100], y[:100])
    if way == "joblib":
        file = io.BytesIO()
        joblib.dump(model, file)
        again = joblib.load(io.BytesIO(file.getvalue()))
    else:
        raw = skops.io.dumps(model)
        again = skops.io.loads(raw, trusted=skops.io.get_untrusted_types(data=raw))
    np.testing.assert_array_equal(again.score_samples(X, y), model.score_samples(X, y))


def test_report(digits):
    X, truth = digits
    # At random: of digits in order, the first are by other hands than the rest.
    y = np.where(np.random.default_rng(0).permutation(len(truth)) < 300, truth, -1)
    y[np.flatnonzero(y == 9)[3:]] = -1
    report = label_report(X, y, min_similarity=0.99)  # at 0.95, many digits are copies of others
    assert sum(report.counts) == report.n_labelled == (y >= 0).sum()
    assert report.thin == (9,)
    assert len(report.distances) == (y < 0).sum()
    # The cross-validated accuracy is that on the rows whose labels were held back, about.
    model = label_report.__globals__["default_classifier"]().fit(X[y >= 0], y[y >= 0])
    held_back = (y < 0) & (truth != 9)
    honest = np.mean(model.predict(X[held_back]) == truth[held_back])
    assert abs(report.accuracy - honest) < 0.06
    assert (np.diff(report.test_scores.mean(axis=1)) > 0).all()
    assert "1 classes with fewer than 5 labels" in str(report)
    assert report.to_dict()["labels"]["9"] == 3
    display = report.learning_curve().plot(score_type="test")
    assert display.ax_.get_ylabel() == "Accuracy"
    # What more labels bring is said where it is known.
    for gains, verdict in [
        ([0.1, 0.12, 0.11], "more pay"),
        ([0.0, 0.01, 0.0], "more may no longer pay"),
        ([0.2, -0.1, 0.1], "too uncertain to say"),
    ]:
        scores = np.stack([np.full(3, 0.5), 0.5 + np.array(gains)])
        sizes = report.train_sizes[-2:]
        assert verdict in str(replace(report, test_scores=scores, train_sizes=sizes))


def test_a_class_of_copies_alone_is_left_out_and_named(digits):
    X, y = digits[0][:200], digits[1][:200].copy()
    alone = label_report(X, y)
    assert alone.untested == ()
    copies = np.repeat(-X[:1] - 1, 30, axis=0)
    report = label_report(np.concatenate([X, copies]), np.concatenate([y, np.full(30, 10)]))
    assert report.untested == (10,)
    assert abs(report.accuracy - alone.accuracy) < 0.06
    assert "1 classes whose labels are copies of one thing" in str(report)


def test_copies_are_in_one_fold():
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(60, 20)), draw.integers(0, 2, 60)  # nothing to learn
    bursts, labels = np.repeat(X, 5, axis=0), np.repeat(y, 5)
    bursts = bursts + draw.normal(scale=1e-3, size=bursts.shape)
    model = KNeighborsClassifier(1)
    assert label_report(bursts, labels, estimator=model).accuracy < 0.7
    assert label_report(bursts, labels, estimator=model, min_similarity=1.0).accuracy > 0.95
    with pytest.raises(ValueError, match="Each of the 2 classes has a single label, or copies"):
        label_report(np.ones((4, 2)), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="Each of the 3 classes has a single label, or copies"):
        label_report(np.eye(3), list("abc"))
