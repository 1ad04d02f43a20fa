"""Shards hold what transform returns, and go on where they were stopped."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinov2_sklearn import (
    DINOv2Transformer,
    DiversitySampler,
    EmbeddingCache,
    extract_to_shards,
    open_shards,
)
from dinov2_sklearn.images import ImageDecodeError
from dinov2_sklearn.images import _reading as reading
from dinov2_sklearn.io import EmbeddingsFileError, _shard_folder

# Of few images most may be wide, which is told.
pytestmark = pytest.mark.filterwarnings("ignore:Of .* images the model sees less:UserWarning")


@pytest.fixture
def embed(tiny_dinov2):
    return DINOv2Transformer(tiny_dinov2, batch_size=2)


@pytest.fixture
def extract(embed, image_folder, tmp_path):
    """Extract the six images into a folder, four rows a shard."""

    def run(paths=image_folder, folder="shards", *, shard_size=4, **params):
        transformer = DINOv2Transformer(**{**embed.get_params(), **params})
        return extract_to_shards(
            paths, tmp_path / folder, transformer, shard_size=shard_size, verbose=False
        )

    return run


def _finished_rows(folder):
    """Rows that a folder which is being made has."""
    found = set()
    for line in map(json.loads, (folder / "finished.jsonl").read_text().splitlines()):
        missing = {row for row, cause in line["errors"] if cause is None}
        found |= {*range(line["start"], line["stop"])} - missing
    return found


def _contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_rows_are_those_of_transform(extract, embed, image_folder, tmp_path):
    shards = extract()
    assert isinstance(shards.embeddings, np.memmap)
    assert not shards.embeddings.flags.writeable
    np.testing.assert_array_equal(shards.embeddings, embed.transform(image_folder))
    assert shards.image_ids == list(image_folder)
    assert shards.model_name == embed.model_name
    assert shards.errors == []
    assert repr(shards).startswith("Shards(6 x 32, ")
    again = open_shards(tmp_path / "shards")
    np.testing.assert_array_equal(again.embeddings, shards.embeddings)
    assert vars(again).keys() == vars(shards).keys()


def test_estimators_take_the_rows(extract, image_folder):
    shards = extract()
    sampler = DiversitySampler(n_samples=3).fit(shards.embeddings)
    assert len(sampler.selected_indices_) == 3


@pytest.mark.parametrize("shard_size", [1, 3, 6, 1000])
def test_shard_size_does_not_change_rows(extract, shard_size):
    rows = extract(shard_size=shard_size, folder=str(shard_size)).embeddings
    np.testing.assert_allclose(rows, extract().embeddings, atol=1e-5)


def test_finished_folder_is_left_as_it_is(extract, tmp_path, monkeypatch):
    extract()
    before = _contents(tmp_path / "shards")
    modified = (tmp_path / "shards" / "manifest.json").stat().st_mtime_ns
    monkeypatch.setattr(reading, "decode_image", None)
    extract()
    assert _contents(tmp_path / "shards") == before
    assert (tmp_path / "shards" / "manifest.json").stat().st_mtime_ns == modified


def test_error_keeps_what_was_finished(extract, image_folder, tmp_path):
    paths = [str(shutil.copy(path, tmp_path)) for path in image_folder]
    good = Path(paths[4]).read_bytes()
    Path(paths[4]).write_bytes(b"text")
    with pytest.raises(ImageDecodeError, match="not an image"):
        extract(paths)
    with pytest.raises(EmbeddingsFileError, match="is not finished. Call extract_to_shards"):
        open_shards(tmp_path / "shards")
    # The image that shared a batch with the bad one, too.
    assert _finished_rows(tmp_path / "shards") == {0, 1, 2, 3, 5}
    Path(paths[4]).write_bytes(good)
    extract(paths)
    extract(paths, "unbroken")
    assert _contents(tmp_path / "shards") == _contents(tmp_path / "unbroken")


def test_stopped_inside_a_shard(extract, image_folder, tmp_path, monkeypatch):
    decode_image, stop = reading.decode_image, image_folder[3]

    def interrupted(source, *args, **kwargs):
        if source == stop:
            raise KeyboardInterrupt
        return decode_image(source, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(reading, "decode_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract(num_workers=0)
    assert _finished_rows(tmp_path / "shards") == {0, 1}  # the batch that was finished
    extract()
    extract(folder="unbroken")
    assert _contents(tmp_path / "shards") == _contents(tmp_path / "unbroken")


def test_errors_are_listed(extract, image_folder, tmp_path):
    bad = str(tmp_path / "bad.jpg")
    Path(bad).write_text("text")
    paths = [image_folder[0], bad, *image_folder[1:], "missing.png"]
    with pytest.warns(UserWarning, match="2 of 8 images could not be decoded"):
        shards = extract(paths, on_error="nan")
    assert [(e["row"], e["image_id"]) for e in shards.errors] == [(1, bad), (7, "missing.png")]
    assert "not an image" in shards.errors[0]["cause"]
    assert shards.errors[1]["cause"] == "no such file"
    assert np.isnan(shards.embeddings[[1, 7]]).all()
    rows = np.delete(shards.embeddings, [1, 7], axis=0)
    np.testing.assert_allclose(rows, extract(folder="good").embeddings, atol=1e-5)


def test_images_that_failed_are_tried_again(extract, image_folder, tmp_path):
    paths = [str(shutil.copy(path, tmp_path)) for path in image_folder]
    contents = [Path(path).read_bytes() for path in paths]
    for position in (1, 4, 5):
        Path(paths[position]).write_bytes(b"text")
    with pytest.warns(UserWarning, match="3 of 6 images"):
        extract(paths, on_error="nan")
    before = _contents(tmp_path / "shards")
    with pytest.warns(UserWarning, match="3 of 6 images"):
        extract(paths, on_error="nan")
    assert _contents(tmp_path / "shards") == before
    for position in (1, 4):
        Path(paths[position]).write_bytes(contents[position])
    with pytest.warns(UserWarning, match="1 of 6 images"):
        shards = extract(paths, on_error="nan")
    assert [error["row"] for error in shards.errors] == [5]
    expected = extract(folder="good").embeddings
    np.testing.assert_allclose(shards.embeddings[:5], expected[:5], atol=1e-5)
    open_shards(tmp_path / "shards", verify=True)
    with pytest.raises(ImageDecodeError, match="not an image"):
        extract(paths)
    Path(paths[5]).write_bytes(contents[5])
    np.testing.assert_allclose(extract(paths).embeddings, expected, atol=1e-5)


def test_killed_while_failures_are_mended(extract, image_folder, tmp_path, monkeypatch):
    paths = [str(shutil.copy(path, tmp_path)) for path in image_folder]
    Path(paths[1]).write_bytes(b"text")
    with pytest.warns(UserWarning, match="1 of 6 images"):
        extract(paths, on_error="nan")
    shutil.copy(image_folder[1], paths[1])
    with monkeypatch.context() as patched:
        patched.setattr(_shard_folder, "_sync", _fails_at_call(2))  # rows are there, and no line
        with pytest.raises(OSError, match="No space left"):
            extract(paths)
    shards = extract(paths)
    assert shards.errors == []
    np.testing.assert_allclose(shards.embeddings, extract(folder="good").embeddings, atol=1e-5)


def _fails_at_call(number):
    sync, calls = _shard_folder._sync, []

    def counted(file):
        calls.append(file)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(file)

    return counted


def test_relative_paths_of_another_working_directory_are_refused(
    extract, image_folder, tmp_path, monkeypatch
):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(image_folder[0], tmp_path / name / "0.jpg")
    monkeypatch.chdir(tmp_path / "a")
    extract(["0.jpg"])
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(ValueError, match="working_directory was '.*a' and is '.*b'"):
        extract(["0.jpg"])


def test_repeated_paths_have_a_row_each(extract, image_folder):
    paths = [image_folder[i] for i in (0, 1, 0, 2, 0, 0)]
    shards = extract(paths)
    assert shards.image_ids == paths
    np.testing.assert_allclose(
        shards.embeddings, extract(folder="once").embeddings[[0, 1, 0, 2, 0, 0]], atol=1e-5
    )


def test_cache_is_used_and_filled(extract, tmp_path, monkeypatch):
    first = extract(embedding_cache=tmp_path / "cache")
    assert EmbeddingCache(tmp_path / "cache").info().n_embeddings == 6
    monkeypatch.setattr(reading, "decode_image", None)
    second = extract(embedding_cache=tmp_path / "cache", folder="second")
    np.testing.assert_array_equal(second.embeddings, first.embeddings)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pooling": "mean"}, "settings.pooling was 'cls' and is 'mean'"),
        ({"layer": 0}, r"settings.blocks.0 was 3 and is 0"),
        ({"shard_size": 5}, "shard_size was 4 and is 5"),
        ({"image_size": 84}, r"settings.preprocessing.0.crop.0 was 56 and is 84"),
    ],
)
def test_folder_of_other_settings_is_refused(extract, tmp_path, params, message):
    extract()
    before = _contents(tmp_path / "shards")
    with pytest.raises(ValueError, match=message):
        extract(**params)
    assert _contents(tmp_path / "shards") == before


def test_folder_of_other_images_is_refused(extract, image_folder):
    extract()
    with pytest.raises(ValueError, match="the images are others, first in row 0, which was"):
        extract(image_folder[::-1])
    with pytest.raises(ValueError, match="n_images was 6 and is 5"):
        extract(image_folder[:5])


def test_folder_of_another_model_is_refused(extract, tiny_registers):
    extract()
    with pytest.raises(ValueError, match=r"settings.model.0 was"):
        extract(model_name=tiny_registers)


def test_folder_of_other_files_is_refused(extract, tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds other files, such as 'letter.txt'"):
        extract()
    assert list(_contents(tmp_path / "shards")) == ["letter.txt"]


def test_file_in_place_of_the_folder(extract, tmp_path):
    (tmp_path / "shards").touch()
    with pytest.raises(ValueError, match="is a file. Name a folder"):
        extract()


def test_images_in_memory_are_refused(extract, image_folder):
    with pytest.raises(TypeError, match="takes paths.*in memory, of type Image, at position 1"):
        extract([image_folder[0], Image.new("RGB", (60, 60))])


@pytest.mark.parametrize("transformer", ["shards", DINOv2Transformer, None])
def test_what_is_no_transformer_is_told(image_folder, tmp_path, transformer):
    with pytest.raises(TypeError, match="transformer must be a DINOv2Transformer, got"):
        extract_to_shards(image_folder, tmp_path / "shards", transformer)


@pytest.mark.parametrize("shard_size", [0, 2.5])
def test_bad_shard_size(extract, shard_size):
    with pytest.raises((ValueError, TypeError), match="shard_size"):
        extract(shard_size=shard_size)


def test_bad_parameters_are_told_before_any_work(extract, tmp_path):
    with pytest.raises(ValueError, match="'pooling' parameter"):
        extract(pooling="max")
    assert not (tmp_path / "shards").exists()


def test_two_processes_do_not_share_a_folder(extract, tmp_path):
    from filelock import FileLock

    extract()
    with (
        FileLock(tmp_path / "shards" / ".lock"),
        pytest.raises(RuntimeError, match="is being written to already"),
    ):
        extract()


def test_full_disk_is_noticed_before_any_work(extract, image_folder, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_shard_folder.os, "posix_fallocate", full)
    monkeypatch.setattr(reading, "decode_image", None)
    with pytest.raises(OSError, match="The embeddings need 0.0 MB on the disk"):
        extract()
    monkeypatch.undo()
    # Nothing is begun: a smaller run may take the same folder.
    assert len(extract(image_folder[:3])) == 3


def test_disk_that_fills_mid_shard_loses_nothing_finished(extract, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(_shard_folder, "_sync", _fails_at_call(3))
        with pytest.raises(OSError, match="No space left"):
            extract()
    assert len((tmp_path / "shards" / "finished.jsonl").read_text().splitlines()) == 1
    extract()
    extract(folder="unbroken")
    assert _contents(tmp_path / "shards") == _contents(tmp_path / "unbroken")


@pytest.mark.parametrize("complete", [True, False])
def test_damaged_rows_are_made_again(extract, image_folder, tmp_path, complete, monkeypatch):
    folder = tmp_path / "shards"
    if not complete:
        with monkeypatch.context() as patched:
            patched.setattr(_shard_folder.ShardFolder, "finish", lambda self: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                extract()
    extract(folder="unbroken")
    if complete:
        extract()
    content = bytearray((folder / "embeddings.npy").read_bytes())
    content[-5:] = b"12345"
    (folder / "embeddings.npy").write_bytes(content)
    extract()
    assert _contents(folder) == _contents(tmp_path / "unbroken")


@pytest.mark.parametrize("change", [64, 128, -4, -100, -700])
def test_file_of_another_length_is_mended(extract, tmp_path, change):
    extract()
    extract(folder="unbroken")
    file = tmp_path / "shards" / "embeddings.npy"
    os.truncate(file, file.stat().st_size + change)
    extract()
    assert _contents(tmp_path / "shards") == _contents(tmp_path / "unbroken")


def test_damage_shows_when_it_is_looked_for(extract, tmp_path):
    extract()
    folder = tmp_path / "shards"
    content = bytearray((folder / "embeddings.npy").read_bytes())
    content[500:504] = b"1234"
    (folder / "embeddings.npy").write_bytes(content)
    assert len(open_shards(folder)) == 6
    with pytest.raises(EmbeddingsFileError, match=r"Rows in .* are damaged"):
        open_shards(folder, verify=True)
    extract()
    assert len(open_shards(folder, verify=True)) == 6


@pytest.mark.parametrize("name", ["embeddings.npy", "image_ids.jsonl"])
def test_lost_file_is_told_and_made_again(extract, tmp_path, name):
    expected = np.array(extract().embeddings)
    (tmp_path / "shards" / name).unlink()
    with pytest.raises(EmbeddingsFileError, match=f"{name}' is missing or damaged"):
        open_shards(tmp_path / "shards")
    np.testing.assert_array_equal(extract().embeddings, expected)


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-20], lambda b: b"5\n" + b, lambda b: b + b'{"start": 0, "stop": 24}\n'],
)
def test_damaged_lines_are_dropped(extract, tmp_path, monkeypatch, damage):
    with monkeypatch.context() as patched:
        patched.setattr(_shard_folder.ShardFolder, "finish", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            extract()
    finished = tmp_path / "shards" / "finished.jsonl"
    finished.write_bytes(damage(finished.read_bytes()))
    extract()
    extract(folder="unbroken")
    assert _contents(tmp_path / "shards") == _contents(tmp_path / "unbroken")


@pytest.mark.parametrize(
    "change",
    [{"format": "x"}, {"complete": None}, {"crc32": [1]}, {"n_images": "6"}, {"errors": 3}],
)
def test_damaged_manifest(extract, tmp_path, change):
    extract()
    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_text())
    (tmp_path / "shards" / "manifest.json").write_text(json.dumps({**manifest, **change}))
    for call in (extract, lambda: open_shards(tmp_path / "shards")):
        with pytest.raises(ValueError, match="is damaged, or was not written by extract_to_shards"):
            call()


def test_names_that_no_line_can_hold(extract, image_folder, tmp_path):
    names = ["new\nline.png", "\udcff.png", "é 日本.png"]
    paths = [str(shutil.copy(image_folder[0], tmp_path / name)) for name in names]
    assert extract(paths).image_ids == paths


def test_progress_counts_what_was_there(extract, embed, image_folder, tmp_path, capfd):
    with pytest.raises(ImageDecodeError):
        extract([*image_folder, "missing.png"], folder="a")
    with pytest.raises(ImageDecodeError):
        extract_to_shards([*image_folder, "missing.png"], tmp_path / "a", embed, shard_size=4)
    assert "6/7" in capfd.readouterr().err


def test_ctrl_c_ends_the_process_and_keeps_what_was_finished(tmp_path, image_folder):
    code = (
        "import sys; from dinov2_sklearn import *;"
        "extract_to_shards(sys.argv[2:], sys.argv[1], DINOv2Transformer('offline', batch_size=2))"
    )
    paths = [str(tmp_path / f"{i}.jpg") for i in range(300)]
    for path in paths:
        Path(path).symlink_to(image_folder[0])
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "shards"), *paths],
        stderr=subprocess.PIPE,
        # A shell starts what runs in the background with this signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    shown = b""
    while not re.search(rb" [1-9]\d*/300 ", shown):  # the bar moves: a batch is finished
        shown += os.read(process.stderr.fileno(), 1000)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    process.communicate(timeout=30)
    print(f"ended after {time.monotonic() - sent:.2f} s")
    # Which of the two depends on what the installed transformers has loaded.
    assert process.returncode in (1, -signal.SIGINT)
    assert len(_finished_rows(tmp_path / "shards")) >= 2
