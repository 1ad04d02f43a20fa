"""The nightly job picks what is new, night after night."""

import csv
import runpy
import shutil
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "notebooks" / "nightly_job.py"


@pytest.fixture
def night(tmp_path, tiny_dinov2, monkeypatch, capsys):
    """Run the job on a folder; return its exit status, and what it said."""

    def run(photos):
        state = str(tmp_path / "state")
        arguments = [str(photos), state, "--n", "2", "--model", tiny_dinov2]
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return stop.value.code, *capsys.readouterr()

    return run


@pytest.mark.skipif(not SCRIPT.exists(), reason="the script is in the repository only")
def test_two_nights(night, image_folder, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in image_folder[:4]:
        shutil.copy(path, photos)
    status, _, errors = night(photos)
    assert status == 0, errors
    for path in image_folder[4:]:
        shutil.copy(path, photos)
    (photos / "bad.jpg").write_text("text")
    status, _, errors = night(photos)
    assert status == 3
    assert "bad.jpg" in errors
    with (tmp_path / "state" / "picks.csv").open() as file:
        picks = list(csv.DictReader(file))
    assert [pick["night"] for pick in picks] == ["1", "1", "2", "2"]
    assert len({pick["filepath"] for pick in picks}) == 4
    night(photos)  # takes the last two
    assert "nothing is left to pick" in night(photos)[1]
    assert night(tmp_path / "none")[0] == 1
    for path in photos.iterdir():
        path.write_text("text")
    status, _, errors = night(photos)
    assert status == 1
    assert "failed: none of the 7 images can be read" in errors
