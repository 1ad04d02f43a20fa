"""Every Python block of the README runs, in order, in one session."""

import re
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.slow

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of sixty small crops, as `photos/` in the current directory."""
    from sklearn.datasets import load_sample_images

    (tmp_path / "photos").mkdir()
    images = [Image.fromarray(image) for image in load_sample_images().images]
    for i in range(60):
        left, top = 8 * i, 4 * (i % 40)
        crop = images[i % 2].crop((left, top, left + 160, top + 140))
        crop.save(tmp_path / "photos" / f"frame{i:02d}.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_blocks_run(photos, capsys):
    assert len(BLOCKS) >= 8
    namespace = {}
    for block in BLOCKS:
        # The published checkpoint needs the hub; everything else runs as it stands.
        exec(block.replace("facebook/dinov2-base", "offline"), namespace)
    printed = capsys.readouterr().out
    assert "frame" in printed
    for name in ("map.png", "map.html", "pipe.joblib", "attention.png"):
        assert (photos / name).stat().st_size > 1000, name


@pytest.mark.parametrize("target", re.findall(r"\]\(((?!http|#)[^)]+)\)", README.read_text()))
def test_relative_links_lead_somewhere(target):
    assert (README.parent / target).exists()
