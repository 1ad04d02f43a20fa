"""The scikit-learn contract of estimators whose X is images, not numbers.

scikit-learn's own suite feeds matrices of numbers. Here its rules are checked on paths, and its
suite itself is run over a subclass that draws each row of numbers as a tiny image.
"""

import pickle
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    check_do_not_raise_errors_in_init_or_set_params,
    check_estimator_cloneable,
    check_estimator_repr,
    check_get_params_invariance,
    check_mixin_order,
    check_no_attributes_set_in_init,
    check_param_validation,
    check_parameters_default_constructible,
    check_set_params,
    check_valid_tag_types,
    parametrize_with_checks,
)
from sklearn.utils.validation import check_is_fitted, validate_data

from dinov2_sklearn import DINOv2Transformer, PatchAttentionInspector

ESTIMATORS = {
    "embed": (DINOv2Transformer, {"layer": (0, -1), "pooling": "cls_mean", "scales": (1, 2)}),
    "attention": (PatchAttentionInspector, {}),
}


@pytest.fixture
def estimators(tiny_dinov2):
    return {name: kind(tiny_dinov2, **params) for name, (kind, params) in ESTIMATORS.items()}


@pytest.fixture(params=ESTIMATORS)
def estimator(request, estimators):
    return estimators[request.param]


@pytest.mark.parametrize(
    "check",
    [
        check_do_not_raise_errors_in_init_or_set_params,
        check_estimator_cloneable,
        check_estimator_repr,
        check_get_params_invariance,
        check_mixin_order,
        check_no_attributes_set_in_init,
        check_parameters_default_constructible,
        check_set_params,
        check_valid_tag_types,
    ],
    ids=lambda check: check.__name__,
)
def test_checks_of_scikit_learn_that_need_no_data(estimator, check):
    check(type(estimator).__name__, estimator)


def test_tags(estimator):
    tags = get_tags(estimator)
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert not tags.requires_fit


def test_fit_returns_self_and_needs_no_y(estimator, image_folder):
    assert estimator.fit(image_folder) is estimator
    assert estimator.fit(image_folder, np.zeros(6)) is estimator


def test_stateless(estimator, image_folder):
    check_is_fitted(estimator)
    before = dict(estimator.__dict__)
    rows = estimator.transform(image_folder)
    assert estimator.__dict__ == before
    np.testing.assert_array_equal(clone(estimator).fit_transform(image_folder), rows)


def test_rows_do_not_depend_on_their_neighbours(estimator, image_folder):
    rows = estimator.transform(image_folder)
    for i in range(len(image_folder)):
        np.testing.assert_allclose(estimator.transform([image_folder[i]])[0], rows[i], atol=1e-5)
    np.testing.assert_allclose(estimator.transform(image_folder[::-1]), rows[::-1], atol=1e-5)


def test_containers_of_paths(estimator, image_folder):
    rows = estimator.transform(image_folder)
    frame = pd.DataFrame({"path": image_folder})
    for X in (
        tuple(image_folder),
        [Path(path) for path in image_folder],
        np.array(image_folder),
        np.array(image_folder, dtype=object),
        np.array(image_folder)[:, None],
        frame["path"],
        frame,
        pl.Series(image_folder),
        pl.DataFrame({"path": image_folder}),
    ):
        np.testing.assert_array_equal(estimator.transform(X), rows)


def test_input_is_not_changed(estimator, image_folder):
    X = list(image_folder)
    estimator.fit_transform(X)
    assert image_folder == X


@pytest.mark.parametrize("kind", ["frame", "series", "column"])
def test_pandas_output_keeps_the_index(estimator, image_folder, kind):
    index = pd.Index(list("abcdef"), name="id")
    X = pd.DataFrame({"path": image_folder}, index=index)
    names = list(estimator.get_feature_names_out())
    rows = clone(estimator).transform(image_folder)
    if kind == "column":
        estimator = ColumnTransformer(
            [("image", estimator, "path")], verbose_feature_names_out=False
        )
    out = estimator.set_output(transform="pandas").fit_transform(
        X["path"] if kind == "series" else X
    )
    pd.testing.assert_index_equal(out.index, index)
    assert list(out.columns) == names
    np.testing.assert_array_equal(out, rows)


def test_polars_output(estimator, image_folder):
    out = estimator.set_output(transform="polars").fit_transform(image_folder)
    assert isinstance(out, pl.DataFrame)
    assert out.columns == list(estimator.get_feature_names_out())


def test_html_repr(estimator):
    assert type(estimator).__name__ in estimator._repr_html_()


def test_pickle_is_small_and_does_the_same(estimator, image_folder, tmp_path):
    rows = estimator.fit_transform(image_folder)
    assert len(pickle.dumps(estimator)) < 10_000
    joblib.dump(estimator, tmp_path / "estimator.joblib")
    np.testing.assert_array_equal(
        joblib.load(tmp_path / "estimator.joblib").transform(image_folder), rows
    )


def test_skops_needs_no_foreign_trust(estimator, image_folder):
    import skops.io

    saved = skops.io.dumps(estimator)
    untrusted = skops.io.get_untrusted_types(data=saved)
    assert all(name.startswith("dinov2_sklearn.") for name in untrusted)
    again = skops.io.loads(saved, trusted=untrusted)
    np.testing.assert_array_equal(
        again.transform(image_folder[:2]), estimator.transform(image_folder[:2])
    )


def test_before_a_classifier(estimator, image_folder):
    y = [0, 1] * 3
    model = make_pipeline(estimator, LogisticRegression(max_iter=5000)).fit(image_folder, y)
    assert set(model.predict(image_folder)) <= {0, 1}


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("photos", ValueError, "list_images"),
        (Path("photos"), ValueError, "list_images"),
        ([], ValueError, r"0 sample\(s\)"),
        (np.zeros((3, 4)), TypeError, "takes paths"),
        ([1, 2], TypeError, "takes paths"),
        (["a.jpg", None], ValueError, "missing values"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), ValueError, "Pick one"),
    ],
)
def test_input_of_another_kind(estimator, X, error, message):
    with pytest.raises(error, match=message):
        estimator.fit(X)
    with pytest.raises(error, match=message):
        estimator.transform(X)


def test_missing_file_is_named(estimator):
    with pytest.raises(ValueError, match=r"no-such-file\.jpg"):
        estimator.transform(["no-such-file.jpg"])


def test_unknown_checkpoint(estimator):
    with pytest.raises(OSError, match="Did you mean 'small'"):
        clone(estimator).set_params(model_name="smal").fit(["a.jpg"])


class _OverNumbers:
    """Draws each row of numbers as an image, so that scikit-learn's suite can run."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = False
        tags.input_tags.two_d_array = True
        tags.requires_fit = True
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "n_features_in_")

    def fit(self, X, y=None):
        X = validate_data(self, X)
        return super().fit(self._draw(X), y)

    def transform(self, X):
        check_is_fitted(self)
        return super().transform(self._draw(validate_data(self, X, reset=False)))

    def fit_transform(self, X, y=None):
        return super().fit_transform(self._draw(validate_data(self, X)), y)

    @staticmethod
    def _draw(X):
        waves = np.sin(X[:, :, None] * np.linspace(1, 5, 56))
        pixels = np.einsum("nfw,nfh->nhw", waves, waves[..., ::-1]) / X.shape[1]
        grey = np.uint8(127.5 * (1 + np.clip(pixels, -1, 1)))
        return np.repeat(grey[..., None], 3, axis=-1)


# Named as their parents, since output columns and messages carry the class's name; pickle finds
# them by their qualified name.
def _over_numbers(parent, qualified_name):
    namespace = {"__module__": __name__, "__qualname__": qualified_name}
    return type(parent.__name__, (_OverNumbers, parent), namespace)


EmbedNumbers = _over_numbers(DINOv2Transformer, "EmbedNumbers")
InspectNumbers = _over_numbers(PatchAttentionInspector, "InspectNumbers")


@pytest.fixture(autouse=True)
def _tiny_checkpoint_for_numbers(tiny_dinov2, tmp_path_factory, monkeypatch):
    """Let the relative name that the parametrised estimators carry lead to the checkpoint."""
    monkeypatch.chdir(Path(tiny_dinov2).parent)


NUMERIC = {"model_name": "./tiny-dinov20", "num_workers": 0}


@parametrize_with_checks([EmbedNumbers(**NUMERIC), InspectNumbers(**NUMERIC)])
def test_scikit_learn_suite_over_drawn_numbers(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", [EmbedNumbers, InspectNumbers])
def test_parameter_validation(kind, tiny_dinov2):
    check_param_validation(kind.__name__, kind(tiny_dinov2))
