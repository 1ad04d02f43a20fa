"""What the documents show runs, page by page and in order, and their links lead somewhere.

Blocks of Python and lines that begin with ``dinov2-sklearn`` run as they stand, in a folder with
photographs, but for the checkpoint: the published ones need the hub. A tiny one takes their place,
as nothing here is about what a model knows.
"""

import re
import shlex
import shutil
import textwrap
from pathlib import Path

import pytest
from PIL import Image

from dinov2_sklearn import load_selection
from dinov2_sklearn.cli import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NAMES = ("embed", "formats", "objects", "duplicates", "map", "choose", "look")
NAMES += ("label_rounds", "batches")
GUIDE = [f"docs/guide/{name}.md" for name in NAMES]
# To a model that knows nothing, all photographs look alike.
STRICTER = {
    "docs/guide/duplicates.md": {"0.95": "0.9999", "(0.8)": "(0.999)"},
    "docs/from_tools.md": {"0.95": "0.9999"},
    "docs/guide/label_rounds.md": {
        "quality(embeddings, y)": "quality(embeddings, y, min_similarity=1)"
    },
}
PAGES = [
    "README.md",
    "docs/index.md",
    *GUIDE,
    "docs/guide/command_line.md",
    "docs/from_scripts.md",
    "docs/from_tools.md",
    "docs/troubleshooting.md",
]
WRITTEN = {
    "README.md": ("map.png", "map.html", "pipe.joblib"),
    "docs/guide/look.md": ("attention.png", "attention.html", "heads.png"),
}
BLOCK = re.compile(r"^( *)```(python|bash)\n(.*?)^\1```", flags=re.DOTALL | re.MULTILINE)
# What stands at the root or in benchmarks/ is read where the repository is; Sphinx checks the rest.
LINKED = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder of sixty small crops, and a cache in which each is embedded once for all pages."""
    from sklearn.datasets import load_sample_images

    folder = tmp_path_factory.mktemp("shared")
    (folder / "photos").mkdir()
    (folder / "cache").mkdir()
    images = [Image.fromarray(image) for image in load_sample_images().images]
    for i in range(60):
        left, top = 8 * i, 4 * (i % 40)
        crop = images[i % 2].crop((left, top, left + 160, top + 140))
        crop.save(folder / "photos" / f"frame{i:02d}.jpg")
    return folder


@pytest.fixture
def here(shared, tmp_path, monkeypatch):
    """A current directory with `photos/` and `cache/` in it."""
    shutil.copytree(shared / "photos", tmp_path / "photos")
    (tmp_path / "cache").symlink_to(shared / "cache")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run_page(page, model):
    """Run a page; return how many blocks and commands there were."""
    namespace, count = {}, 0
    for _, language, block in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        if language == "python":
            code = textwrap.dedent(block).replace("facebook/dinov2-base", model)
            for lax, strict in STRICTER.get(page, {}).items():
                code = code.replace(lax, strict)
            exec(compile(code, page, "exec"), namespace)
            count += 1
            continue
        for line in block.splitlines():
            if line.strip().startswith("dinov2-sklearn "):
                _run_command(shlex.split(line)[1:], model)
                count += 1
    return count


def _run_command(arguments, model):
    if arguments[0] in ("extract", "patches"):
        arguments = [*arguments, "--model", model]  # the last one counts
    assert main(arguments) == 0


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_runs(page, here, local_ray, tiny_dinov2, capsys, request):
    if page == "docs/guide/objects.md":
        request.getfixturevalue("write_clip")("clip.mp4", rate=4, n_frames=12, step=20)
    assert _run_page(page, tiny_dinov2) > 0
    for name in WRITTEN.get(page, ()):
        assert (here / name).stat().st_size > 1000, name
    if page == "README.md":
        assert "frame" in capsys.readouterr().out
    if page == "docs/guide/command_line.md":
        picks = [set(load_selection(here / f"round{i}.csv")) for i in (1, 2)]
        assert [len(rows) for rows in picks] == [20, 20]
        assert not picks[0] & picks[1]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 160


def _links():
    for page in LINKED:
        path = ROOT / page
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for target in re.findall(r"\]\(((?!https?:|mailto:)[^)\s]+)\)", text):
            yield pytest.param(path, target, id=f"{page}:{target}")


@pytest.mark.parametrize(("page", "target"), list(_links()))
def test_relative_links_lead_somewhere(page, target):
    name, _, anchor = target.partition("#")
    linked = page.parent / name if name else page
    assert linked.exists()
    if anchor:
        assert anchor in _anchors(linked)


def _anchors(page):
    """The anchors that a renderer of Markdown gives to headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
