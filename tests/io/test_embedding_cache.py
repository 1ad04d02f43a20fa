"""The embedding cache never gives a wrong embedding, and never embeds an image twice."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from dinov2_sklearn import DINOv2Transformer, DiversitySampler, EmbeddingCache
from dinov2_sklearn.extraction import _embedder
from dinov2_sklearn.images import _reading as reading
from dinov2_sklearn.io import _cache


@pytest.fixture
def decoded(monkeypatch):
    """The sources that were decoded, in order."""
    sources = []
    decode_image = reading.decode_image

    def counted(source, *args, **kwargs):
        sources.append(getattr(source, "address", source))
        return decode_image(source, *args, **kwargs)

    monkeypatch.setattr(reading, "decode_image", counted)
    return sources


@pytest.fixture
def photos(image_folder, tmp_path):
    """A folder's worth of the images that the test may change, last changed long ago."""
    (tmp_path / "photos").mkdir()
    paths = [shutil.copy(path, tmp_path / "photos") for path in image_folder]
    return [str(path) for path in paths]


@pytest.fixture
def embed(tiny_dinov2, tmp_path):
    return DINOv2Transformer(tiny_dinov2, embedding_cache=tmp_path / "cache")


def test_second_time_nothing_is_decoded(embed, photos, decoded):
    first = embed.transform(photos)
    np.testing.assert_array_equal(first, DINOv2Transformer(embed.model_name).transform(photos))
    decoded.clear()
    np.testing.assert_array_equal(embed.transform(photos[::-1]), first[::-1])
    assert decoded == []
    info = EmbeddingCache(embed.embedding_cache).info()
    assert (info.hits, info.misses, info.n_embeddings, info.n_settings) == (6, 6, 6, 1)
    assert info.n_bytes > 6 * 32 * 4


def test_cached_rows_need_no_model(embed, photos, monkeypatch):
    first = embed.transform(photos)
    monkeypatch.setattr(_embedder, "_Forward", None)
    np.testing.assert_array_equal(embed.transform(photos), first)


def test_changed_file_is_embedded_anew_even_with_the_same_size_and_time(embed, photos, tmp_path):
    path = str(tmp_path / "changing.bmp")
    pixels = np.random.default_rng(0).integers(0, 256, (60, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    before = Path(path).stat()
    old = embed.transform([path])
    Image.fromarray(255 - pixels).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Path(path).stat().st_size == before.st_size
    new = embed.transform([path])
    assert not np.allclose(new, old, atol=1e-3)
    np.testing.assert_array_equal(new, DINOv2Transformer(embed.model_name).transform([path]))


def test_renamed_and_copied_files_are_known(embed, photos, decoded, tmp_path):
    first = embed.transform(photos)
    decoded.clear()
    moved = shutil.move(photos[0], tmp_path / "elsewhere.jpg")
    copied = shutil.copy(photos[1], tmp_path / "copy.png")
    np.testing.assert_array_equal(embed.transform([moved, copied]), first[:2])
    assert decoded == []


def test_equal_contents_are_embedded_once(embed, photos, decoded, tmp_path):
    copies = [str(shutil.copy(photos[0], tmp_path / f"{i}.jpg")) for i in range(5)]
    rows = embed.transform(copies)
    assert len(decoded) == 1
    assert (rows == rows[0]).all()


def test_row_of_a_file_that_changes_meanwhile_is_of_what_was_digested(embed, photos, monkeypatch):
    decode_image = reading.decode_image
    expected = DINOv2Transformer(embed.model_name).transform(photos[:1])

    def change_then_decode(source, *args, **kwargs):
        Image.new("RGB", (80, 80), "red").save(photos[0])
        return decode_image(source, *args, **kwargs)

    original = Path(photos[0]).read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(reading, "decode_image", change_then_decode)
        np.testing.assert_array_equal(embed.transform(photos[:1]), expected)
    red = embed.transform(photos[:1])
    assert not np.allclose(red, expected, atol=1e-3)
    Path(photos[0]).write_bytes(original)
    np.testing.assert_array_equal(embed.transform(photos[:1]), expected)


@pytest.mark.parametrize("num_workers", [0, 4])
def test_each_file_is_opened_once(embed, photos, opened, tmp_path, num_workers):
    embed.set_params(num_workers=num_workers)
    with opened() as paths:
        embed.transform([*photos, photos[0]])
    assert {path: paths[path] for path in photos} == dict.fromkeys(photos, 1)
    moved = [shutil.move(path, tmp_path) for path in photos]
    with opened() as paths:
        embed.transform(moved)
    assert {path: paths[path] for path in moved} == dict.fromkeys(moved, 1)
    for path in moved:  # a file that was written lately may have changed since
        os.utime(path, (1, 1))
    time.sleep(2.1)
    embed.transform(moved)
    with opened() as paths:
        embed.transform(moved)
    assert not paths.keys() & {*moved}


def test_equal_contents_that_cannot_be_decoded_are_each_told_of(embed, photos, tmp_path):
    bad = [tmp_path / f"{i}.jpg" for i in range(3)]
    for path in bad:
        path.write_text("text")
    with pytest.warns(UserWarning, match=r"3 of 4 images.*\n.*0.jpg.*\n.*1.jpg.*\n.*2.jpg"):
        rows = embed.set_params(on_error="nan").transform([*bad, photos[0]])
    np.testing.assert_array_equal(np.isnan(rows).any(axis=1), [True, True, True, False])


@pytest.mark.parametrize(
    "params",
    [
        {"layer": 0},
        {"layer": (-2, -1)},
        {"pooling": "mean"},
        {"scales": (1.0, 1.5)},
        {"image_size": 84},
        {"normalize": True},
        {"dtype": "float16"},
        {"exact_decode": True},
    ],
)
def test_settings_are_kept_apart(embed, photos, params):
    embed.transform(photos)
    other = DINOv2Transformer(embed.model_name, **params)
    np.testing.assert_array_equal(
        other.set_params(embedding_cache=embed.embedding_cache).transform(photos),
        DINOv2Transformer(embed.model_name, **params).transform(photos),
    )
    assert EmbeddingCache(embed.embedding_cache).info().n_settings == 2


def test_models_are_told_apart_by_their_weights(embed, photos, tmp_path):
    from safetensors.torch import load_file, save_file

    embed.transform(photos)
    folder = Path(shutil.copytree(embed.model_name, tmp_path / "model"))
    copied = DINOv2Transformer(str(folder), embedding_cache=embed.embedding_cache)
    copied.transform(photos)
    assert EmbeddingCache(embed.embedding_cache).info().n_settings == 1
    tensors = load_file(folder / "model.safetensors")
    tensors["layernorm.bias"] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_array_equal(
        copied.transform(photos), DINOv2Transformer(str(folder)).transform(photos)
    )


def test_images_in_memory_are_computed_and_not_kept(embed, photos):
    images = [Image.open(path).convert("RGB") for path in photos]
    rows = embed.transform([*images, photos[0]])
    np.testing.assert_array_equal(
        rows, DINOv2Transformer(embed.model_name).transform([*images, photos[0]])
    )
    assert EmbeddingCache(embed.embedding_cache).info().n_embeddings == 1


def test_failures_are_not_kept(embed, photos, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("text")
    embed.set_params(on_error="nan")
    for _ in range(2):
        with pytest.warns(UserWarning, match="2 of 3 images"):
            rows = embed.transform([photos[0], str(bad), "missing.jpg"])
        assert np.isnan(rows[1:]).all()
        assert np.isfinite(rows[0]).all()
    assert EmbeddingCache(embed.embedding_cache).info().n_embeddings == 1


def test_what_was_finished_before_an_error_is_kept(embed, photos, tmp_path, decoded):
    bad = tmp_path / "bad.jpg"
    bad.write_text("text")
    with pytest.raises(ValueError, match="bad"):
        embed.set_params(batch_size=1, num_workers=0).transform([*photos, str(bad)])
    decoded.clear()
    embed.transform(photos)
    assert decoded == []


def test_cache_that_is_a_file(embed, photos):
    with pytest.raises(ValueError, match="is a file. Name a folder"):
        embed.set_params(embedding_cache=photos[0]).transform(photos)


def _damage_header(file):
    file.write_bytes(b"this is no database" * 1000)


def _damage_middle(file):
    content = bytearray(file.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [_damage_header, _damage_middle])
def test_damaged_cache_warns_once_and_computes(embed, photos, damage):
    expected = embed.transform(photos)
    damage(Path(embed.embedding_cache) / "embeddings.sqlite3")
    with pytest.warns(UserWarning, match="cannot be used.*can be deleted") as caught:
        rows = embed.transform(photos)
    assert len(caught) == 1
    np.testing.assert_array_equal(rows, expected)


def test_flipped_bits_in_an_embedding_are_noticed(embed, photos):
    expected = embed.transform(photos)
    database = sqlite3.connect(Path(embed.embedding_cache) / "embeddings.sqlite3")
    with database:
        database.execute("UPDATE embeddings SET embedding = zeroblob(length(embedding))")
    database.close()
    np.testing.assert_array_equal(embed.transform(photos), expected)


def test_full_disk_warns_once_and_computes(embed, photos, monkeypatch):
    def full(self, rows):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(_cache.CacheSession, "_store", full)
    with pytest.warns(UserWarning, match="disk is full.*computed without it") as caught:
        rows = embed.set_params(batch_size=2).transform(photos)
    assert len(caught) == 1
    np.testing.assert_allclose(
        rows, DINOv2Transformer(embed.model_name).transform(photos), atol=1e-5
    )


def test_folder_that_cannot_be_made_warns_and_computes(embed, photos, tmp_path):
    (tmp_path / "file").touch()
    embed.set_params(embedding_cache=tmp_path / "file" / "cache")
    with pytest.warns(UserWarning, match="cannot be used"):
        assert np.isfinite(embed.transform(photos)).all()


def test_parameter_errors_leave_no_open_file(embed, photos):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="layer=99"):
            embed.set_params(layer=99).transform(photos)


def test_processes_share_a_cache(embed, photos):
    code = (
        "import sys, numpy as np; from dinov2_sklearn import DINOv2Transformer;"
        "model, cache, out, *paths = sys.argv[1:];"
        "t = DINOv2Transformer(model, embedding_cache=cache, batch_size=1);"
        "np.save(out, t.transform(paths))"
    )
    folder = Path(photos[0]).parent
    arguments = [embed.model_name, str(embed.embedding_cache)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, str(folder / "rows.npy"), *photos]
    )
    runs = [clone(embed).set_params(batch_size=1).transform(photos)]
    while process.poll() is None:
        EmbeddingCache(embed.embedding_cache).prune(0)
        runs.append(embed.transform(photos))
    assert process.returncode == 0
    expected = embed.transform(photos)
    for rows in [*runs, np.load(folder / "rows.npy")]:
        np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert EmbeddingCache(embed.embedding_cache).info().n_embeddings == 6


def test_grid_search_embeds_each_image_once(embed, photos, decoded, tmp_path):
    paths = []
    for i in range(30):
        paths.append(str(tmp_path / f"noise{i}.png"))
        pixels = np.random.default_rng(i).integers(0, 256, (60, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(paths[-1])
    pipe = Pipeline([("embed", embed), ("select", DiversitySampler(n_samples=5))])
    grid = {"select__strategy": ["random", "fps"], "select__n_samples": [3, 5]}
    GridSearchCV(pipe, grid, cv=5).fit(paths)
    assert sorted(decoded) == sorted(paths)


def test_prune(embed, photos):
    embed.transform(photos)
    cache = EmbeddingCache(embed.embedding_cache)
    assert cache.prune(unused_days=1).n_embeddings == 6
    left = cache.prune(unused_days=0)
    assert (left.n_embeddings, left.n_settings) == (0, 0)
    assert np.isfinite(embed.transform(photos)).all()


def test_prune_while_a_run_goes_on(embed, photos, monkeypatch):
    """What a run stores after its settings were pruned is never taken for that of others."""
    other = DINOv2Transformer(**{**embed.get_params(), "pooling": "mean"})
    store, pruned = _cache.CacheSession.store, []

    def prune_first(self, items):
        if not pruned:
            pruned.append(EmbeddingCache(embed.embedding_cache).prune(0))
            other.transform(photos[:2])
        store(self, items)

    monkeypatch.setattr(_cache.CacheSession, "store", prune_first)
    first = embed.set_params(batch_size=2).transform(photos)
    expected = DINOv2Transformer(embed.model_name, pooling="mean").transform(photos)
    np.testing.assert_allclose(other.transform(photos), expected, atol=1e-5)
    np.testing.assert_array_equal(embed.transform(photos), first)


@pytest.mark.parametrize("days", [-5, float("nan")])
def test_prune_of_no_number_of_days(tmp_path, days):
    with pytest.raises(ValueError, match="unused_days must be 0 or more"):
        EmbeddingCache(tmp_path).prune(days)


def test_each_failed_file_is_named_whatever_it_holds(embed, tmp_path):
    for name in ("e1.jpg", "e2.jpg"):
        (tmp_path / name).touch()
    paths = [str(tmp_path / "e1.jpg"), str(tmp_path / "e2.jpg"), "bad\ud800.jpg"]
    with pytest.warns(UserWarning, match=r"3 of 3 images.*\n.*e1.jpg.*\n.*e2.jpg.*\n.*ud800"):
        embed.set_params(on_error="nan").transform(paths)


def test_home_is_where_a_tilde_points(embed, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    embed.set_params(embedding_cache="~/kept").transform(photos)
    assert EmbeddingCache(tmp_path / "kept").info().n_embeddings == 6
    with pytest.raises(ValueError, match="embedding_cache is an empty text"):
        embed.set_params(embedding_cache="").transform(photos)


def test_info_and_prune_of_a_folder_without_a_cache(tmp_path):
    cache = EmbeddingCache(tmp_path / "none")
    assert cache.info() == cache.prune()
    assert cache.info().n_bytes == 0
    assert not (tmp_path / "none").exists()
