"""Numbers too large to square are refused before anything loops on infinite distances."""

import numpy as np
import pytest

from dinov2_sklearn import DiversitySampler, selection_report


@pytest.mark.parametrize("strategy", ["random", "cluster", "fps", "hybrid"])
@pytest.mark.parametrize("scale", [1e160, 1e300])
def test_refused_with_the_rows(strategy, scale):
    X = np.random.default_rng(0).random((20, 3))
    X[[4, 7]] *= scale
    with pytest.raises(ValueError, match=r"beyond 1e\+150 in rows 4, 7"):
        DiversitySampler(n_samples=2, strategy=strategy).fit(X)
    with pytest.raises(ValueError, match="beyond"):
        selection_report(X, [0, 1])


@pytest.mark.parametrize(("dtype", "scale"), [(np.float64, 1e149), (np.float32, 1e15)])
def test_as_large_as_is_allowed_picks_as_at_a_small_scale(dtype, scale):
    X = np.random.default_rng(0).random((20, 3))
    picks = [
        DiversitySampler(n_samples=5, strategy="fps").fit((X * s).astype(dtype)).selected_indices_
        for s in (1, scale)
    ]
    np.testing.assert_array_equal(*picks)
