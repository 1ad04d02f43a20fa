"""On a Ray cluster, extraction gives the rows of one process, whoever is killed meanwhile."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from dinov2_sklearn import (
    DINOv2Transformer,
    DiversitySampler,
    EmbeddingCache,
    extract_to_shards,
    extract_with_ray,
    open_shards,
)
from dinov2_sklearn.extraction.cluster._ray import _warn_if_waiting, _warn_of_errors
from dinov2_sklearn.io import EmbeddingsFileError
from dinov2_sklearn.io._parquet import Shard, write_shard
from dinov2_sklearn.io._shard_folder import OtherShardsError

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")

# Ray leaves the log files of its data sets open, for the garbage collector to find later.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the actors in /proc"),
    pytest.mark.filterwarnings(
        r"ignore:(?s).*ray-data-dataset.*:pytest.PytestUnraisableExceptionWarning"
    ),
]

N_IMAGES, SHARD = 80, 2
N_FILES = N_IMAGES // SHARD
BAD = 71


@pytest.fixture(scope="module")
def paths(noise, tmp_path_factory):
    """Eighty images, one of them damaged."""
    bad = tmp_path_factory.mktemp("bad") / "bad.png"
    bad.write_text("text")
    return [*noise[:BAD], str(bad), *noise[BAD + 1 : N_IMAGES]]


def _transformer(model):
    # Not "auto", which differs from one machine to another.
    return DINOv2Transformer(model, dtype="float32", batch_size=4, on_error="nan")


@pytest.fixture
def embed(tiny_dinov2):
    return _transformer(tiny_dinov2)


def _extract(source, folder, embed, **params):
    params = {"concurrency": 2, "shard_size": SHARD, "verbose": False, **params}
    return extract_with_ray(source, folder, embed, **params)


def _actors():
    """Return the processes below this one that hold a model; other tests may have their own."""
    names, parents = {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            names[int(process.name)] = (process / "cmdline").read_bytes()
            after_name = (process / "stat").read_text().rpartition(")")[2]
            parents[int(process.name)] = int(after_name.split()[1])

    def is_below(pid):
        return pid == os.getpid() or (pid in parents and is_below(parents[pid]))

    return [pid for pid, name in names.items() if b"ShardEmbedder" in name and is_below(pid)]


def _files(folder):
    return [*folder.glob("*.parquet")]


def _wait(is_so):
    deadline = time.monotonic() + 200
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _kill_an_actor(folder, n_files):
    """Wait until some files are there, kill an actor, and return how many were there by then."""
    _wait(lambda: len(_files(folder)) >= n_files)
    os.kill(_actors()[0], signal.SIGKILL)
    return len(_files(folder))


@pytest.fixture(scope="module")
def begun(local_ray, paths, tiny_dinov2, tmp_path_factory):
    """A folder whose driver was killed, and when the files that it has were written."""
    folder = tmp_path_factory.mktemp("extracted") / "shards"
    code = (
        "import ray, sys; from dinov2_sklearn import *;"
        f"ray.init({local_ray.get_runtime_context().gcs_address!r}, log_to_driver=False);"
        f"embed = DINOv2Transformer({tiny_dinov2!r}, dtype='float32', batch_size=4,"
        "on_error='nan');"
        f"extract_with_ray(sys.argv[1:], {str(folder)!r}, embed, concurrency=1, shard_size={SHARD})"
    )
    driver = subprocess.Popen([sys.executable, "-c", code, *paths], stderr=subprocess.DEVNULL)
    _wait(lambda: len(_files(folder)) >= 2)
    driver.kill()
    driver.wait()
    _wait(lambda: not _actors())
    return folder, {path: path.stat().st_mtime_ns for path in _files(folder)}


@pytest.fixture(scope="module")
def extracted(begun, paths, tiny_dinov2, tmp_path_factory):
    """A finished folder, not to be changed; its files; and what one process makes of the same.

    One of the actors was killed, and another took its place.
    """
    folder, kept = begun
    cache = tmp_path_factory.mktemp("cache") / "cache"
    embed = _transformer(tiny_dinov2)
    with ThreadPoolExecutor() as threads:
        at_kill = threads.submit(_kill_an_actor, folder, len(kept) + 2)
        embed.set_params(embedding_cache=cache)
        with pytest.warns(UserWarning, match=r"1 of 80 images.*\n.*bad.png.*not an image"):
            files = _extract(paths, folder, embed)
    assert at_kill.result() < N_FILES
    assert EmbeddingCache(cache).info().n_embeddings == N_IMAGES - 1 - SHARD * len(kept)
    with pytest.warns(UserWarning, match="1 of 80 images"):
        rows = embed.set_params(embedding_cache=None).transform(paths)
    return folder, files, rows


def test_what_is_written_stays_whoever_is_killed(begun, extracted):
    folder, kept = begun
    assert 2 <= len(kept) < N_FILES - 5
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    others = {path.name for path in folder.iterdir()} - {path.name for path in _files(folder)}
    assert others == {"_manifest.json", ".lock"}


def test_rows_are_those_of_one_process(extracted, paths):
    folder, _, rows = extracted
    shards = open_shards(folder, verify=True)
    np.testing.assert_allclose(shards.embeddings, rows, rtol=0, atol=1e-6)
    assert shards.embeddings.dtype == np.float32
    assert shards.image_ids == paths
    (error,) = shards.errors
    assert (error["row"], error["image_id"]) == (BAD, paths[BAD])
    assert "not an image" in error["cause"]
    readable = shards.embeddings[~np.isnan(shards.embeddings).any(axis=1)]
    assert len(DiversitySampler(n_samples=3).fit(readable).selected_indices_) == 3


def test_other_programs_read_the_files(extracted, paths):
    duckdb = pytest.importorskip("duckdb")
    folder, files, rows = extracted
    assert files == [str(folder / f"shard-{i:09}.parquet") for i in range(N_FILES)]
    for frame in (
        pd.read_parquet(folder),
        pd.concat(map(pd.read_parquet, files)),
        pl.read_parquet(folder / "*.parquet").to_pandas(),
        duckdb.read_parquet(str(folder / "*.parquet")).df(),
    ):
        assert [*frame.columns] == ["id", "embedding", "error"]
        assert frame["id"].to_list() == paths
        assert np.flatnonzero(frame["error"].notna()).tolist() == [BAD]
        np.testing.assert_allclose(np.stack([*frame["embedding"]]), rows, rtol=0, atol=1e-6)
    assert pl.read_parquet(files[0]).schema["embedding"] == pl.Array(pl.Float32, 32)


@pytest.fixture
def copied(extracted, tmp_path):
    return Path(shutil.copytree(extracted[0], tmp_path / "copied"))


def test_a_second_run_makes_what_is_missing(extracted, copied, paths, embed):
    """By an actor that holds what is taken for a GPU, and that tasks feed."""
    _, files, rows = extracted
    names = [Path(file).name for file in files]
    (copied / names[0]).unlink()
    content = (copied / names[2]).read_bytes()
    (copied / names[2]).write_bytes(content[: len(content) // 2])  # a copy that broke off
    (copied / ".0123456789abcdef0123456789abcdef.tmp").touch()  # of a process that was killed
    kept = {name: (copied / name).stat().st_mtime_ns for name in (names[3], names[4])}
    bad = Path(paths[BAD])
    shutil.copy(paths[0], bad)  # tried again, and by now an image
    dataset = ray.data.from_items([{"file": path, "label": 1} for path in paths])
    try:
        with pytest.warns(UserWarning, match="torch finds no GPU on the node"):
            _extract(dataset, copied, embed, concurrency=1, num_gpus=1, image_col="file")
    finally:
        bad.write_text("text")
    shards = open_shards(copied, verify=True)
    assert shards.errors == []
    assert shards.image_ids == paths
    expected = np.vstack([rows[:BAD], rows[:1], rows[BAD + 1 :]])
    np.testing.assert_allclose(shards.embeddings, expected, rtol=0, atol=1e-6)
    assert {name: (copied / name).stat().st_mtime_ns for name in kept} == kept
    assert {path.name for path in copied.iterdir()} == {*names, "_manifest.json", ".lock"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pooling": "mean"}, "settings.pooling was 'cls' and is 'mean'"),
        ({"dtype": "float16"}, r"settings.dtype was 'torch.float32' and is 'torch.float16'"),
    ],
)
def test_folder_of_other_settings_is_refused(extracted, paths, embed, params, message):
    with pytest.raises(OtherShardsError, match=message):
        _extract(paths, extracted[0], embed.set_params(**params))


def test_folder_of_other_images_is_refused(extracted, paths, embed, tmp_path):
    with pytest.raises(OtherShardsError, match="the images are others"):
        _extract(paths[::-1], extracted[0], embed)
    with pytest.raises(OtherShardsError, match="shard_size was 2 and is 9"):
        _extract(paths, extracted[0], embed, shard_size=9)
    with pytest.raises(OtherShardsError, match="format was 'dinov2_sklearn parquet shards'"):
        extract_to_shards(paths, extracted[0], embed, shard_size=SHARD)
    (tmp_path / "letter.txt").touch()
    with pytest.raises(ValueError, match="holds other files, such as 'letter.txt'"):
        _extract(paths, tmp_path, embed)


def test_unfinished_or_damaged_folder_is_not_opened(copied):
    (copied / "shard-000000003.parquet").write_bytes(b"text")
    with pytest.raises(EmbeddingsFileError, match=r"000003.parquet' is damaged.*extract_with_ray"):
        open_shards(copied)
    shutil.copy(copied / "shard-000000001.parquet", copied / "shard-000000003.parquet")
    with pytest.raises(EmbeddingsFileError, match="not all of the same run"):
        open_shards(copied)
    (copied / "shard-000000003.parquet").unlink()
    with pytest.raises(EmbeddingsFileError, match="is not finished. Call extract_with_ray"):
        open_shards(copied)


def test_damaged_bytes_show_when_they_are_looked_for(copied):
    content = bytearray((copied / "shard-000000000.parquet").read_bytes())
    content[content.index(open_shards(copied).embeddings[1, :4].tobytes())] ^= 1
    (copied / "shard-000000000.parquet").write_bytes(content)
    open_shards(copied)
    with pytest.raises(EmbeddingsFileError, match=r"000000.parquet' is damaged"):
        open_shards(copied, verify=True)


@pytest.fixture
def only_here(noise):
    """A path by which this process alone sees an image."""
    with Path(noise[0]).open("rb") as file:
        number = fcntl.fcntl(file, fcntl.F_DUPFD, 900)
        try:
            yield f"/proc/self/fd/{number}"
        finally:
            os.close(number)


def test_images_that_only_the_driver_sees(local_ray, noise, embed, only_here, tmp_path):
    with pytest.raises(FileNotFoundError, match="is there where the program runs, but not for the"):
        _extract([only_here], tmp_path / "a", embed)
    assert not (tmp_path / "a").exists()
    # Some of them are told of once the others are embedded.
    rows = np.full((2, 32), np.nan, dtype=np.float32)
    shard = Shard([noise[0], only_here], rows, {1: "no such file"})
    write_shard(tmp_path / "b.parquet", shard)
    with pytest.warns(UserWarning, match="1 of 2 images.*is there where the program runs, but not"):
        _warn_of_errors(tmp_path, {"b.parquet": 1}, n_images=2)


def test_model_that_only_the_driver_sees(local_ray, noise, embed, tmp_path):
    number = os.open(embed.model_name, os.O_RDONLY)
    far = fcntl.fcntl(number, fcntl.F_DUPFD, 900)
    embed.set_params(model_name=f"/proc/self/fd/{far}")
    try:
        with pytest.raises(OSError, match="is there where the program runs, but not for the"):
            _extract(noise, tmp_path / "a", embed)
    finally:
        os.close(number)
        os.close(far)


def test_what_no_node_has_is_told_of(local_ray, recwarn):
    _warn_if_waiting(local_ray, {"num_gpus": 1, "num_cpus": 2})
    assert not recwarn
    with (
        pytest.warns(UserWarning, match="needs num_gpus=4, but no node .* more than 1 now"),
        pytest.warns(UserWarning, match="needs num_cpus=64, but no node .* more than 2 now"),
    ):
        _warn_if_waiting(local_ray, {"num_gpus": 4, "num_cpus": 64})


def test_bad_parameters_are_told_before_any_work(local_ray, noise, embed, tmp_path):
    with pytest.raises(ValueError, match="'pooling' parameter"):
        _extract(noise, tmp_path / "a", embed.set_params(pooling="max"))
    assert not (tmp_path / "a").exists()
