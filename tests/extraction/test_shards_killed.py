"""A run that is killed again and again ends with the bytes of one that never was."""

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinov2_sklearn import DINOv2Transformer, extract_to_shards, open_shards

pytestmark = pytest.mark.slow

N_IMAGES, N_KILLS = 600, 4


@pytest.fixture(scope="module")
def many_images(tmp_path_factory):
    """Small images, every tenth of them damaged."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    paths = [str(folder / f"{i:04}.png") for i in range(N_IMAGES)]
    for i, path in enumerate(paths):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
        if i % 10 == 3:
            Path(path).write_bytes(b"no image")
    return paths


def _extract(paths, folder, model):
    import torch

    torch.set_num_threads(1)
    embed = DINOv2Transformer(model, on_error="nan", image_size=28, num_workers=1)
    extract_to_shards(paths, folder, embed, shard_size=90, verbose=False)


def test_killed_at_random_moments(tiny_dinov2, many_images, tmp_path):
    # Processes that are forked from one which has torch loaded start within moments.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dinov2_sklearn.backbone._forward", "transformers"])

    def start(folder):
        process = context.Process(target=_extract, args=(many_images, folder, tiny_dinov2))
        process.start()
        return process

    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    start(tmp_path / "warm").join()
    began = time.monotonic()
    process = start(unbroken)
    process.join()
    seconds = time.monotonic() - began
    assert process.exitcode == 0

    rng = np.random.default_rng()
    n_kills = 0
    for _ in range(N_KILLS):
        process = start(killed)
        process.join(rng.uniform(0, 2 * seconds / N_KILLS) + 0.3 * seconds)
        n_kills += process.is_alive()
        process.kill()
        process.join()
    assert n_kills >= 1
    process = start(killed)
    process.join()
    assert process.exitcode == 0

    for name in ("embeddings.npy", "image_ids.jsonl", "manifest.json"):
        assert (killed / name).read_bytes() == (unbroken / name).read_bytes()
    assert {path.name for path in killed.iterdir()} == {path.name for path in unbroken.iterdir()}
    shards = open_shards(killed)
    failed = np.flatnonzero(np.isnan(shards.embeddings).any(axis=1))
    np.testing.assert_array_equal(failed, range(3, N_IMAGES, 10))
    assert [error["row"] for error in shards.errors] == failed.tolist()
