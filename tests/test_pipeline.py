"""The stages as one scikit-learn pipeline, from paths to a subset."""

import os
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from dinov2_sklearn import (
    DINOv2Transformer,
    DiversitySampler,
    PatchAttentionInspector,
    UMAPProjector,
)
from dinov2_sklearn.utils import PickleVersionWarning, _versioned


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Forty small crops of two photographs."""
    from sklearn.datasets import load_sample_images

    folder = tmp_path_factory.mktemp("crops")
    rng = np.random.default_rng(0)
    found = []
    for i in range(40):
        photo = load_sample_images().images[i % 2]
        top, left = rng.integers(0, 300), rng.integers(0, 500)
        found.append(str(folder / f"crop{i:02d}.png"))
        Image.fromarray(photo[top : top + 100, left : left + 120]).save(found[-1])
    return found


@pytest.fixture
def pipe(tiny_dinov2):
    return Pipeline(
        [
            ("embed", DINOv2Transformer(tiny_dinov2)),
            ("project", UMAPProjector(n_neighbors=5, n_epochs=50)),
            ("select", DiversitySampler(n_samples=8)),
        ]
    )


def test_from_paths_to_a_subset_of_the_map(pipe, paths):
    subset = pipe.fit_transform(paths)
    assert subset.shape == (8, 2)
    coordinates = pipe["project"].embedding_
    np.testing.assert_array_equal(subset, coordinates[pipe["select"].support_])
    np.testing.assert_array_equal(pipe.transform(paths), subset)


@pytest.mark.parametrize("estimator", [UMAPProjector(), DiversitySampler(n_samples=3)])
@pytest.mark.parametrize("form", [list, np.array, lambda p: np.array(p, dtype=object)])
def test_paths_without_the_embedding_step_are_told_of(paths, estimator, form):
    with pytest.raises(ValueError, match="X holds paths, such as '.*', where embeddings are want"):
        estimator.fit(form(paths))


def test_unseen_paths_are_placed_and_picked_from(pipe, paths):
    pipe.fit(paths[:25])
    subset = pipe.transform(paths[25:])
    assert subset.shape == (8, 2)
    placed = pipe[:-1].transform(paths[25:])
    assert all((placed == row).all(axis=1).any() for row in subset)


def test_row_identity_in_pandas(pipe, paths):
    index = pd.Index([f"image-{i}" for i in range(len(paths))], name="id")
    X = pd.DataFrame({"path": paths}, index=index)
    subset = pipe.set_output(transform="pandas").fit_transform(X)
    chosen = index[pipe["select"].get_support()]
    pd.testing.assert_index_equal(subset.index, chosen)
    assert list(subset.columns) == ["umapprojector0", "umapprojector1"]
    coordinates = pd.DataFrame(pipe["project"].embedding_, index=index)
    np.testing.assert_array_equal(subset, coordinates.loc[subset.index])


def test_row_positions_in_pandas_from_a_list(pipe, paths):
    subset = pipe.set_output(transform="pandas").fit_transform(paths)
    assert list(subset.index) == sorted(pipe["select"].selected_indices_)


def test_polars(pipe, paths):
    subset = pipe.set_output(transform="polars").fit_transform(paths)
    assert isinstance(subset, pl.DataFrame)
    np.testing.assert_array_equal(
        subset.to_numpy(), pipe["project"].embedding_[pipe["select"].support_]
    )


def test_clone_gives_the_same(pipe, paths):
    np.testing.assert_array_equal(clone(pipe).fit_transform(paths), pipe.fit_transform(paths))


def test_fit_parameters_reach_the_sampler(pipe, paths):
    pipe.fit(paths, select__preselected=[3, 4])
    assert not {3, 4} & set(pipe["select"].selected_indices_)


@pytest.fixture
def routed():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_metadata_reaches_the_sampler_by_routing(routed, tiny_dinov2, paths):
    sampler = DiversitySampler(n_samples=5, strategy="random")
    sampler.set_fit_request(weights=True, preselected=True)
    pipe = Pipeline([("embed", DINOv2Transformer(tiny_dinov2)), ("select", sampler)])
    weights = np.zeros(len(paths))
    weights[10:18] = 1
    for run in (pipe.fit, pipe.fit_transform):
        run(paths, weights=weights, preselected=[10, 11])
        picked = pipe["select"].selected_indices_
        assert {12, 13, 14, 15, 16, 17}.issuperset(picked), picked
        assert len(picked) == 5


def test_weights_follow_their_rows_into_the_folds(routed, tiny_dinov2, paths):
    sampler = DiversitySampler(n_samples=3, strategy="random").set_fit_request(weights=True)
    pipe = Pipeline([("embed", DINOv2Transformer(tiny_dinov2)), ("select", sampler)])
    weights = np.zeros(len(paths))
    weights[::4] = 1
    wanted = DINOv2Transformer(tiny_dinov2).transform(paths[::4])

    def share_of_weighted_picks(fitted, X, y=None):
        picks = fitted["select"].representatives_
        return np.mean([np.isclose(wanted, row, atol=1e-4).all(axis=1).any() for row in picks])

    grid = {"select__random_state": [0, 1]}
    search = GridSearchCV(pipe, grid, cv=3, scoring=share_of_weighted_picks, error_score="raise")
    search.fit(paths, weights=weights)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], 1)
    assert set(search.best_estimator_["select"].selected_indices_) <= set(range(0, 40, 4))


class Recorder:
    """A callback of scikit-learn that notes how far each estimator said that it was."""

    max_propagation_depth = None

    def __init__(self):
        self.ended = {}
        self.n_open = 0

    def setup(self, estimator, context):
        self.n_open += 1

    def teardown(self, estimator, context):
        self.n_open -= 1

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.max_subtasks == 0 and context.parent is not None:
            name = type(estimator).__name__
            self.ended.setdefault(name, []).append(context.parent.max_subtasks)


@pytest.fixture
def recorder():
    pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9 has no callbacks")
    return Recorder()


def test_callbacks_are_told_of_the_progress_of_each_estimator(pipe, paths, recorder):
    search = GridSearchCV(pipe, {"select__n_samples": [4, 8]}, cv=2).set_callbacks(recorder)
    search.fit(paths)
    assert recorder.n_open == 0
    # As many ends as there are subtasks, in four fits on twenty images and the last on all forty.
    told = {name: sorted(totals) for name, totals in recorder.ended.items()}
    assert told.pop("DINOv2Transformer") == [20] * 80 + [40] * 40
    # The map is told pass by pass.
    assert told == {"UMAPProjector": [50] * 250, "DiversitySampler": [1] * 5}
    assert not hasattr(search.best_estimator_["embed"], "_skl_callbacks")


def test_callbacks_of_an_image_estimator_alone(tiny_dinov2, paths, recorder):
    for estimator in (PatchAttentionInspector(tiny_dinov2), DINOv2Transformer(tiny_dinov2)):
        name = type(estimator).__name__
        estimator.set_callbacks(recorder).fit_transform(paths)
        assert recorder.ended.pop(name) == [40] * 40
        before = dict(vars(estimator))
        estimator.transform(paths)
        assert vars(estimator) == before
        estimator.fit(paths)
        with pytest.raises(ValueError, match="no-such-file"):
            estimator.fit_transform([*paths, "no-such-file.jpg"])
        assert recorder.n_open == 0
        assert vars(estimator).keys() == before.keys() | vars(estimator.fit(paths)).keys()


def test_grid_search_in_two_processes(tiny_dinov2, paths):
    pipe = Pipeline(
        [("embed", DINOv2Transformer(tiny_dinov2)), ("select", DiversitySampler(n_samples=6))]
    )
    grid = {"select__strategy": ["random", "fps", "hybrid"], "select__fps_ratio": [0.25, 0.5]}
    search = GridSearchCV(pipe, grid, cv=3, n_jobs=2).fit(paths)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert (scores < 0).all()
    assert search.best_params_["select__strategy"] in ("fps", "hybrid", "random")
    assert len(search.best_estimator_.transform(paths)) == 6


def test_memory_caches_the_embedding_step(tiny_dinov2, paths, tmp_path):
    pipe = Pipeline(
        [("embed", DINOv2Transformer(tiny_dinov2)), ("select", DiversitySampler(n_samples=6))],
        memory=str(tmp_path / "memory"),
    )
    first = pipe.fit_transform(paths)
    again = clone(pipe).set_params(select__random_state=42).fit_transform(paths)
    np.testing.assert_array_equal(first, again)
    assert any((tmp_path / "memory").rglob("output.pkl"))


def test_saved_and_used_in_a_fresh_process(pipe, paths, tmp_path):
    import skops.io

    pipe.fit(paths[:30])
    expected = pipe.transform(paths[20:])
    joblib.dump((pipe, paths[20:]), tmp_path / "pipe.joblib")
    skops.io.dump(pipe, tmp_path / "pipe.skops")
    untrusted = skops.io.get_untrusted_types(file=tmp_path / "pipe.skops")
    assert all(name.startswith("dinov2_sklearn.") for name in untrusted), untrusted
    code = (
        "import joblib, numpy, skops.io; pipe, paths = joblib.load('pipe.joblib');"
        "numpy.save('joblib.npy', pipe.transform(paths));"
        f"pipe = skops.io.load('pipe.skops', trusted={untrusted});"
        "numpy.save('skops.npy', pipe.transform(paths))"
    )
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=environment)
    for library in ("joblib", "skops"):
        np.testing.assert_allclose(np.load(tmp_path / f"{library}.npy"), expected, atol=1e-3)


def test_embed_step_is_small_whatever_the_model(paths):
    step = DINOv2Transformer("offline").fit(paths)
    step.transform(paths[:2])
    assert len(pickle.dumps(step)) < 10_000


def test_html_repr_of_a_fitted_pipeline(pipe, paths):
    assert "DiversitySampler" in pipe.fit(paths)._repr_html_()


@pytest.mark.parametrize("library", ["joblib", "skops"])
def test_pickle_of_another_version_warns(pipe, paths, tmp_path, library, monkeypatch):
    import skops.io

    pipe.fit(paths[:30])
    expected = pipe.transform(paths[20:])
    with monkeypatch.context() as patched:
        patched.setattr(_versioned, "__version__", "0.0.7")
        if library == "joblib":
            joblib.dump(pipe, tmp_path / "pipe")
        else:
            skops.io.dump(pipe, tmp_path / "pipe")
    load, options = joblib.load, {}
    if library == "skops":
        options = {"trusted": skops.io.get_untrusted_types(file=tmp_path / "pipe")}
        load = skops.io.load
    with pytest.warns(PickleVersionWarning, match=r"by dinov2_sklearn 0\.0\.7") as caught:
        loaded = load(tmp_path / "pipe", **options)
    assert len(caught) == 3  # one an estimator
    np.testing.assert_array_equal(loaded.transform(paths[20:]), expected)


@pytest.mark.parametrize("seed", range(3))
def test_two_rounds_of_labelling(seed):
    """Pick, label, learn, and pick again where the model is unsure: it gets better."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    X, y = load_digits(return_X_y=True)
    X = X / 16
    first = DiversitySampler(50, random_state=seed).select(X)
    learner = LogisticRegression(max_iter=2000).fit(X[first], y[first])
    unsure = 1 - learner.predict_proba(X).max(axis=1)
    more = DiversitySampler(50).select(X, preselected=first, weights=unsure)
    assert not set(more) & set(first)
    both = np.concatenate([first, more])
    rest = np.setdiff1d(np.arange(len(X)), both)
    before = learner.score(X[rest], y[rest])
    after = LogisticRegression(max_iter=2000).fit(X[both], y[both]).score(X[rest], y[rest])
    assert after > before
