"""UMAPProjector under scikit-learn's contract suites, with nothing waived."""

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from dinov2_sklearn.projection import UMAPProjector

CONFIGURATIONS = [
    UMAPProjector(),
    UMAPProjector(n_components=1, metric="euclidean"),
    UMAPProjector(n_components=3, n_neighbors=5, pca_components=3),
]

# The suites' data have down to one row, and one of them a row of zeros: both are announced.
pytestmark = [
    pytest.mark.filterwarnings("ignore:n_neighbors=.* needs more distinct rows:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*rows are all zeros:UserWarning"),
]


@parametrize_with_checks(CONFIGURATIONS)
def test_check_estimator(estimator, check):
    check(estimator)


# scikit-learn's own remark where a check fits a data frame and transforms an array.
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@pytest.mark.parametrize(
    "check",
    [
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_global_output_transform_pandas",
        "check_set_output_transform_polars",
        "check_global_set_output_transform_polars",
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
        "check_param_validation",
        "check_dataframe_column_names_consistency",
    ],
)
def test_checks_that_check_estimator_leaves_out(check):
    getattr(estimator_checks, check)("UMAPProjector", UMAPProjector(n_epochs=20))
