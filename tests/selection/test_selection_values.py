"""What selections and reports make of unusual labels and weights."""

import numpy as np
import pandas as pd
import pytest

from dinov2_sklearn import DiversitySampler, selection_report

X = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT])
def test_missing_labels_are_no_class(missing):
    labels = ["a", "b", "c", "d"] + [missing] * 36
    report = selection_report(X, [0, 1, 30], labels=labels)
    assert report.selection.class_coverage == 0.5


def test_no_class_at_all():
    report = selection_report(X, [0, 1], labels=[None] * 40)
    assert report.selection.class_coverage is None
    assert "classes" not in str(report)


@pytest.mark.parametrize("strategy", ["random", "cluster", "fps", "hybrid"])
@pytest.mark.parametrize("scale", [1e-50, 1e39, 1e300])
def test_only_the_ratios_of_weights_matter(strategy, scale):
    weights = np.random.default_rng(1).random(40)
    sampler = DiversitySampler(n_samples=6, strategy=strategy)
    np.testing.assert_array_equal(
        sampler.select(X, weights=weights * scale), sampler.select(X, weights=weights)
    )


def test_integer_mask_is_told_from_row_numbers():
    with pytest.raises(ValueError, match=r"more than once\. For a mask.*astype\(bool\)"):
        DiversitySampler(n_samples=3).fit(X, preselected=np.arange(40) % 2)
