import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from dinov2_sklearn import DiversitySampler, ImageTable, NearDuplicates, leaks


def cosines(X):
    unit = X.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return unit @ unit.T


def frames(n_scenes=40, n_frames=3, d=16, noise=0.02, seed=0):
    """Scenes with some frames each, in random order."""
    draw = np.random.default_rng(seed)
    scenes = draw.normal(size=(n_scenes, d))
    scene = draw.permutation(np.repeat(np.arange(n_scenes), n_frames))
    return (scenes[scene] + noise * draw.normal(size=(len(scene), d))).astype(np.float32), scene


def same_partition(a, b):
    return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


few_dimensions = st.builds(
    lambda n, d, seed, dtype: (np.random.default_rng(seed).normal(size=(n, d)) + 1.0).astype(dtype),
    st.integers(1, 30),
    st.integers(2, 4),
    st.integers(0, 10_000),
    st.sampled_from([np.float32, np.float64]),
)


@settings(max_examples=40, deadline=None)
@given(few_dimensions, st.sampled_from([-0.5, 0.5, 0.9, 0.99]))
@pytest.mark.filterwarnings("ignore:All .* rows are one group:UserWarning")
def test_connected_groups_are_single_linkage_at_the_threshold(X, min_similarity):
    duplicates = NearDuplicates(min_similarity).fit(X)
    similarity = cosines(X)
    if len(X) > 1:
        reference = AgglomerativeClustering(
            n_clusters=None,
            metric="precomputed",
            linkage="single",
            distance_threshold=1 - min_similarity,
        ).fit_predict(np.maximum(1 - similarity, 0))
        assert same_partition(duplicates.labels_, reference)
    np.fill_diagonal(similarity, -np.inf)
    near = similarity.max(axis=1, initial=-np.inf) >= min_similarity
    np.testing.assert_array_equal(duplicates.nearest_ >= 0, near)
    np.testing.assert_array_equal(duplicates.nearest_[near], similarity.argmax(axis=1)[near])
    np.testing.assert_allclose(
        duplicates.nearest_similarity_[near], similarity.max(axis=1)[near], atol=1e-12
    )
    assert np.isnan(duplicates.nearest_similarity_[~near]).all()


@settings(max_examples=40, deadline=None)
@given(few_dimensions, st.sampled_from([0.5, 0.9, 0.99]))
@pytest.mark.filterwarnings("ignore:All .* rows are one group:UserWarning")
def test_complete_groups_hold_no_pair_below_the_threshold(X, min_similarity):
    duplicates = NearDuplicates(min_similarity, linkage="complete").fit(X)
    similarity = cosines(X)
    labels = duplicates.labels_
    together = labels[:, None] == labels
    assert (similarity[together] >= min_similarity - 1e-12).all()
    # A row that founds a group is far from some row of each group before.
    for group in range(1, duplicates.n_groups_):
        founder = np.flatnonzero(labels == group)[0]
        for earlier in range(group):
            members = np.flatnonzero(labels[:founder] == earlier)
            assert (similarity[founder, members] < min_similarity + 1e-12).any()


@settings(max_examples=40, deadline=None)
@given(few_dimensions, st.sampled_from(["connected", "complete"]))
@pytest.mark.filterwarnings("ignore:All .* rows are one group:UserWarning")
def test_attributes_agree(X, linkage):
    duplicates = NearDuplicates(0.9, linkage=linkage).fit(X)
    labels, kept = duplicates.labels_, duplicates.kept_indices_
    _, first = np.unique(labels, return_index=True)
    assert (np.diff(first) > 0).all()
    np.testing.assert_array_equal(labels[kept], np.arange(duplicates.n_groups_))
    np.testing.assert_array_equal(np.bincount(labels), duplicates.group_sizes_)
    np.testing.assert_array_equal(np.sort(kept), duplicates.get_support(indices=True))
    assert duplicates.get_support().sum() == duplicates.n_groups_
    expected = cosines(X)[np.arange(len(X)), kept[labels]]
    np.testing.assert_allclose(duplicates.similarity_, expected, atol=1e-12)
    assert duplicates.duplicate_ratio_ == 1 - duplicates.n_groups_ / len(X)


def test_scenes_are_found_and_one_frame_of_each_is_kept():
    X, scene = frames()
    duplicates = NearDuplicates(0.95).fit(X)
    assert same_partition(duplicates.labels_, scene)
    np.testing.assert_array_equal(duplicates.transform(X), X[duplicates.support_])
    np.testing.assert_array_equal(duplicates.fit_transform(X), X[duplicates.support_])


@pytest.mark.parametrize("linkage", ["connected", "complete"])
def test_euclidean_distances_have_a_threshold_of_their_own(linkage):
    X = np.array([[0.0], [1.0], [2.0], [5.0]])
    duplicates = NearDuplicates(metric="euclidean", max_distance=1.0, linkage=linkage).fit(X)
    expected = {"connected": [0, 0, 0, 1], "complete": [0, 0, 1, 2]}
    assert duplicates.labels_.tolist() == expected[linkage]
    assert duplicates.nearest_similarity_[:3].tolist() == [-1, -1, -1]
    assert duplicates.predict([[4.0], [3.5]]).tolist() == [3, -1]
    assert duplicates.score_samples([[4.0], [3.5]]).tolist() == [-1, -1.5]


def test_keep_says_which_row_stays():
    X = np.array([[1.0, 0.0], [1.0, 0.02], [1.0, 0.01], [0.0, 1.0]])
    kept = {
        keep: NearDuplicates(keep=keep).fit(X).kept_indices_.tolist()
        for keep in ("central", "first", "last")
    }
    assert kept == {"central": [2, 3], "first": [0, 3], "last": [2, 3]}
    scores = [0.2, 0.9, 0.9, -5.0]
    assert NearDuplicates(keep=scores).fit(X).kept_indices_.tolist() == [1, 3]


@pytest.mark.parametrize("size", [3, 60])
def test_central_row_is_the_nearest_to_the_mean(size, monkeypatch):
    from dinov2_sklearn.duplicates import _groups

    draw = np.random.default_rng(0)
    X = np.concatenate([c + 0.01 * draw.normal(size=(size, 8)) for c in 9 * np.eye(8)[:5]])
    order = draw.permutation(len(X))
    X = X[order]
    duplicates = NearDuplicates(0.9)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    for chunk in (2**20, 100):  # all groups at once, and each for itself
        monkeypatch.setattr(_groups, "_CHUNK", chunk)
        duplicates.fit(X)
        assert duplicates.n_groups_ == 5
        for group, kept in enumerate(duplicates.kept_indices_):
            rows = np.flatnonzero(duplicates.labels_ == group)
            away = ((unit[rows] - unit[rows].mean(axis=0)) ** 2).sum(axis=1)
            assert kept == rows[away.argmin()]


@pytest.mark.parametrize("linkage", ["connected", "complete"])
def test_rethreshold_is_a_fit_at_the_stricter_threshold(linkage):
    draw = np.random.default_rng(3)
    X = (1 + draw.normal(size=(200, 4))).astype(np.float32)
    lax = NearDuplicates(0.97, linkage=linkage).fit(X)
    before = {name: np.copy(value) for name, value in vars(lax).items() if name.endswith("_")}
    for min_similarity in (0.97, 0.99, 0.999, 1.0):
        stricter = lax.rethreshold(min_similarity)
        fitted = NearDuplicates(min_similarity, linkage=linkage).fit(X)
        assert stricter.min_similarity == min_similarity
        for name in before:
            np.testing.assert_array_equal(getattr(stricter, name), getattr(fitted, name))
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(lax, name), value)
    # What was searched counts, not the threshold since.
    np.testing.assert_array_equal(stricter.rethreshold(0.97).labels_, lax.labels_)
    with pytest.raises(ValueError, match=r"min_similarity=0\.9 is laxer than .*0\.97, at which"):
        lax.rethreshold(0.9)


@pytest.mark.parametrize("linkage", ["connected", "complete"])
def test_partial_fit_takes_row_by_row_and_keeps_what_it_gave(linkage):
    X, _ = frames(noise=0.15)
    grown = NearDuplicates(0.93, linkage=linkage)
    one_by_one = NearDuplicates(0.93, linkage=linkage).fit(X[:50])
    for start, stop in [(0, 50), (50, 53), (53, 120)]:
        before = getattr(grown, "labels_", np.empty(0)), getattr(grown, "kept_indices_", [])
        grown.partial_fit(X[start:stop])
        np.testing.assert_array_equal(grown.labels_[: len(before[0])], before[0])
        np.testing.assert_array_equal(grown.kept_indices_[: len(before[1])], before[1])
    for row in X[50:]:
        one_by_one.partial_fit(row[None])
    np.testing.assert_array_equal(grown.labels_, one_by_one.labels_)
    assert len(grown.labels_) == len(grown.similarity_) == len(grown.nearest_) == 120
    similarity = cosines(X)
    for row in range(50, 120):
        earlier = similarity[row, :row]
        expected = earlier.argmax() if earlier.max() >= 0.93 else -1
        assert grown.nearest_[row] == expected
    if linkage == "complete":
        together = grown.labels_[:, None] == grown.labels_
        assert (similarity[together] >= 0.93 - 1e-12).all()


@pytest.mark.parametrize("linkage", ["connected", "complete"])
def test_rethreshold_after_partial_fit(linkage):
    X, _ = frames(noise=0.15)
    grown = NearDuplicates(0.9, linkage=linkage).fit(X[:60]).partial_fit(X[60:])
    expected = NearDuplicates(0.95, linkage=linkage).fit(X[:60]).partial_fit(X[60:])
    stricter = grown.rethreshold(0.95)
    for name in ("labels_", "kept_indices_", "nearest_", "similarity_"):
        np.testing.assert_array_equal(getattr(stricter, name), getattr(expected, name))


@pytest.mark.parametrize("keep", ["last", "central", "scores"])
def test_rethreshold_keeps_the_rows_that_each_batch_kept(keep):
    X, _ = frames(n_scenes=20, n_frames=4)
    batches = np.split(np.arange(len(X)), 4)  # of one length: no batch's scores fit another's
    scores = np.random.default_rng(0).random(len(X))
    searched, direct = NearDuplicates(0.8), NearDuplicates(0.999)
    for rows in batches:
        for estimator in (searched, direct):
            estimator.set_params(keep=scores[rows] if keep == "scores" else keep)
            estimator.partial_fit(X[rows])
    np.testing.assert_array_equal(searched.rethreshold(0.8).kept_indices_, searched.kept_indices_)
    np.testing.assert_array_equal(searched.rethreshold(0.999).kept_indices_, direct.kept_indices_)


def test_a_finer_batch_is_not_rounded():
    X, _ = frames(n_scenes=5)
    fine = 1e-60 * X[:2].astype(np.float64)  # zero in float32
    duplicates = NearDuplicates(0.99).fit(X).partial_fit(fine)
    np.testing.assert_array_equal(duplicates.nearest_[-2:], [0, 1])
    np.testing.assert_allclose(duplicates.nearest_similarity_[-2:], 1)


def test_predict_finds_the_fitted_row_that_is_copied():
    X, _ = frames()
    duplicates = NearDuplicates(0.95).fit(X)
    new, _ = frames(seed=1)
    queries = np.concatenate([3 * X[5:8], new])
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, X)]
    similarity = unit[0].astype(float) @ unit[1].astype(float).T
    expected = np.where(similarity.max(axis=1) >= 0.95, similarity.argmax(axis=1), -1)
    np.testing.assert_array_equal(duplicates.predict(queries), expected)
    np.testing.assert_allclose(duplicates.score_samples(queries), similarity.max(axis=1), atol=1e-6)
    assert duplicates.predict(X).tolist() == list(range(len(X)))


def test_pairs_at_the_threshold_are_those_of_float64():
    draw = np.random.default_rng(0)
    X = draw.normal(size=(60, 5)).astype(np.float32)
    similarity = cosines(X)
    exact = np.sort(similarity[np.triu_indices(60, 1)])[-20]
    first, second = np.argwhere(np.triu(similarity, 1) == exact)[0]
    # The tolerance of equal directions, 4 units of float64 in the squared distance.
    above, below = exact + 1e-14, exact - 1e-14
    assert (
        NearDuplicates(below).fit(X).labels_[first] == NearDuplicates(below).fit(X).labels_[second]
    )
    assert NearDuplicates(below).fit(X[[first, second]]).n_groups_ == 1
    assert NearDuplicates(above).fit(X[[first, second]]).n_groups_ == 2
    fitted = X[[first]]
    assert NearDuplicates(below).fit(fitted).predict(X[[second]]).tolist() == [0]
    assert NearDuplicates(above).fit(fitted).predict(X[[second]]).tolist() == [-1]


def test_equal_directions_have_similarity_1():
    X = np.outer([1.0, 3.0, 0.1, 7e-8], [0.3, -0.7, 0.11])
    duplicates = NearDuplicates(1.0).fit(X)
    assert duplicates.n_groups_ == 1
    assert (duplicates.similarity_ == 1).all()


@pytest.mark.parametrize("linkage", ["connected", "complete"])
def test_bursts_of_equal_and_nearly_equal_rows_cost_no_pairs(linkage):
    draw = np.random.default_rng(0)
    three = np.repeat(np.eye(3, 8, dtype=np.float32), 40_000, axis=0)
    duplicates = NearDuplicates(linkage=linkage).fit(three)
    assert duplicates.group_sizes_.tolist() == [40_000] * 3
    burst = np.float32(1 + 1e-3 * draw.normal(size=(2500, 8)))
    with pytest.warns(UserWarning, match="All 2500 rows are one group"):
        duplicates.fit(burst)
    assert duplicates.n_groups_ == 1
    assert len(duplicates._pairs.first) == 2499


@pytest.mark.parametrize(
    "splitter", [GroupKFold(4), StratifiedGroupKFold(4), GroupShuffleSplit(4, random_state=0)]
)
def test_splitters_leak_nothing_by_groups(splitter):
    X, scene = frames()
    groups = NearDuplicates(0.95).fit(X).labels_
    for train, test in splitter.split(X, scene % 2, groups):
        assert len(leaks(X[train], X[test]).test_indices) == 0
    shuffled = np.random.default_rng(0).permutation(len(X))
    assert leaks(X[shuffled[:90]], X[shuffled[90:]]).share > 0.5


def test_a_pipeline_picks_from_one_of_each():
    X, scene = frames()
    pipeline = make_pipeline(NearDuplicates(0.95), DiversitySampler(40))
    picked = pipeline.fit_transform(X)
    assert len(picked) == 40
    rows = [np.flatnonzero((row == X).all(axis=1))[0] for row in picked]
    assert sorted(scene[rows]) == list(range(40))


def test_kept_rows_are_traced_through_set_output():
    X, _ = frames()
    frame = pd.DataFrame(X, index=[f"image {i}" for i in range(len(X))]).rename(columns=str)
    duplicates = NearDuplicates().set_output(transform="pandas").fit(frame)
    kept = duplicates.transform(frame)
    assert kept.index.tolist() == frame.index[duplicates.support_].tolist()
    assert duplicates.fit_transform(frame).index.tolist() == kept.index.tolist()


def test_verbose_says_what_was_found(capsys):
    NearDuplicates(verbose=True).fit(frames()[0])
    assert "120 rows are 40 groups, the largest of 3" in capsys.readouterr().err


X5 = np.random.default_rng(0).normal(size=(5, 3))


@pytest.mark.parametrize(
    ("parameters", "X", "message"),
    [
        ({"min_similarity": 1.01}, X5, r"at most 1\. Got 1\.01"),
        ({"min_similarity": -1}, X5, r"must be above -1.*Got -1"),
        ({"min_similarity": np.nan}, X5, "Got nan"),
        ({"metric": "euclidean"}, X5, "takes max_distance"),
        ({"max_distance": 1.0}, X5, "is for metric='euclidean'"),
        ({}, np.vstack([X5, np.zeros(3)]), "zero in row 5"),
        ({}, np.vstack([X5, [np.nan, 0, 1]]), "NaN or infinity in row 5"),
        ({"keep": [1.0, 2.0]}, X5, r"one score a row \(5\). Got an array of shape \(2,\)"),
        ({"keep": [1.0, 2.0, np.nan, 1, 1]}, X5, "NaN, first at row 2"),
        ({}, ["a.jpg", "b.jpg"], "holds paths"),
        ({}, ImageTable(["a.jpg", "b.jpg"]), "holds paths"),
    ],
)
def test_bad_input_is_named(parameters, X, message):
    with pytest.raises(ValueError, match=message):
        NearDuplicates(**parameters).fit(X)


def test_what_rethreshold_cannot_take_is_named():
    cosine, euclidean = NearDuplicates(0.9), NearDuplicates(metric="euclidean", max_distance=1.0)
    with pytest.raises(ValueError, match="at most 1. Got '0.95'"):
        cosine.fit(X5).rethreshold("0.95")
    with pytest.raises(ValueError, match="min_similarity=0.95 is for metric='cosine'"):
        euclidean.fit(X5).rethreshold(0.95)


def test_a_threshold_is_told_as_it_was_given():
    with pytest.warns(UserWarning, match="one group at min_similarity=0: "):
        NearDuplicates(0).fit(np.random.default_rng(0).random((20, 3)))


def test_one_row_and_equal_rows_are_groups():
    one = NearDuplicates().fit([[1.0, 2.0]])
    assert one.labels_.tolist() == one.kept_indices_.tolist() == [0]
    assert one.nearest_.tolist() == [-1]
    equal = NearDuplicates().fit(np.ones((20, 3)))
    assert equal.n_groups_ == 1
    assert equal.nearest_[:3].tolist() == [1, 0, 0]


def test_threads_change_nothing():
    X, _ = frames(400, 4)
    one, two = (NearDuplicates(0.9, n_jobs=n_jobs).fit(X) for n_jobs in (1, 2))
    for name in ("labels_", "kept_indices_", "nearest_", "nearest_similarity_"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_one_direction_have_a_cosine_of_one(dtype):
    D = np.random.RandomState(0).normal(size=(100, 32)).astype(dtype)
    X = np.concatenate([D, 3 * D, 0.1 * D, np.pi * D, D / 7]).astype(dtype)
    fitted = NearDuplicates(1.0).fit(X)
    assert fitted.labels_.tolist() == list(range(100)) * 5
    assert (fitted.nearest_similarity_ == 1).all()
