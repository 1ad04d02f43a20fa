"""Embeddings from a GPU are those of the CPU, whatever the precision, batches and workers."""

import os
import pickle
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from dinov2_sklearn import DINOv2Transformer, EmbeddingCache, extract_to_shards
from dinov2_sklearn.images import ImageDecodeError, load_image


@pytest.fixture(scope="module")
def expected(tiny_dinov2, photos):
    """The rows of the CPU in float32."""
    return DINOv2Transformer(tiny_dinov2, device="cpu", dtype="float32").transform(photos)


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_auto_is_the_gpu_in_the_precision_that_it_computes_in(gpu):
    import torch

    from dinov2_sklearn.backbone._loading import resolve_device, resolve_dtype

    assert resolve_device("auto").type == "cuda"
    native = torch.cuda.get_device_capability(gpu) >= (8, 0)
    assert resolve_dtype("auto", gpu) == (torch.bfloat16 if native else torch.float32)
    with pytest.raises(ValueError, match=r"'cuda:99' does not exist: this machine has \d+ GPU"):
        resolve_device("cuda:99")


@pytest.mark.parametrize("pooling", ["cls", "mean", "cls_mean"])
@pytest.mark.parametrize("scales", [(1.0,), (1.0, 1.5)])
def test_float32_rows_are_those_of_the_cpu(tiny_dinov2, photos, pooling, scales):
    embed = DINOv2Transformer(
        tiny_dinov2, dtype="float32", pooling=pooling, scales=scales, layer=(1, -1), normalize=True
    )
    rows = embed.set_params(device="cuda").transform(photos)
    np.testing.assert_allclose(rows, embed.set_params(device="cpu").transform(photos), atol=1e-4)


@pytest.mark.parametrize(("dtype", "least"), [("float16", 0.9999), ("bfloat16", 0.999)])
def test_half_precision_is_close_to_float32(tiny_dinov2, photos, expected, dtype, least):
    rows = DINOv2Transformer(tiny_dinov2, device="cuda", dtype=dtype).transform(photos)
    assert rows.dtype == np.float32
    assert cosines(rows, expected).min() > least
    # Each image is still nearest to itself.
    distances = ((rows[:, None] - expected[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(distances.argmin(axis=1), np.arange(len(photos)))


@pytest.mark.parametrize("batch_size", [1, 7, 90, 200])
@pytest.mark.parametrize("num_workers", [0, 5])
def test_rows_keep_their_places_whatever_the_batch(
    tiny_dinov2, photos, expected, batch_size, num_workers
):
    # Copies run beside the work and results are fetched late: a buffer that is used again too
    # early would show as rows of other images.
    embed = DINOv2Transformer(
        tiny_dinov2, device="cuda", dtype="float32", batch_size=batch_size, num_workers=num_workers
    )
    order = np.random.default_rng(batch_size).permutation(np.tile(np.arange(len(photos)), 4))
    # Of equal paths one would be computed; images in memory are all of them.
    images = [load_image(path) for path in photos]
    rows = embed.transform([images[i] for i in order])
    np.testing.assert_allclose(rows, expected[order], atol=1e-3)


def test_what_travels_is_pinned(tiny_dinov2, gpu):
    import torch

    from dinov2_sklearn.extraction._embedder import _Forward, _Rows

    recipe = DINOv2Transformer(tiny_dinov2, device="cuda")._extraction().recipe
    picture = np.full((56, 56, 3), 7, dtype=np.uint8)
    stack = _Forward(recipe, gpu, 2)._stack([picture, picture])
    assert stack.is_pinned()
    assert (stack == 7).all()
    assert _Rows(torch.zeros(2, 3, device=gpu))._rows.is_pinned()


def test_a_result_does_not_wait_for_the_batch_launched_since(gpu):
    import torch

    from dinov2_sklearn.extraction._embedder import _Rows

    large = torch.randn(8192, 8192, device=gpu)
    torch.cuda.synchronize(gpu)
    rows = _Rows(torch.ones(2, 3, device=gpu))
    for _ in range(30):  # a second or more of work
        large @ large
    end = torch.cuda.Event()
    end.record()
    np.testing.assert_array_equal(rows.wait(), np.ones((2, 3)))
    assert not end.query()


def test_unreadable_images_leave_the_others_in_their_places(
    tiny_dinov2, photos, expected, tmp_path
):
    Path(bad := str(tmp_path / "bad.jpg")).write_text("text")
    paths = [bad, *photos[:10], bad + "2", *photos[10:]]
    embed = DINOv2Transformer(
        tiny_dinov2, device="cuda", dtype="float32", batch_size=4, on_error="nan"
    )
    with pytest.warns(UserWarning, match="2 of 92 images could not be decoded"):
        rows = embed.transform(paths)
    assert np.isnan(rows[[0, 11]]).all()
    np.testing.assert_allclose(np.delete(rows, [0, 11], axis=0), expected, atol=1e-3)
    with pytest.raises(ImageDecodeError, match="bad.jpg"):
        embed.set_params(on_error="raise").transform(paths)


@contextmanager
def little_memory(gpu, n_bytes):
    """Leave so many bytes free of what this process may take of the GPU."""
    import torch

    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(gpu).total_memory
    allowed = (torch.cuda.memory_reserved(gpu) + n_bytes) / total
    torch.cuda.set_per_process_memory_fraction(allowed, gpu)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)


def test_memory_that_runs_out_halves_the_batch(tiny_dinov2, photos, gpu):
    embed = DINOv2Transformer(
        tiny_dinov2, device="cuda", dtype="float32", image_size=448, batch_size=len(photos)
    )
    expected = embed.transform(photos[:8])
    with (
        little_memory(gpu, 120 * 2**20),
        pytest.warns(UserWarning, match=r"Memory ran out with \d+ images at once") as told,
    ):
        rows = embed.transform(photos)
    assert "ran out with 90 images at once; going on with batch_size=45" in str(told[0].message)
    np.testing.assert_allclose(rows[:8], expected, atol=1e-3)
    assert np.isfinite(rows).all()


@pytest.mark.filterwarnings("ignore:Memory ran out")
def test_an_image_that_does_not_fit_is_an_error(tiny_dinov2, photos, gpu):
    embed = DINOv2Transformer(tiny_dinov2, device="cuda", dtype="float32", image_size=1400)
    embed.set_params(batch_size=4)
    with (
        little_memory(gpu, 8 * 2**20),
        pytest.raises(MemoryError, match="not enough memory for a single image"),
    ):
        embed.transform(photos[:4])
    assert np.isfinite(embed.transform(photos[:1])).all()


def test_memory_does_not_grow_with_the_images(tiny_dinov2, photos, gpu):
    import torch

    embed = DINOv2Transformer(tiny_dinov2, device="cuda", batch_size=8)

    def peak(paths):
        torch.cuda.reset_peak_memory_stats(gpu)
        embed.transform(paths)
        return torch.cuda.max_memory_allocated(gpu)

    peak(photos)
    assert peak(photos) <= 1.05 * peak(photos[:24])


def test_two_workers_share_one_gpu(tiny_dinov2, photos, expected, tmp_path):
    embed = DINOv2Transformer(
        tiny_dinov2, device=["cuda:0", "cuda:0"], dtype="float32", batch_size=5
    )
    np.testing.assert_allclose(embed.transform(photos), expected, atol=1e-3)
    shards = extract_to_shards(photos, tmp_path / "shards", embed, verbose=False)
    np.testing.assert_allclose(shards.embeddings, expected, atol=1e-3)


def test_a_gpu_and_the_cpu_share_the_work(tiny_dinov2, photos, expected):
    embed = DINOv2Transformer(tiny_dinov2, device=["cuda:0", "cpu"], dtype="float32", batch_size=5)
    np.testing.assert_allclose(embed.transform(photos), expected, atol=1e-3)


def test_cached_rows_are_those_that_were_computed(tiny_dinov2, photos, tmp_path):
    embed = DINOv2Transformer(
        tiny_dinov2, device="cuda", batch_size=8, embedding_cache=tmp_path / "cache"
    )
    first = embed.transform(photos)
    cache = EmbeddingCache(tmp_path / "cache")
    assert cache.info().n_embeddings == len(photos)
    np.testing.assert_array_equal(embed.transform(photos), first)
    assert cache.info().hits == len(photos)
    # Another precision is another embedding.
    embed.set_params(dtype="float32").transform(photos)
    assert cache.info().n_embeddings == 2 * len(photos)


def test_a_pickle_goes_where_there_is_no_gpu(tiny_dinov2, photos, expected, tmp_path):
    embed = DINOv2Transformer(tiny_dinov2, device="cuda", dtype="float32").fit(photos)
    embed.transform(photos[:2])
    (tmp_path / "embed.pkl").write_bytes(pickle.dumps(embed))
    code = (
        "import pickle, sys, warnings, numpy as np; warnings.simplefilter('ignore');"
        "embed = pickle.load(open('embed.pkl', 'rb'));"
        "np.save('rows.npy', embed.transform(sys.argv[1:]))"
    )

    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run(
        [sys.executable, "-c", code, *photos[:5]], check=True, cwd=tmp_path, env=environment
    )
    np.testing.assert_allclose(np.load(tmp_path / "rows.npy"), expected[:5], atol=1e-3)
