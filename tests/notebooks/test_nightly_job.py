"""The nightly job picks what is new, night after night."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "notebooks" / "nightly_job.py"


def _night(photos, state, model):
    command = [sys.executable, str(SCRIPT), str(photos), str(state), "--n", "2", "--model", model]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.skipif(not SCRIPT.exists(), reason="the script is in the repository only")
def test_two_nights(tiny_dinov2, image_folder, tmp_path):
    photos, state = tmp_path / "photos", tmp_path / "state"
    photos.mkdir()
    for path in image_folder[:4]:
        shutil.copy(path, photos)
    first = _night(photos, state, tiny_dinov2)
    assert first.returncode == 0, first.stderr
    for path in image_folder[4:]:
        shutil.copy(path, photos)
    (photos / "bad.jpg").write_text("text")
    second = _night(photos, state, tiny_dinov2)
    assert second.returncode == 3
    assert "bad.jpg" in second.stderr
    with (state / "picks.csv").open() as file:
        picks = list(csv.DictReader(file))
    assert [pick["night"] for pick in picks] == ["1", "1", "2", "2"]
    assert len({pick["filepath"] for pick in picks}) == 4
    _night(photos, state, tiny_dinov2)  # takes the last two
    assert "nothing is left to pick" in _night(photos, state, tiny_dinov2).stdout
    assert _night(tmp_path / "none", state, tiny_dinov2).returncode == 1
    for path in photos.iterdir():
        path.write_text("text")
    unreadable = _night(photos, state, tiny_dinov2)
    assert unreadable.returncode == 1
    assert "failed: none of the 7 images can be read" in unreadable.stderr
