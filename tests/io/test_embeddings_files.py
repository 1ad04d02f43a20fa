"""Properties of embeddings files."""

import errno
import json
import os
import pickle
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dinov2_sklearn.io import Embeddings, EmbeddingsFileError, load_embeddings, save_embeddings

SUFFIXES = [".pt", ".npz", ".parquet"]
per_suffix = pytest.mark.parametrize("suffix", SUFFIXES)

# All of Unicode that UTF-8 can express, line breaks included; no trailing null: see the .npz test.
texts = st.text(st.characters(codec="utf-8"), max_size=20)
ids = texts.filter(lambda text: not text.endswith("\0"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
matrices = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 5), st.integers(1, 4)),
    elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
)


@per_suffix
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_saved_is_loaded(tmp_path_factory, suffix, data):
    matrix = data.draw(matrices)
    image_ids = data.draw(st.lists(ids, min_size=len(matrix), max_size=len(matrix)))
    metadata = data.draw(st.dictionaries(texts, json_values, max_size=3))
    model_name = data.draw(ids)
    path = tmp_path_factory.getbasetemp() / f"round_trip{suffix}"
    save_embeddings(path, matrix, image_ids, model_name=model_name, metadata=metadata)
    loaded = load_embeddings(path)
    assert isinstance(loaded, Embeddings)
    np.testing.assert_array_equal(loaded.embeddings, matrix, strict=True)
    assert loaded.image_ids == image_ids
    assert all(type(image_id) is str for image_id in loaded.image_ids)
    assert loaded.model_name == model_name
    assert loaded.metadata == metadata
    assert datetime.fromisoformat(loaded.timestamp).utcoffset() == timedelta(0)


@pytest.mark.parametrize("suffix", [".pt", ".npz"])
def test_undecodable_file_names_survive(tmp_path, suffix):
    names = [os.fsdecode(b"caf\xe9.jpg"), "plain.jpg"]
    save_embeddings(tmp_path / f"e{suffix}", np.eye(2), names, model_name="m")
    loaded = load_embeddings(tmp_path / f"e{suffix}").image_ids
    assert [os.fsencode(name) for name in loaded] == [b"caf\xe9.jpg", b"plain.jpg"]


@pytest.mark.parametrize(
    ("suffix", "image_id"), [(".parquet", os.fsdecode(b"caf\xe9.jpg")), (".npz", "a\0")]
)
def test_an_id_that_a_format_cannot_keep_is_refused(tmp_path, suffix, image_id):
    with pytest.raises(ValueError, match=r"cannot keep\. Write a \.pt"):
        save_embeddings(tmp_path / f"e{suffix}", np.eye(1), [image_id], model_name="m")
    assert list(tmp_path.iterdir()) == []


@per_suffix
def test_any_array_and_any_path_is_taken(tmp_path, suffix):
    given_matrices = [
        [[1, 2], [3, 4]],
        np.array([[1.0, 2], [3, 4]], order="F"),
        np.array([[1, 0, 2], [3, 0, 4]], dtype=np.float16)[:, ::2],
        torch.tensor([[1.0, 2], [3, 4]], dtype=torch.bfloat16, requires_grad=True),
    ]
    for matrix in given_matrices:
        image_ids = np.array([Path("a.jpg"), "b.jpg"], dtype=object)
        save_embeddings(tmp_path / f"E{suffix.upper()}", matrix, image_ids, model_name="m")
        loaded = load_embeddings(tmp_path / f"E{suffix.upper()}")
        np.testing.assert_array_equal(loaded.embeddings, np.float32([[1, 2], [3, 4]]), strict=True)
        assert loaded.image_ids == ["a.jpg", "b.jpg"]


def test_a_read_only_array_is_written_without_a_word(tmp_path):
    # As shards are, from which the command line writes its one file.
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    rows.flags.writeable = False
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # or only the first time in a process
    try:
        save_embeddings(tmp_path / "rows.pt", rows, ["a", "b", "c"], model_name="small")
    finally:
        torch.set_warn_always(before)
    np.testing.assert_array_equal(load_embeddings(tmp_path / "rows.pt").embeddings, rows)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_may_be_called_as_a_field_is(tmp_path, suffix):
    columns = {"timestamp": ["noon"], "metadata": [None], "model_name": ["x"], "n": [2**63]}
    file = tmp_path / f"e{suffix}"
    save_embeddings(file, np.ones((1, 2)), ["a.jpg"], model_name="small", columns=columns)
    loaded = load_embeddings(file)
    assert loaded.model_name == "small"
    assert loaded.columns["timestamp"] == ["noon"]
    assert list(map(str, loaded.columns["n"])) == [str(2**63)]


def test_pt_is_a_plain_dict_as_documented(tmp_path):
    save_embeddings(tmp_path / "e.pt", np.eye(2), ["a", "b"], model_name="m", metadata={"k": (1,)})
    contents = torch.load(tmp_path / "e.pt", weights_only=True)
    assert list(contents) == ["embeddings", "image_ids", "model_name", "timestamp", "metadata"]
    assert contents["embeddings"].dtype == torch.float32
    assert contents["image_ids"] == ["a", "b"]
    assert contents["metadata"] == {"k": [1]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("zipped", [True, False])
def test_pt_written_by_torch_alone_loads(tmp_path, dtype, zipped):
    contents = {
        "embeddings": torch.tensor([[0.5, 2.0]], dtype=dtype),
        "image_ids": ["a\nb.jpg"],
        "model_name": "facebook/dinov2-base",
        "timestamp": "2025-01-01T00:00:00+00:00",
        "metadata": {"layer": -1},
        "more": [1],
    }
    torch.save(contents, tmp_path / "e.pt", _use_new_zipfile_serialization=zipped)
    loaded = load_embeddings(tmp_path / "e.pt")
    np.testing.assert_array_equal(loaded.embeddings, np.float32([[0.5, 2]]), strict=True)
    assert loaded.image_ids == ["a\nb.jpg"]
    assert loaded.metadata == {"layer": -1}
    assert repr(loaded).startswith("Embeddings(1 x 2, model_name='facebook/dinov2-base'")


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path):
    payload = Payload(tmp_path / "executed")
    good = {"embeddings": torch.eye(1), "image_ids": ["a"], "model_name": "m", "timestamp": ""}
    torch.save({**good, "metadata": payload}, tmp_path / "zip.pt")
    torch.save(
        {**good, "metadata": payload}, tmp_path / "old.pt", _use_new_zipfile_serialization=False
    )
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(payload))
    objects = np.array([payload], dtype=object)
    fields = {"image_ids": ["a"], "model_name": "m", "timestamp": "", "metadata": "{}"}
    np.savez(tmp_path / "array.npz", embeddings=objects, **fields)
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(payload))
    for name in ["zip.pt", "old.pt", "plain.pt", "array.npz", "plain.npz"]:
        with pytest.raises(EmbeddingsFileError, match=name):
            load_embeddings(tmp_path / name)
    assert not (tmp_path / "executed").exists()
    pickle.loads((tmp_path / "plain.pt").read_bytes())
    assert (tmp_path / "executed").exists(), "the payload itself is at fault"


def saved(folder: Path, suffix: str) -> Path:
    path = folder / f"e{suffix}"
    matrix = np.random.default_rng(0).normal(size=(40, 16))
    save_embeddings(path, matrix, [f"{i}.jpg" for i in range(40)], model_name="m")
    return path


@per_suffix
def test_a_truncated_file_is_an_error(tmp_path, suffix):
    path = saved(tmp_path, suffix)
    contents = path.read_bytes()
    for share in [0, 0.01, 0.3, 0.6, 0.9, 0.999]:
        path.write_bytes(contents[: int(share * len(contents))])
        with pytest.raises(EmbeddingsFileError, match=f"e{suffix}' is "):
            load_embeddings(path)


@per_suffix
def test_a_flipped_bit_in_the_embeddings_is_an_error(tmp_path, suffix):
    path = saved(tmp_path, suffix)
    contents = bytearray(path.read_bytes())
    values = load_embeddings(path).embeddings
    position = contents.find(values[20].tobytes()[:12])
    if position < 0:  # parquet compresses: any byte of the column's pages
        position = len(contents) // 3
    contents[position] ^= 1
    path.write_bytes(contents)
    with pytest.raises(EmbeddingsFileError, match=f"e{suffix}' is damaged"):
        load_embeddings(path)


@per_suffix
@settings(max_examples=25, deadline=None)
@given(noise=st.binary(max_size=200))
def test_noise_is_an_error(tmp_path_factory, suffix, noise):
    path = tmp_path_factory.getbasetemp() / f"noise{suffix}"
    path.write_bytes(noise)
    with pytest.raises(EmbeddingsFileError):
        load_embeddings(path)


def write_foreign(path: Path, contents: dict) -> None:
    if path.suffix == ".pt":
        torch.save(contents, path)
    elif path.suffix == ".npz":
        np.savez(path, **contents)
    else:
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pa.table({name: pa.array(v) for name, v in contents.items()}), path)


@per_suffix
def test_a_foreign_file_is_told_by_what_it_lacks(tmp_path, suffix):
    write_foreign(tmp_path / f"f{suffix}", {"image_ids": ["a"], "weights": [1.0]})
    message = "lacks embeddings, model_name, timestamp, metadata.*has: image_ids, weights"
    with pytest.raises(EmbeddingsFileError, match=message):
        load_embeddings(tmp_path / f"f{suffix}")


GOOD = {
    "embeddings": torch.eye(2),
    "image_ids": ["a", "b"],
    "model_name": "m",
    "timestamp": "2025-01-01T00:00:00+00:00",
    "metadata": {},
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embeddings": torch.eye(3)}, "3 embeddings, but 2 image_ids"),
        ({"embeddings": torch.zeros(2)}, r"shape \(2,\)"),
        ({"embeddings": [[1.0], [2.0]]}, "no array of numbers"),
        ({"embeddings": torch.zeros(2, 2, dtype=torch.complex64)}, "no array of numbers"),
        ({"image_ids": [1, 2]}, "no list of strings"),
        ({"image_ids": "ab"}, "no list of strings"),
        ({"model_name": None}, "model_name of type NoneType"),
        ({"metadata": [1]}, "metadata of type list"),
    ],
)
def test_fields_of_a_wrong_type_are_errors(tmp_path, changes, message):
    torch.save({**GOOD, **changes}, tmp_path / "e.pt")
    with pytest.raises(EmbeddingsFileError, match=message):
        load_embeddings(tmp_path / "e.pt")


def test_objects_other_than_a_dict_are_errors(tmp_path):
    torch.save(torch.eye(3), tmp_path / "tensor.pt")
    with pytest.raises(EmbeddingsFileError, match="an object of type Tensor"):
        load_embeddings(tmp_path / "tensor.pt")
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.eye(3))
    with pytest.raises(EmbeddingsFileError, match="a single array"):
        load_embeddings(tmp_path / "array.npz")


def test_parquet_lists_of_unequal_length_are_errors(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    fields = {"model_name": "m", "timestamp": "", "metadata": "{}"}
    table = pa.table({"image_ids": ["a", "b"], "embeddings": [[1.0], [2.0, 3.0]]}, metadata=fields)
    parquet.write_table(table, tmp_path / "e.parquet")
    with pytest.raises(EmbeddingsFileError, match="lists of one length"):
        load_embeddings(tmp_path / "e.parquet")


@per_suffix
def test_a_write_that_fails_leaves_the_earlier_file_whole(tmp_path, suffix, monkeypatch):
    path = saved(tmp_path, suffix)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_embeddings(path, np.eye(2), ["a", "b"], model_name="other")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@per_suffix
def test_a_full_disk_leaves_the_earlier_file_whole(tmp_path, suffix, monkeypatch):
    path = saved(tmp_path, suffix)
    before = path.read_bytes()
    real_open = Path.open

    def open_on_full_disk(self, mode="r", *args, **kwargs):
        if mode == "xb":
            real_open(self, mode).close()
            return real_open(Path("/dev/full"), "wb", *args, **kwargs)
        return real_open(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_on_full_disk)
    with pytest.raises((OSError, RuntimeError)):
        save_embeddings(path, np.zeros((500, 500)), ["a"] * 500, model_name="other")
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_longest_file_name_can_be_written(tmp_path):
    path = tmp_path / ("e" * (255 - 4) + ".npz")
    save_embeddings(path, np.eye(1), ["a"], model_name="m")
    assert len(load_embeddings(path)) == 1


@pytest.mark.parametrize(
    ("matrix", "image_ids", "error", "message"),
    [
        (np.eye(3), ["a", "b"], ValueError, "3 rows, but image_ids has 2"),
        (np.zeros(3), ["a"] * 3, ValueError, r"shape \(3,\)"),
        (np.zeros((3, 0)), ["a"] * 3, ValueError, r"shape \(3, 0\)"),
        (np.array([[0.0], [1e39]]), ["a", "b"], ValueError, "Row 1 .* too large for float32"),
        (np.eye(1), "a", TypeError, "the single id 'a'"),
        (np.eye(1), [7], TypeError, "Got 7 of type int at position 0"),
    ],
)
def test_what_cannot_be_saved_is_refused(tmp_path, matrix, image_ids, error, message):
    with pytest.raises(error, match=message):
        save_embeddings(tmp_path / "e.pt", matrix, image_ids, model_name="m")
    assert list(tmp_path.iterdir()) == []


def test_metadata_that_json_cannot_express_is_refused(tmp_path):
    with pytest.raises(TypeError, match="what JSON can express.*ndarray"):
        save_embeddings(
            tmp_path / "e.pt", np.eye(1), ["a"], model_name="m", metadata={"x": np.eye(1)}
        )


def test_a_folder_of_shards_is_somebody_elses(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder.*read by open_shards"):
        load_embeddings(tmp_path)


@pytest.mark.parametrize(("name", "message"), [("e.csv", "extension '.csv'"), ("e", "no extens")])
def test_an_unknown_extension_is_refused(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        save_embeddings(tmp_path / name, np.eye(1), ["a"], model_name="m")
    with pytest.raises(ValueError, match=message):
        load_embeddings(tmp_path / name)


@per_suffix
def test_missing_files_and_folders_are_named(tmp_path, suffix):
    with pytest.raises(FileNotFoundError, match=f"no embeddings file .*nothing{suffix}"):
        load_embeddings(tmp_path / f"nothing{suffix}")
    with pytest.raises(FileNotFoundError, match="folder .*absent"):
        save_embeddings(tmp_path / "absent" / f"e{suffix}", np.eye(1), ["a"], model_name="m")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(IsADirectoryError):
        load_embeddings(tmp_path / f"folder{suffix}")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "e.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"dinov2-sklearn\[parquet\]"):
        load_embeddings(path)
    with pytest.raises(ImportError, match=r"dinov2-sklearn\[parquet\]"):
        save_embeddings(path, np.eye(1), ["a"], model_name="m")
    assert path.read_bytes() == b"PAR1"


def test_npz_can_be_read_by_numpy_alone(tmp_path):
    save_embeddings(tmp_path / "e.npz", np.eye(2), ["a", "b"], model_name="m", metadata={"k": 1})
    with np.load(tmp_path / "e.npz") as archive:
        assert archive["image_ids"].tolist() == ["a", "b"]
        assert archive["embeddings"].dtype == np.float32
        assert json.loads(str(archive["metadata"])) == {"k": 1}


def test_messages_name_the_users_path_and_not_the_temporary_one(tmp_path):
    from dinov2_sklearn.utils._files import atomic_write

    with pytest.raises(IsADirectoryError, match="is a folder. Name a file"), atomic_write(tmp_path):
        pass
    # The kernel's process folder takes no files, not even from root.
    with pytest.raises(OSError, match=r"Cannot write.*/proc/embeddings\.pt"):  # noqa: SIM117
        with atomic_write("/proc/embeddings.pt"):
            pass
