"""What version 0.1.0 wrote is read, used and gone on with."""

import shutil
from pathlib import Path

import joblib
import numpy as np
import pytest

from dinov2_sklearn import (
    DINOv2Transformer,
    EmbeddingCache,
    extract_to_shards,
    load_embeddings,
    open_shards,
)
from dinov2_sklearn.utils import PickleVersionWarning

OLD = Path(__file__).parent / "data" / "version_0_1_0"
PATHS = [str(OLD / "images" / f"{i}.png") for i in range(5)]
URLS = [f"memory://photos/{i}.png" for i in range(5)]


@pytest.fixture
def embed():
    return DINOv2Transformer(
        str(OLD / "checkpoint"), dtype="float32", device="cpu", batch_size=1, num_workers=0
    )


@pytest.fixture
def rows():
    return np.load(OLD / "rows.npy")


def test_settings_mean_the_same_rows(embed, rows):
    np.testing.assert_allclose(embed.transform(PATHS), rows, atol=1e-5)


def test_cache_is_hit(embed, rows, tmp_path):
    folder = Path(shutil.copytree(OLD / "cache", tmp_path / "cache"))
    before = EmbeddingCache(folder).info()
    np.testing.assert_array_equal(embed.set_params(embedding_cache=folder).transform(PATHS), rows)
    after = EmbeddingCache(folder).info()
    assert (after.hits - before.hits, after.misses - before.misses) == (5, 0)
    assert after.n_settings == 1


@pytest.mark.parametrize("suffix", ["pt", "npz", "parquet"])
def test_embeddings_files_are_read(rows, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    loaded = load_embeddings(OLD / f"embeddings.{suffix}")
    np.testing.assert_array_equal(loaded.embeddings, rows)
    assert loaded.image_ids == [f"{i}.png" for i in range(5)]
    assert (loaded.model_name, loaded.metadata) == ("tiny", {"layer": [-1]})


@pytest.mark.parametrize("name", ["finished", "with_error", "parquet"])
def test_shards_are_opened(rows, name):
    if name == "parquet":
        pytest.importorskip("pyarrow")
    shards = open_shards(OLD / name, verify=True)
    assert shards.image_ids == URLS
    failed = [] if name == "finished" else [3]
    assert [error["row"] for error in shards.errors] == failed
    expected = rows.copy()
    expected[failed] = np.nan
    np.testing.assert_array_equal(shards.embeddings, expected)


@pytest.fixture
def photos_in_memory():
    """The images at the addresses that the shards were made from."""
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    for path, url in zip(PATHS, URLS, strict=True):
        files.pipe(url.removeprefix("memory:/"), Path(path).read_bytes())
    yield
    files.rm("/photos", recursive=True)


@pytest.mark.parametrize("name", ["half_done", "with_error"])
def test_shards_are_gone_on_with(embed, rows, photos_in_memory, tmp_path, name):
    folder = Path(shutil.copytree(OLD / name, tmp_path / name))
    shards = extract_to_shards(URLS, folder, embed, shard_size=2, verbose=False)
    assert shards.errors == []
    np.testing.assert_allclose(shards.embeddings, rows, atol=1e-5)
    assert len(open_shards(folder, verify=True)) == 5
    with pytest.raises(ValueError, match="settings.pooling was 'cls' and is 'mean'"):
        extract_to_shards(URLS, folder, embed.set_params(pooling="mean"), shard_size=2)


def _load(name):
    with pytest.warns(PickleVersionWarning, match=r"by dinov2_sklearn 0\.1\.0"):
        return joblib.load(OLD / f"{name}.joblib")


def test_pickled_transformer():
    loaded = _load("transformer")
    fresh = DINOv2Transformer("offline", image_size=56)
    np.testing.assert_array_equal(loaded.transform(PATHS), fresh.transform(PATHS))


def test_pickled_inspector():
    loaded, seen = _load("inspector"), np.load(OLD / "inspected.npz")
    np.testing.assert_allclose(loaded.transform(PATHS[:1]), seen["rows"], atol=1e-4)
    (colours,) = loaded.patch_rgb(PATHS[:1])
    np.testing.assert_allclose(colours.astype(int), seen["rgb"], atol=3)


def test_pickled_projector():
    loaded, saved = _load("projector"), np.load(OLD / "rows.npz")
    np.testing.assert_array_equal(loaded.transform(saved["X"]), saved["coords"])
    np.testing.assert_allclose(loaded.transform(saved["X"][:5] + 0.01), saved["placed"], atol=1e-3)


def test_sampler_picks_as_before():
    old = np.load(OLD / "rows.npz")
    with pytest.warns(PickleVersionWarning):
        sampler = joblib.load(OLD / "sampler.joblib")
    # What was named "hybrid" then has another name now.
    assert sampler.get_params()["strategy"] == "typical"
    np.testing.assert_array_equal(sampler.selected_indices_, old["selected"])
    np.testing.assert_array_equal(sampler.transform(old["X"]), old["X"][sampler.support_])
    assert sampler.predict(old["X"][old["selected"]]).tolist() == list(range(10))
    sampler.partial_fit(old["X"] + 100)
    assert len(sampler.representatives_) == 20
