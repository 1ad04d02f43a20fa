"""Several devices give the rows of one, in order, and their failures are told."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinov2_sklearn import DINOv2Transformer, EmbeddingCache, extract_to_shards
from dinov2_sklearn.backbone._loading import resolve_devices
from dinov2_sklearn.images import ImageDecodeError

pytestmark = pytest.mark.slow

TWO = ["cpu", "cpu"]


@pytest.fixture(scope="module")
def noise(noise):
    """Half of the images: enough for all workers."""
    return noise[:60]


def test_two_devices_give_the_rows_of_one(tiny_dinov2, noise, tmp_path):
    embed = DINOv2Transformer(tiny_dinov2, batch_size=4)
    expected = embed.transform(noise)
    embed.set_params(device=TWO, on_error="nan", embedding_cache=tmp_path / "cache")
    embed.set_params(max_pixels=5000)
    content = Path(noise[0]).read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    Image.new("RGB", (100, 100)).save(tmp_path / "large.png")
    image = Image.open(noise[2]).convert("RGB")
    with (
        Image.open(tmp_path / "cut.png") as cut,
        pytest.warns(UserWarning, match=r"2 of 63 images.*\n.*large.png"),
    ):
        rows = embed.transform([*noise[:30], str(tmp_path / "large.png"), *noise[30:], cut, image])
    np.testing.assert_allclose(np.delete(rows, [30, 61, 62], axis=0), expected, atol=1e-5)
    np.testing.assert_allclose(rows[62], expected[2], atol=1e-5)
    assert np.isnan(rows[[30, 61]]).all()
    assert EmbeddingCache(tmp_path / "cache").info().n_embeddings == 60
    # Shards come from the same workers, and from the cache what it has.
    (tmp_path / "bad.png").write_text("text")
    embed.set_params(embedding_cache=None, on_error="raise")
    with pytest.raises(ImageDecodeError, match="bad.png"):
        extract_to_shards(
            [*noise[:20], str(tmp_path / "bad.png")], tmp_path / "shards", embed, verbose=False
        )


def _workers(pid):
    """Return the child processes that compute for a device."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    names = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return [child for child, name in names.items() if b"loky" in name and b"tracker" not in name]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
@pytest.mark.parametrize("victim", ["worker", "parent"])
def test_processes_end_with_each_other(tiny_dinov2, noise, tmp_path, victim):
    # No guard for __main__: a user's script may have none.
    code = (
        "import sys; from dinov2_sklearn import DINOv2Transformer, list_images;"
        f"embed = DINOv2Transformer({tiny_dinov2!r}, device={TWO}, batch_size=1, verbose=True);"
        "embed.transform(list_images(sys.argv[1]))"
    )
    for i in range(1500):
        (tmp_path / f"{i}.png").symlink_to(noise[i % len(noise)])
    command = [sys.executable, "-c", code, tmp_path]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    shown = b""
    while not re.search(rb" [1-9]\d*/1500 ", shown):  # both have begun to work
        shown += os.read(process.stderr.fileno(), 1000)
        assert process.poll() is None
    workers = _workers(process.pid)
    assert len(workers) == 2
    os.kill(process.pid if victim == "parent" else workers[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=200)
    if victim == "worker":
        assert process.returncode == 1
        assert b"The worker process of device 'cpu' died" in stderr
        assert b"SIGKILL" in stderr
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ([], "device must be a name such as 'cuda:0', or a list of names"),
        (["cpu", 0], "device must be a name such as 'cuda:0', or a list of names"),
        (["cpu", "tpu7"], "'tpu7' is no device"),
    ],
)
def test_bad_devices(tiny_dinov2, noise, device, message):
    with pytest.raises(ValueError, match=message):
        DINOv2Transformer(tiny_dinov2, device=device).transform(noise)


def test_cpu_stands_in_once_for_absent_devices():
    import torch

    if torch.cuda.is_available():
        pytest.skip("the devices are there")
    with pytest.warns(UserWarning, match="is not available"):
        assert len(resolve_devices(["cuda:0", "cuda:1"])) == 1
    assert len(resolve_devices(["cpu", "cpu", "auto"])) == 3
