"""NearDuplicates under scikit-learn's own contract suites."""

import numpy as np
import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from dinov2_sklearn import NearDuplicates

# The suites' data are clusters of random rows, which a lax threshold takes for one group.
one_group = pytest.mark.filterwarnings("ignore:All .* rows are one group:UserWarning")
euclidean = NearDuplicates(metric="euclidean", max_distance=1e-9)


@one_group
@parametrize_with_checks([euclidean])
def test_whole_suite_where_no_row_is_dropped(estimator, check):
    check(estimator)


DROPPED_ROWS = "asks for as many rows out as in, but rows are dropped: that is the purpose"
DROPPING = {
    # Replaced by test_transform_is_consistent_where_rows_are_dropped.
    "check_transformer_general": DROPPED_ROWS,
    "check_transformer_data_not_an_array": DROPPED_ROWS,
    # Replaced by test_row_order_does_not_matter.
    "check_methods_sample_order_invariance": DROPPED_ROWS,
    # Replaced by test_row_wise_methods_ignore_the_other_rows.
    "check_methods_subset_invariance": DROPPED_ROWS,
    # Replaced by test_dtypes_under_cosine.
    "check_estimators_dtypes": "casts rows to integers, where some are zero: an error for cosine",
}


@one_group
@parametrize_with_checks(
    [NearDuplicates(), NearDuplicates(linkage="complete", keep="last")],
    expected_failed_checks=lambda estimator: DROPPING,
)
def test_suite_where_rows_are_dropped(estimator, check):
    check(estimator)


# Checks that scikit-learn runs on its own estimators only.
UNLISTED = [
    "check_dataframe_column_names_consistency",
    "check_estimators_partial_fit_n_features",
    "check_get_feature_names_out_error",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_param_validation",
    "check_readonly_memmap_input",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]


@one_group
# These checks hand an array to an estimator that was fitted on a frame, and the other way round.
@pytest.mark.filterwarnings("ignore:X (does not have|has) .*feature names:UserWarning")
@pytest.mark.parametrize("name", UNLISTED)
@pytest.mark.parametrize("estimator", [NearDuplicates(1.0), euclidean], ids=["cosine", "euclidean"])
def test_unlisted_checks(name, estimator):
    getattr(estimator_checks, name)("NearDuplicates", estimator)


@pytest.fixture
def X():
    return np.random.RandomState(0).normal(size=(30, 3))


def test_transform_is_consistent_where_rows_are_dropped(X):
    duplicates = NearDuplicates()
    expected = duplicates.fit_transform(X)
    assert 3 < len(expected) < 30
    read_only = X.copy()
    read_only.flags.writeable = False
    for same in (X, X.tolist(), estimator_checks._NotAnArray(X), read_only):
        np.testing.assert_array_equal(duplicates.fit(same).transform(same), expected)
        np.testing.assert_array_equal(duplicates.fit_transform(same), expected)
    with pytest.raises(ValueError, match="X has 2 features, but NearDuplicates is expecting 3"):
        duplicates.transform(X[:, :2])


def test_row_order_does_not_matter(X):
    order = np.random.RandomState(1).permutation(30)
    plain, shuffled = NearDuplicates().fit(X), NearDuplicates().fit(X[order])
    together = plain.labels_[order][:, None] == plain.labels_[order]
    np.testing.assert_array_equal(shuffled.labels_[:, None] == shuffled.labels_, together)
    for method in (plain.predict, plain.score_samples):
        np.testing.assert_array_equal(method(X[order]), method(X)[order])


def test_row_wise_methods_ignore_the_other_rows(X):
    duplicates = NearDuplicates().fit(X[:20])
    for method in (duplicates.predict, duplicates.score_samples):
        alone = np.concatenate([method(row[None]) for row in X])
        np.testing.assert_array_equal(alone, method(X))


@one_group
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_dtypes_under_cosine(dtype):
    X = (3 * np.random.RandomState(0).uniform(size=(20, 5)) + 1).astype(dtype)
    duplicates = NearDuplicates().fit(X)
    assert duplicates.transform(X).dtype == (np.float32 if dtype is np.float32 else np.float64)
    assert duplicates.predict(X).shape == (20,)
