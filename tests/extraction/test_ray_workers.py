"""What workers do, in this process: no cluster is needed to see it."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinov2_sklearn import DINOv2Transformer, extract_with_ray
from dinov2_sklearn.extraction.cluster._ray import list_paths
from dinov2_sklearn.extraction.cluster._workers import (
    ATTEMPTS,
    ClusterRun,
    ShardEmbedder,
    decode_shards,
    describe,
    read_outcome,
)
from dinov2_sklearn.images import ImageDecodeError
from dinov2_sklearn.io._parquet import Shard, count_rows, read_shard, write_shard
from dinov2_sklearn.io._shard_folder import filling, make_plan
from dinov2_sklearn.io._shards import PARQUET_SHARDS

# Of few images most may be wide, which is told.
pytestmark = pytest.mark.filterwarnings("ignore:Of .* images the model sees less:UserWarning")

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

NAME = "shard-000000000.parquet"


@pytest.fixture
def embed(tiny_dinov2):
    return DINOv2Transformer(tiny_dinov2, dtype="float32", batch_size=4)


@pytest.fixture
def make_task(tmp_path, image_folder):
    """Make the task of a run over the six images, whose folder is begun."""

    def make(transformer, root="/", **other):
        found = read_outcome(describe(transformer, []))
        folder = tmp_path / "shards"
        plan = make_plan(PARQUET_SHARDS, image_folder, 6, found["made_of"])
        with filling(folder, plan, image_folder):
            pass
        made_of = {**found["made_of"], **other}
        return ClusterRun(folder, transformer, made_of, found["reader"], str(root))

    return make


def _work(task, ids, *, apart=False, embedder=None):
    """Make one shard, with or without tasks of their own for decoding."""
    table = pyarrow.Table.from_pylist([{"file": NAME, "ids": [*ids]}])
    table = decode_shards(table, task) if apart else table
    done = (embedder or ShardEmbedder(task))(pickle.loads(pickle.dumps(table)))
    return read_outcome(done["outcome"][0].as_py())


apart = pytest.mark.parametrize("apart", [False, True])


@apart
@pytest.mark.parametrize(
    "params", [{}, {"scales": (1.0, 2.0), "pooling": "cls_mean"}, {"exact_decode": True}]
)
def test_rows_are_those_of_transform(make_task, embed, image_folder, apart, params):
    task = make_task(embed.set_params(**params))
    assert _work(task, image_folder, apart=apart) == (NAME, 6, 0)
    shard = read_shard(task.folder / NAME, task.made_of["n_features"])
    np.testing.assert_array_equal(shard.rows, embed.transform(image_folder))
    assert shard.ids == image_folder


@apart
def test_failed_images_are_tried_again(make_task, embed, image_folder, tmp_path, apart):
    embed.set_params(on_error="nan")
    late, never = str(tmp_path / "late.png"), str(tmp_path / "never.png")
    ids = [late, *image_folder[:2], never]
    task = make_task(embed)
    assert _work(task, ids, apart=apart) == (NAME, 4, 2)
    shard = read_shard(task.folder / NAME, 32)
    assert shard.errors == {0: "no such file", 3: "no such file"}
    assert np.isnan(shard.rows[[0, 3]]).all()
    Image.open(image_folder[2]).save(late)
    assert _work(task, ids, apart=apart) == (NAME, 4, 1)
    assert count_rows(task.folder / NAME) == (4, 1)
    shard = read_shard(task.folder / NAME, 32)
    np.testing.assert_allclose(shard.rows[:3], embed.transform(ids[:3]), rtol=0, atol=1e-6)
    assert shard.errors == {3: "no such file"}


@apart
def test_error_is_raised_and_leaves_no_file(make_task, embed, image_folder, tmp_path, apart):
    task = make_task(embed)
    with pytest.raises(ImageDecodeError, match="missing.png': no such file"):
        _work(task, [*image_folder, str(tmp_path / "missing.png")], apart=apart)
    assert {path.name for path in task.folder.iterdir()} == {".lock", "_manifest.json"}


def test_relative_paths_count_from_the_driver(make_task, embed, image_folder):
    task = make_task(embed, root=Path(image_folder[0]).parent)
    names = [Path(path).name for path in image_folder]
    _work(task, names)
    shard = read_shard(task.folder / NAME, 32)
    assert shard.ids == names
    np.testing.assert_array_equal(shard.rows, embed.transform(image_folder))


def test_other_hardware_is_refused(make_task, embed, image_folder):
    task = make_task(embed)
    settings = {**task.made_of["settings"], "dtype": "torch.bfloat16"}
    task = make_task(embed, settings=settings)
    with pytest.raises(RuntimeError, match="settings.dtype was 'torch.bfloat16' and is 'torch.fl"):
        _work(task, image_folder)


def test_folder_that_only_the_driver_sees(make_task, embed, image_folder):
    task = make_task(embed)
    (task.folder / "_manifest.json").unlink()
    for apart in (False, True):
        with pytest.raises(FileNotFoundError, match="but not on the node"):
            _work(task, image_folder, apart=apart)


def test_images_that_kill_their_process_are_given_up(make_task, embed, image_folder):
    task = make_task(embed)
    (task.folder / f".{NAME}{ATTEMPTS}").write_bytes(b".....")
    with pytest.raises(RuntimeError, match="5 processes died while they embedded the 6 images"):
        _work(task, image_folder)


def test_errors_travel(make_task, embed, image_folder):
    with pytest.raises(ValueError, match="'pooling' parameter") as caught:
        read_outcome(describe(embed.set_params(pooling="max"), []))
    assert "Traceback" in caught.value.__notes__[0]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 9])
def test_damaged_file_counts_as_missing(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    assert count_rows(tmp_path / NAME) == count_rows(tmp_path / "missing") == (0, 0)
    with pytest.raises(ValueError, match=r"000.parquet' is damaged"):
        read_shard(tmp_path / NAME, 32)


def test_shard_without_rows_of_its_own_form(tmp_path):
    write_shard(tmp_path / NAME, Shard(["a", "b"], np.zeros((2, 3), np.float32), {1: "why"}))
    assert count_rows(tmp_path / NAME) == (2, 1)
    with pytest.raises(ValueError, match="is damaged"):
        read_shard(tmp_path / NAME, 4)


def test_paths_are_read_from_everywhere(image_folder, tmp_path):
    pandas = pytest.importorskip("pandas")
    folder = Path(image_folder[0]).parent
    names = [Path(path).name for path in image_folder]
    frame = pandas.DataFrame({"image_path": names, "label": 1})
    frame.to_parquet(folder / "list.parquet")
    frame.to_csv(folder / "list.csv")
    try:
        for source in (folder / "list.parquet", f"file://{folder}/list.parquet", folder):
            read = [path.removeprefix("file://") for path in list_paths(source, "image_path")]
            assert read == image_folder
        assert list_paths(folder / "list.csv", "image_path") == image_folder
        with pytest.raises(ValueError, match=r"list.parquet' has no column 'file'; its columns "):
            list_paths(folder / "list.parquet", "file")
    finally:
        (folder / "list.parquet").unlink()
        (folder / "list.csv").unlink()
    assert list_paths(frame, "image_path") == names  # not looked for
    assert list_paths(np.array(names), "image_path") == names
    with pytest.raises(ValueError, match="data frame has no column 'file'; its columns are 'image"):
        list_paths(frame, "file")


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (["a.png", "\udcff.png"], ValueError, "no valid Unicode, which parquet cannot keep"),
        ([Image.new("RGB", (9, 9))], TypeError, "extract_with_ray takes paths"),
        ([], ValueError, "0 sample"),
        (["a.png", None], ValueError, "missing values"),
        ("nowhere.parquet", FileNotFoundError, "ray.data.read_parquet"),
        ("nowhere/", FileNotFoundError, "There is no file, folder"),
        (7, TypeError, "type int"),
    ],
)
def test_bad_sources(source, error, message):
    with pytest.raises(error, match=message):
        list_paths(source, "image_path")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"concurrency": 0}, "concurrency must be a number of actors"),
        ({"concurrency": (3, 2)}, "concurrency must be a number of actors"),
        ({"concurrency": "2"}, "concurrency must be a number of actors"),
        ({"shard_size": 0}, "shard_size == 0, must be >= 1"),
        ({"folder": "s3://bucket/shards"}, "is a URL. Files are renamed once"),
        ({"device": ["cuda:0", "cuda:1"]}, "say with concurrency how many actors"),
        ({"device": "cuda"}, "'cuda' does not go with num_gpus=0"),
        ({"device": "cpu", "num_gpus": 1}, "'cpu' does not go with num_gpus=1"),
    ],
)
def test_bad_parameters(embed, image_folder, tmp_path, params, message):
    pytest.importorskip("ray")
    params = {"folder": tmp_path / "a", "concurrency": 1, "device": "auto", **params}
    embed.set_params(device=params.pop("device"))
    with pytest.raises(ValueError, match=message):
        extract_with_ray(image_folder, params.pop("folder"), embed, **params)
    assert not (tmp_path / "a").exists()


def test_ray_is_named_where_it_is_missing(embed, image_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install .dinov2-sklearn\[ray\]"):
        extract_with_ray(image_folder, tmp_path / "a", embed, concurrency=1)
