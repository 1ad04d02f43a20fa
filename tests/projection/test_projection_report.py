import numpy as np
import pytest
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from dinov2_sklearn import projection_report


def reference_recall(X, points, n_neighbors, metric):
    near, on_map = (
        NearestNeighbors(n_neighbors=n_neighbors, metric=m).fit(a).kneighbors(return_distance=False)
        for a, m in ((X, metric), (points, "euclidean"))
    )
    return np.mean([len({*a} & {*b}) / n_neighbors for a, b in zip(near, on_map, strict=True)])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("n_neighbors", [1, 15, 40])
def test_it_agrees_with_scikit_learn(metric, n_neighbors):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 20)) + 5 * (metric == "euclidean")
    points = X[:, :2] + 0.3 * rng.normal(size=(300, 2))
    report = projection_report(X, points, n_neighbors=n_neighbors, metric=metric)
    expected = trustworthiness(X, points, n_neighbors=n_neighbors, metric=metric)
    assert report.trustworthiness == pytest.approx(expected, abs=1e-5)
    expected = reference_recall(X, points, n_neighbors, metric)
    assert report.neighbor_recall == pytest.approx(expected, abs=1e-3)
    assert (report.n_rows, report.n_judged, report.n_neighbors) == (300, 300, n_neighbors)


def test_a_map_that_keeps_everything_is_perfect_copies_included():
    points = np.repeat(np.random.default_rng(0).normal(size=(40, 2)), 10, axis=0)
    report = projection_report(points, points, metric="euclidean")
    assert report.trustworthiness == report.neighbor_recall == report.triplet_accuracy == 1
    constant = projection_report(np.ones((50, 3)), np.zeros((50, 2)))
    assert constant.trustworthiness == constant.neighbor_recall == 1
    assert constant.triplet_accuracy == 1


def test_triplets_tell_a_shuffled_map_from_a_true_one():
    X = np.random.default_rng(0).normal(size=(900, 3))
    kept, shuffled = (projection_report(X, points, metric="euclidean") for points in (X, X[::-1]))
    assert kept.triplet_accuracy == 1
    assert shuffled.triplet_accuracy == pytest.approx(0.5, abs=0.05)
    blurred = X + 0.5 * np.random.default_rng(1).normal(size=X.shape)
    some = projection_report(X, blurred, metric="euclidean", max_rows=300).triplet_accuracy
    i, j, k = np.random.default_rng(2).integers(0, 900, (3, 50_000))

    def is_nearer(A):
        return np.linalg.norm(A[i] - A[j], axis=1) < np.linalg.norm(A[i] - A[k], axis=1)

    assert some == pytest.approx((is_nearer(X) == is_nearer(blurred)).mean(), abs=0.03)


def test_a_sample_is_judged_among_all_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 10))
    whole = projection_report(X, X[:, :2], metric="euclidean")
    part = projection_report(X, X[:, :2], metric="euclidean", max_rows=400)
    assert (part.n_rows, part.n_judged) == (1500, 400)
    assert part.trustworthiness == pytest.approx(whole.trustworthiness, abs=0.02)
    assert part.neighbor_recall == pytest.approx(whole.neighbor_recall, abs=0.02)
    assert part == projection_report(X, X[:, :2], metric="euclidean", max_rows=400)


@pytest.mark.parametrize("n_rows", [3, 4, 31])
def test_few_rows_have_fewer_neighbours(n_rows):
    X = np.random.default_rng(0).normal(size=(n_rows, 4))
    report = projection_report(X, X[:, :2])
    assert report.n_neighbors == min(15, (n_rows - 1) // 2)
    assert 0 <= report.trustworthiness <= 1


def test_a_projector_reports_on_its_map_and_on_new_rows(digits, fitted):
    report = fitted.projection_report(digits[0])
    expected = trustworthiness(digits[0], fitted.embedding_, n_neighbors=15, metric="cosine")
    assert report.trustworthiness == pytest.approx(expected, abs=1e-4)
    assert report.trustworthiness > 0.95
    assert fitted.projection_report(digits[1], n_neighbors=5).n_neighbors == 5
    assert f"{report.trustworthiness:.4f}" in str(report)
    assert report.to_dict()["neighbor_recall"] == report.neighbor_recall


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": np.eye(2), "coordinates": np.eye(2)}, "2 rows have no neighbourhoods"),
        ({"coordinates": np.eye(3)}, "inconsistent numbers of samples"),
        ({"n_neighbors": 0}, "n_neighbors must be an int of at least 1, got 0"),
        ({"max_rows": 2.5}, "max_rows must be an int of at least 1, got 2.5"),
        ({"metric": "l1"}, "metric must be 'cosine' or 'euclidean', got 'l1'"),
        ({"X": np.full((9, 9), np.nan)}, r"X contains NaN, .* in 9 of 9 rows \(index 0, 1, 2"),
        ({"coordinates": np.full((9, 2), np.inf)}, r"coordinates contains NaN, infinity"),
    ],
)
def test_what_cannot_be_judged_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        projection_report(**{"X": np.eye(9), "coordinates": np.eye(9)[:, :2], **arguments})
