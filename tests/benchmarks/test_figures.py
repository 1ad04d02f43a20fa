"""What the documents cite is what RESULTS.md says was measured."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        return importlib.import_module("_figures")


def test_documents_cite_what_was_measured(figures):
    sections = figures.read_sections(figures.RESULTS)
    for name in figures.DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        written = figures.with_figures(text, sections)
        assert written == text, "`python benchmarks --figures` mends this"


def test_pictures_show_what_was_measured(figures):
    sections = figures.read_sections(figures.RESULTS)
    for name, section in figures.PICTURES.items():
        rows = figures.read_rows(sections, section)
        assert figures.is_drawn(name, rows), "`python benchmarks --figures` mends this"
        assert not figures.is_drawn(name, rows[:-1])


def test_a_figure_comes_from_its_row(figures):
    sections = {
        "projection/fit": "| work | measured |\n| --- | --- |\n"
        "| 100,000 x 384, fresh process, seeded | 20.61 x (20 to 21) | ≥ 1.5 | 3 s | 61.8 s |  |",
        "attention/memory": "| work | measured |\n| --- | --- |\n"
        "| peak memory, 12 layers at 518 px, batch 8, beyond the loaded model: "
        "ours / eager's | 0.25 x | ≤ 0.2 **missed** | 1 MB | 4 MB |  |",
    }
    text = "Before.\n<!-- measured: speed -->\nold\n<!-- end -->\nAfter.\n"
    written = figures.with_figures(text, sections)
    assert written.startswith("Before.\n<!-- measured: speed -->\n| work | beside | ratio |\n")
    assert "| umap-learn | 21 |\n" in written
    assert "| 4 |\n" in written  # memory is measured the other way round
    assert "old" not in written
    assert figures.with_figures(written, sections) == written
