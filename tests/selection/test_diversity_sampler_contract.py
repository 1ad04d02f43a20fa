"""DiversitySampler under scikit-learn's own contract suites."""

import numpy as np
import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from dinov2_sklearn import DiversitySampler

# The suites' data has fewer rows than the default picks, which is said in a warning.
few_rows = pytest.mark.filterwarnings(
    "ignore:n_samples=.* is more than the .* rows that can be picked:UserWarning"
)
STRATEGIES = ["hybrid", "coverage", "fps", "typical", "cluster", "random"]


@few_rows
@parametrize_with_checks(
    [
        *(DiversitySampler(strategy=strategy) for strategy in STRATEGIES),
        DiversitySampler(n_clusters=3, fps_scope="cluster", fps_ratio=0.5, outlier_fraction=0.0),
        DiversitySampler(1.0),
    ]
)
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
}
ZERO_ROWS = {
    # Replaced by test_dtypes_under_cosine.
    "check_estimators_dtypes": "casts rows to integers, where some are zero: an error for cosine",
}


@few_rows
@parametrize_with_checks(
    [DiversitySampler(5, strategy=strategy) for strategy in STRATEGIES],
    expected_failed_checks=lambda estimator: DROPPING,
)
def test_suite_where_rows_are_dropped(estimator, check):
    check(estimator)


@few_rows
@parametrize_with_checks(
    [DiversitySampler(metric="cosine")], expected_failed_checks=lambda estimator: ZERO_ROWS
)
def test_suite_under_cosine(estimator, check):
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


@few_rows
# These checks hand an array to a sampler that was fitted on a frame, and the other way round.
@pytest.mark.filterwarnings("ignore:X (does not have|has) .*feature names:UserWarning")
@pytest.mark.parametrize("name", UNLISTED)
@pytest.mark.parametrize(
    "estimator",
    [
        *(DiversitySampler(strategy=strategy) for strategy in STRATEGIES),
        DiversitySampler(metric="cosine"),
    ],
    ids=[*STRATEGIES, "cosine"],
)
def test_unlisted_checks(name, estimator):
    getattr(estimator_checks, name)("DiversitySampler", estimator)


@pytest.fixture(params=STRATEGIES)
def sampler(request):
    return DiversitySampler(5, strategy=request.param)


@pytest.fixture
def X():
    return np.random.RandomState(0).normal(size=(30, 3))


def test_transform_is_consistent_where_rows_are_dropped(sampler, X):
    expected = sampler.fit_transform(X)
    assert expected.shape == (5, 3)
    read_only = X.copy()
    read_only.flags.writeable = False
    for same in (X, X.tolist(), estimator_checks._NotAnArray(X), read_only):
        np.testing.assert_array_equal(sampler.fit(same).transform(same), expected)
        np.testing.assert_array_equal(sampler.fit_transform(same), expected)
    with pytest.raises(ValueError, match="X has 2 features, but DiversitySampler is expecting 3"):
        sampler.transform(X[:, :2])


def test_row_order_does_not_matter(X):
    order = np.random.RandomState(1).permutation(30)
    sampler = DiversitySampler(5, strategy="fps").fit(X)
    np.testing.assert_array_equal(order[sampler.select(X[order])], sampler.selected_indices_)
    for strategy in STRATEGIES:
        sampler = DiversitySampler(5, strategy=strategy).fit(X)
        for method in (sampler.predict, sampler.score_samples):
            np.testing.assert_array_equal(method(X[order]), method(X)[order])


def test_row_wise_methods_ignore_the_other_rows(sampler, X):
    sampler.fit(X)
    for method in (sampler.predict, sampler.score_samples):
        alone = np.concatenate([method(row[None]) for row in X])
        np.testing.assert_array_equal(alone, method(X))


@few_rows
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_dtypes_under_cosine(dtype):
    X = (3 * np.random.RandomState(0).uniform(size=(20, 5)) + 1).astype(dtype)
    sampler = DiversitySampler(metric="cosine").fit(X)
    assert sampler.transform(X).dtype == (np.float32 if dtype is np.float32 else np.float64)
    assert sampler.predict(X[sampler.selected_indices_]).shape == (20,)
