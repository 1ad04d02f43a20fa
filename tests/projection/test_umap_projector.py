import hashlib
import inspect
import os
import pickle
import subprocess
import sys
import threading
from collections import Counter

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.base import clone
from sklearn.manifold import trustworthiness
from sklearn.metrics import pairwise_distances
from threadpoolctl import threadpool_limits

from dinov2_sklearn.projection import UMAPProjector, _projector
from dinov2_sklearn.projection._projector import _settle_components

FEW_ROWS = pytest.mark.filterwarnings("ignore:n_neighbors=.* needs more distinct rows:UserWarning")
CONFIGURATIONS = {
    "default": {},
    "euclidean": {"metric": "euclidean"},
    "pca": {"pca_components": 20},
    "one": {"n_components": 1},
    "three": {"n_components": 3, "n_neighbors": 5, "min_dist": 0.0},
}


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def projector(request, digits):
    return UMAPProjector(n_epochs=100, **CONFIGURATIONS[request.param]).fit(digits[0])


def run_python(code, *arguments, **environment):
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    environment = os.environ | environment
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment
    ).stdout.strip()


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def held_out_quality(rows, new_rows, points, new_points, metric, n_neighbors=15):
    """Trustworthiness and recall of held-out rows' neighbours among the fitted rows."""
    far = pairwise_distances(new_rows, rows, metric=metric)
    rank = np.argsort(np.argsort(far, axis=1, kind="stable"), axis=1) + 1
    on_map = np.argsort(pairwise_distances(new_points, points), axis=1)[:, :n_neighbors]
    rank = np.take_along_axis(rank, on_map, axis=1)
    n = len(rows)
    worst = len(new_rows) * n_neighbors * (2 * n - 3 * n_neighbors - 1) / 2
    trust = 1 - np.maximum(rank - n_neighbors, 0).sum() / worst
    return trust, (rank <= n_neighbors).mean()


def test_a_training_row_gets_its_own_point(projector, digits):
    np.testing.assert_array_equal(projector.transform(digits[0]), projector.embedding_)
    np.testing.assert_array_equal(projector.transform(digits[0][::-3]), projector.embedding_[::-3])
    assert projector.embedding_.dtype == projector.transform(digits[1]).dtype == np.float32


def test_a_new_row_gets_the_same_point_in_any_company(projector, digits):
    rows, new_rows = digits
    points = projector.transform(new_rows)
    alone = np.vstack([projector.transform(new_rows[i : i + 1]) for i in range(4)])
    tens = np.vstack([projector.transform(new_rows[i : i + 10]) for i in range(0, 40, 10)])
    crowd = projector.transform(np.vstack([rows, new_rows[::-1]]))[len(rows) :][::-1]
    np.testing.assert_array_equal(alone, points[:4])
    np.testing.assert_array_equal(tens, points[:40])
    np.testing.assert_array_equal(crowd, points)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_map_and_new_rows_on_it_keep_neighbours_as_well_as_umap(metric, digits, umap_learn):
    rows, new_rows = digits
    model = UMAPProjector(metric=metric).fit(rows)
    ours, theirs = model.embedding_, umap_learn[f"map_{metric}"]
    our_trust, umap_trust = (
        trustworthiness(rows, points, n_neighbors=15, metric=metric) for points in (ours, theirs)
    )
    assert our_trust >= umap_trust - 0.005
    our_quality, umap_quality = (
        held_out_quality(rows, new_rows, points, placed, metric)
        for points, placed in (
            (ours, model.transform(new_rows)),
            (theirs, umap_learn[f"placed_{metric}"]),
        )
    )
    assert our_quality[0] >= umap_quality[0] - 0.005
    assert our_quality[1] >= umap_quality[1] - 0.02


def test_a_row_within_rounding_of_a_training_row_gets_its_point(projector, digits):
    rows = digits[0][:50].astype(np.float32)
    nudged = np.nextafter(rows, np.float32(2))
    np.testing.assert_array_equal(projector.transform(nudged), projector.embedding_[:50])


def test_fit_transform_is_fit_then_transform(digits):
    projector = UMAPProjector(n_epochs=30)
    together = projector.fit_transform(digits[0])
    np.testing.assert_array_equal(together, clone(projector).fit(digits[0]).transform(digits[0]))
    together[:] = 0
    assert projector.embedding_.any()


def test_another_process_of_more_threads_reads_and_repeats_the_map(digits, tmp_path):
    rows = np.tile(digits[0], (1, 2)) + digits[0][:, :1]
    with threadpool_limits(1):
        model = UMAPProjector(n_epochs=20, pca_components=9, n_jobs=1).fit(rows)
    np.save(tmp_path / "rows.npy", rows)
    joblib.dump(model.set_params(n_jobs=None), tmp_path / "map.joblib")
    code = """
import hashlib, sys, joblib, numpy as np
digest = lambda points: hashlib.sha256(points.tobytes()).hexdigest()
folder = sys.argv[1]
rows = np.load(folder + "/rows.npy")
projector = joblib.load(folder + "/map.joblib")
print(digest(projector.transform(rows[:9] + 0.1)))
print(sorted({"umap", "numba", "torch", "matplotlib", "plotly", "transformers"} & set(sys.modules)))
print(digest(projector.fit(rows).embedding_))
"""
    threads = {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3"}
    placed, loaded, repeated = run_python(code, tmp_path, **threads).splitlines()
    assert placed == digest(model.transform(rows[:9] + 0.1))
    assert loaded == "[]"
    assert repeated == digest(model.embedding_)


def test_seeds_matter_and_the_global_generator_does_not(digits, fitted):
    rows = digits[0][:200]
    maps = {}
    for seed in (0, 1, 42):
        np.random.seed(seed)
        state = np.random.get_state()[1].tolist()
        maps[seed] = UMAPProjector(n_epochs=20, random_state=seed).fit_transform(rows)
        assert np.random.get_state()[1].tolist() == state
        np.random.seed(99)
        again = UMAPProjector(n_epochs=20, random_state=seed).fit_transform(rows)
        np.testing.assert_array_equal(again, maps[seed])
    assert not np.array_equal(maps[0], maps[1])


def test_pickle_and_skops_hold_arrays_only(projector, digits):
    data = projector._known_rows.nbytes + projector.embedding_.nbytes
    assert len(pickle.dumps(projector)) <= 1.2 * data
    stored = skops.io.dumps(projector)
    own = "dinov2_sklearn.projection._projector.UMAPProjector"
    assert skops.io.get_untrusted_types(data=stored) == [own]
    for copy in (pickle.loads(pickle.dumps(projector)), skops.io.loads(stored, trusted=[own])):
        np.testing.assert_array_equal(copy.transform(digits[1]), projector.transform(digits[1]))
        np.testing.assert_array_equal(copy.transform(digits[0]), projector.embedding_)


def test_the_pickle_stays_small_with_many_copies(digits):
    projector = UMAPProjector(n_epochs=5, metric="euclidean").fit(
        np.tile(digits[0][:, 20:23], (9, 1))
    )
    data = projector._known_rows.nbytes + projector.embedding_.nbytes
    assert len(pickle.dumps(projector)) <= 1.2 * data + 2000


def test_partial_fit_appends_and_changes_nothing(digits):
    rows, new_rows = digits
    projector = UMAPProjector(n_epochs=50).partial_fit(rows)
    before, expected = projector.embedding_.tobytes(), projector.transform(new_rows)
    # In parts, with copies of old rows and of each other among them.
    projector.partial_fit(np.vstack([new_rows[:100], rows[:5], new_rows[:7]]))
    projector.partial_fit(new_rows[100:])
    assert projector.embedding_[: len(rows)].tobytes() == before
    appended = np.vstack([expected[:100], projector.embedding_[:5], expected[:7], expected[100:]])
    np.testing.assert_array_equal(projector.embedding_[len(rows) :], appended)
    np.testing.assert_array_equal(projector.transform(new_rows), expected)
    np.testing.assert_array_equal(projector.transform(rows), projector.embedding_[: len(rows)])


def test_the_first_partial_fit_is_fit(digits):
    first = UMAPProjector(n_epochs=20).partial_fit(digits[0])
    np.testing.assert_array_equal(
        first.embedding_, UMAPProjector(n_epochs=20).fit_transform(digits[0])
    )


@FEW_ROWS
@pytest.mark.parametrize("n_rows", [1, 2, 4, 5, 15, 16])
@pytest.mark.parametrize("options", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_any_number_of_rows_has_a_map(n_rows, options):
    rows = np.random.default_rng(n_rows).normal(size=(n_rows, 6))
    projector = UMAPProjector(n_epochs=20, **options)
    points = projector.fit_transform(rows)
    assert points.shape == (n_rows, projector.n_components)
    assert np.isfinite(points).all()
    assert len(np.unique(points, axis=0)) == n_rows
    np.testing.assert_array_equal(projector.transform(rows), points)
    assert np.isfinite(projector.transform(rows + 0.1)).all()
    projector.partial_fit(rows + 0.2)
    assert np.isfinite(projector.embedding_).all()
    for method in ("kmeans", "hdbscan"):
        assert projector.cluster(method=method).shape == (2 * n_rows,)


@FEW_ROWS
def test_up_to_four_rows_keep_their_distances():
    rows = np.float32([[0, 0, 0], [3, 0, 0], [0, 4, 0]])
    points = UMAPProjector(metric="euclidean").fit_transform(rows)
    on_map = pairwise_distances(points)
    np.testing.assert_allclose(on_map / on_map[0, 1] * 3, pairwise_distances(rows), rtol=1e-4)


@FEW_ROWS
def test_a_thousand_copies_are_as_one_row():
    three = np.random.default_rng(0).normal(size=(3, 8))
    copies = np.repeat(three, 1000, axis=0)
    points = UMAPProjector().fit_transform(copies)
    np.testing.assert_array_equal(points[::1000], UMAPProjector().fit_transform(three))
    assert Counter(map(tuple, points.tolist())).most_common()[-1][1] == 1000


@FEW_ROWS
@pytest.mark.parametrize("value", [0.0, 1.0, -7.5])
def test_constant_data_is_one_point(value):
    projector = UMAPProjector(metric="euclidean", pca_components=2).fit(np.full((20_000, 4), value))
    assert (projector.embedding_ == 0).all()
    assert (projector.transform(np.ones((2, 4))) == 0).all()
    assert projector.pca_loss_ == 0
    assert (projector.cluster() == 0).all()


@pytest.mark.parametrize(
    "rows",
    [
        np.arange(40.0)[:, None],
        np.arange(40.0)[:, None] * np.ones((1, 5)),
        np.eye(40),
        np.random.default_rng(0).normal(size=(40, 3)) * 1e30,
        np.random.default_rng(0).normal(size=(40, 3)) * 1e-30,
        1e4 + np.random.default_rng(0).normal(size=(40, 3)),
        np.random.default_rng(0).integers(0, 2, size=(200, 40)),
    ],
    ids=["1 feature", "rank 1", "all equally far", "huge", "tiny", "far off", "binary"],
)
@pytest.mark.parametrize("pca_components", [None, 2])
def test_awkward_data_has_a_map(rows, pca_components):
    projector = UMAPProjector(
        n_epochs=20, n_components=3, metric="euclidean", pca_components=pca_components
    )
    points = projector.fit_transform(rows)
    assert np.isfinite(points).all()
    np.testing.assert_array_equal(projector.transform(rows), points)
    assert np.isfinite(projector.transform(rows[::-1] * 1.01)).all()


def test_fewer_rows_than_neighbours_is_announced():
    rows = np.random.default_rng(0).normal(size=(10, 4))
    with pytest.warns(UserWarning, match=r"n_neighbors=15 .* there are 10: using n_neighbors=9"):
        clipped = UMAPProjector().fit(rows)
    assert clipped.n_neighbors_ == 9
    assert clipped.n_neighbors == 15
    np.testing.assert_array_equal(
        clipped.embedding_, UMAPProjector(n_neighbors=9).fit_transform(rows)
    )


def test_rows_of_zeros_are_announced_under_cosine_only(digits):
    rows = digits[0][:100].copy()
    rows[[3, 60]] = 0
    with pytest.warns(UserWarning, match=r"2 of 100 rows are all zeros \(index 3, 60\)"):
        projector = UMAPProjector(n_epochs=20).fit(rows)
    np.testing.assert_array_equal(projector.embedding_[3], projector.embedding_[60])
    with pytest.warns(UserWarning, match=r"1 of 3 rows are all zeros \(index 2\)"):
        points = projector.transform(np.vstack([digits[1][:2], np.zeros(64)]))
    np.testing.assert_array_equal(points[2], projector.embedding_[3])
    UMAPProjector(n_epochs=20, metric="euclidean").fit(rows)  # where zero is a row like others


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_values_that_are_no_float32_are_refused_and_their_rows_named(bad, fitted):
    rows = np.ones((5000, 64))
    rows[[7, 4999], 1] = bad
    for refuse in (
        UMAPProjector().fit,
        fitted.transform,
        pickle.loads(pickle.dumps(fitted)).partial_fit,
    ):
        with pytest.raises(ValueError, match=r"in 2 of 5000 rows \(index 7, 4999\)"):
            refuse(rows)


@pytest.mark.parametrize("n_components", [1, 3, 50])
@pytest.mark.parametrize("n_rows", [5, 60])
@FEW_ROWS
def test_any_number_of_coordinates(n_components, n_rows, digits):
    rows = digits[0][:n_rows]
    projector = UMAPProjector(n_components=n_components, n_epochs=10).fit(rows)
    assert projector.embedding_.shape == (n_rows, n_components)
    assert np.isfinite(projector.transform(digits[1][:3])).all()


def test_one_neighbour_is_refused():
    with pytest.raises(ValueError, match=r"'n_neighbors' .* in the range \[2, inf\). Got 1"):
        UMAPProjector(n_neighbors=1).fit(np.eye(9))


def test_the_auto_rule_for_pca():
    assert _settle_components("auto", 5_000, 768) is None
    assert _settle_components("auto", 5_001, 100) is None
    assert _settle_components("auto", 5_001, 101) == 100
    assert _settle_components(None, 10**6, 768) is None


def test_pca_is_recorded_with_its_loss(digits):
    projector = UMAPProjector(n_epochs=5, metric="euclidean", pca_components=10).fit(digits[0])
    centered = digits[0] - digits[0].mean(axis=0)
    variances = np.linalg.svd(centered, compute_uv=False) ** 2
    assert projector.pca_loss_ == pytest.approx(
        1 - variances[:10].sum() / variances.sum(), abs=1e-5
    )
    assert projector.pca_components_.shape == (10, 64)
    assert UMAPProjector(n_epochs=5).fit(digits[0]).pca_components_ is None
    whole = UMAPProjector(n_epochs=5, pca_components=1000).fit(digits[0])
    assert whole.pca_components_.shape == (64, 64)
    assert whole.pca_loss_ == pytest.approx(0, abs=1e-6)


def test_more_than_five_thousand_rows_go_through_pca():
    rows = np.random.default_rng(0).normal(size=(5_001, 120)).astype(np.float32)
    projector = UMAPProjector(n_epochs=1, n_neighbors=3).fit(rows)
    assert projector.pca_components_.shape == (100, 120)
    assert 0 < projector.pca_loss_ < 0.2
    assert len(pickle.dumps(projector)) <= 1.2 * (5_001 * 102 * 4)
    np.testing.assert_array_equal(
        projector.transform(rows[4000:4003]), projector.embedding_[4000:4003]
    )


def test_an_unseeded_map_is_another_each_time_and_transforms_alike(digits):
    projector = UMAPProjector(n_epochs=20, random_state=None).fit(digits[0][:200])
    assert not np.array_equal(clone(projector).fit_transform(digits[0][:200]), projector.embedding_)
    points = projector.transform(digits[1])
    np.testing.assert_array_equal(projector.transform(digits[1][7:8])[0], points[7])


@pytest.mark.parametrize("n_rows", [100, 2500])
def test_the_map_is_the_same_to_the_byte_for_any_number_of_threads(n_rows, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(n_rows, 101)).astype(np.float32)
    rows[:, ::2] *= 0.1
    monkeypatch.setattr(_projector, "EXACT_ROWS", 2000)  # so that 2,500 rows go through cells
    fitted = [UMAPProjector(n_epochs=3, n_jobs=n).fit(rows) for n in (1, 3, 33)]
    assert len({digest(projector.embedding_) for projector in fitted}) == 1
    assert len({digest(projector.transform(rows[:9] + 1)) for projector in fitted}) == 1


def test_no_threads_are_refused(digits):
    with pytest.raises(ValueError, match="n_jobs == 0"):
        UMAPProjector(n_jobs=0).fit(digits[0])


def test_numpy_numbers_are_numbers(digits):
    numbers = {"n_components": 3, "n_neighbors": 7, "n_epochs": 10, "pca_components": 9}
    as_numpy = {name: np.int64(value) for name, value in numbers.items()}
    rows = digits[0][:100]
    np.testing.assert_array_equal(
        UMAPProjector(**as_numpy, min_dist=np.float32(0.25)).fit_transform(rows),
        UMAPProjector(**numbers, min_dist=0.25).fit_transform(rows),
    )


def test_min_dist_spreads_close_points(digits):
    packed, loose = (
        UMAPProjector(n_epochs=100, min_dist=min_dist).fit_transform(digits[0])
        for min_dist in (0.0, 1.0)
    )

    def nearest(points):
        return np.median(np.sort(pairwise_distances(points), axis=1)[:, 1])

    assert nearest(loose) > 1.5 * nearest(packed)


def test_progress_goes_to_standard_error(digits, capfd):
    UMAPProjector(n_epochs=5, verbose=True).fit(digits[0][:50])
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "5" in printed.err
    UMAPProjector(n_epochs=5).fit(digits[0][:50])
    assert capfd.readouterr() == ("", "")


def test_threads_may_fit_at_once(digits):
    maps = {}

    def fit(i):
        maps[i] = UMAPProjector(n_epochs=10).fit_transform(digits[0][:100])

    threads = [threading.Thread(target=fit, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({digest(points) for points in maps.values()}) == 1
    assert len(maps) == 4


def test_data_and_parameters_are_left_as_they_are(digits):
    rows = digits[0][:100].astype(np.float32)
    kept = rows.copy()
    projector = UMAPProjector(n_epochs=5)
    parameters = projector.get_params()
    projector.fit(rows).partial_fit(rows[:3] + 1).cluster(3)
    np.testing.assert_array_equal(rows, kept)
    assert projector.get_params() == parameters


@pytest.mark.parametrize("method", ["kmeans", "hdbscan"])
def test_clusters_are_groups_on_the_map(method, fitted):
    projector = pickle.loads(pickle.dumps(fitted))
    labels = projector.cluster(n_clusters=10, method=method)
    assert projector.labels_ is labels
    assert labels.min() >= -1
    assert len(np.unique(labels[labels >= 0])) == (10 if method == "kmeans" else labels.max() + 1)
    np.testing.assert_array_equal(projector.cluster(10, method), labels)
    nearest = np.argsort(pairwise_distances(projector.embedding_), axis=1)[:, 1]
    assert (labels[nearest] == labels).mean() > 0.9


def test_new_rows_make_labels_stale(fitted, digits):
    projector = pickle.loads(pickle.dumps(fitted))
    projector.cluster(5)
    projector.partial_fit(digits[1][:3])
    assert not hasattr(projector, "labels_")
    assert projector.cluster(5).shape == (703,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_clusters": 0}, "n_clusters must be an int of at least 1, got 0"),
        ({"n_clusters": 2.5}, "got 2.5"),
        ({"method": "dbscan"}, "method must be 'kmeans' or 'hdbscan', got 'dbscan'"),
    ],
)
def test_clustering_that_cannot_be_is_refused(arguments, message, fitted):
    with pytest.raises(ValueError, match=message):
        fitted.cluster(**arguments)


def test_there_is_no_inverse_and_the_docstring_says_why():
    assert not hasattr(UMAPProjector, "inverse_transform")
    assert "no ``inverse_transform``" in inspect.getdoc(UMAPProjector)
