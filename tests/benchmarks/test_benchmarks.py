"""Of each benchmark the quicker parts run, at a size that shows nothing about speed.

They run in this process, where torch and the rest are loaded already; `python benchmarks` itself
runs once. `python benchmarks --quick` runs all parts.
"""

import re
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.slow


def bench(*arguments):
    command = [sys.executable, str(BENCHMARKS), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def lines_of(monkeypatch, capsys):
    """Run a part as the command line would; return the lines of its tables."""

    def run(part):
        script, name = part.split("/")
        file = str(BENCHMARKS / f"{script}.py")
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        monkeypatch.setattr(sys, "argv", [file, "--part", name, "--quick"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peers', and those of tiny data
            runpy.run_path(file, run_name="__main__")
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]

    return run


@pytest.fixture
def rows_of(lines_of):
    """Run a part; return its rows by what was measured."""

    def run(part):
        table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines_of(part)]
        assert {len(row) for row in table} == {6}
        return {row[0]: row[1:] for row in table[2:]}

    return run


@pytest.mark.parametrize(
    ("part", "n_rows", "title"),
    [
        ("duplicates/million", 3, "clusters: rethreshold(0.98)"),
        ("selection/million", 4, "peak memory of all of these, beyond the data"),
        ("ray_extraction/decoding", 2, "decoding alone, one core, JPEGs of 400 x 300"),
    ],
)
def test_a_quick_run_prints_every_row(rows_of, part, n_rows, title):
    rows = rows_of(part)
    assert len(rows) == n_rows
    assert title in rows


@pytest.mark.parametrize(
    ("part", "n_measures"), [("labels", 5), ("bursts", 6), ("ratio", 5), ("order", 5)]
)
def test_evidence_is_printed(lines_of, part, n_measures):
    rows = lines_of(f"evidence/{part}")[2:]
    assert len(rows) >= 8
    assert all(row.count("±") == n_measures for row in rows)


def test_time_and_memory_of_ours_are_printed(lines_of):
    rows = lines_of("selection/scale")[2:]
    assert [row.split("|")[3].strip() for row in rows[:3]] == ["coverage", "hybrid", "fps"]
    assert all(" s |" in row for row in rows[:3])


def test_rounds_are_played(lines_of):
    rows = [line for line in lines_of("rounds/accuracy") if line.startswith("| digits")]
    assert len(rows) >= 6
    assert all(row.count("±") == 6 for row in rows)
    for row in lines_of("rounds/quality")[2:]:
        assert float(row.split("|")[4]) > 0.9


def test_embeddings_are_those_of_plain_transformers(rows_of):
    for work, (lowest, goal, *_) in rows_of("extraction/fidelity").items():
        assert float(lowest) > 0.999, work
        assert "missed" not in goal, work


def test_a_grid_search_embeds_each_image_once(rows_of):
    work = "GridSearchCV, 12 candidates x 5 folds, 20 images: images embedded"
    assert rows_of("extraction/caching")[work][0] == "20"


def test_a_picture_is_opened_once_for_its_boxes(rows_of):
    rows = rows_of("extraction/boxes")
    (times,) = (row for work, row in rows.items() if work.endswith("how often a file is opened"))
    assert times[0] == "1"


def test_attention_is_that_of_eager(rows_of):
    rows = rows_of("attention/speed")
    assert len(rows) == 4
    assert float(rows["largest difference of an attention"][0]) < 1e-5


def test_choosing_in_two_levels_covers_nearly_as_well(rows_of):
    pytest.importorskip("ray")
    for work, (ratio, *_) in rows_of("ray_extraction/two-levels").items():
        assert 0.5 <= float(ratio.removesuffix(" x")) < 2, work


def test_peers_and_ours_choose_and_group_the_same_rows(rows_of):
    rows = rows_of("selection/speed")
    (loop,) = (row for work, row in rows.items() if work.endswith("10 picks: numpy"))
    assert loop[-1] == "the same picks"
    (kmeans,) = (row for work, row in rows.items() if work.endswith("scikit-learn's KMeans"))
    assert abs(float(re.search(r"our inertia (\S+)%", kmeans[-1])[1])) < 10


def test_a_part_that_is_run_again_replaces_its_section_only(tmp_path):
    results = tmp_path / "results.md"
    results.write_text(
        "# What was measured\n\n## Slower or larger than wished\n\nNothing.\n\n"
        "## evidence/order\n\nearlier | 1 x | ≥ 2 **missed** |\n\n"
        "## attention/speed\n\n| slow | 1.2 x | ≥ 2 **missed** | 3 s |\n",
        encoding="utf-8",
    )
    run = bench("evidence/order", "--quick", "--output", results)
    assert run.returncode == 0, run.stderr
    text = results.read_text(encoding="utf-8")
    assert "earlier" not in text
    assert text.index("interleaved") < text.index("## attention/speed\n\n| slow | 1.2 x")
    assert text.count("# What was measured") == 1
    # What fell short comes first.
    assert "wished\n\n- attention/speed: slow | 1.2 x | ≥ 2 **missed**\n" in text


def test_an_unknown_benchmark_is_named(tmp_path):
    run = bench("selection/spede", "--output", tmp_path / "results.md")
    assert run.returncode == 2
    assert "no such benchmark: selection/spede" in run.stderr
    assert not list(tmp_path.iterdir())


def test_what_a_gpu_is_measured_with_runs_without_one(tmp_path):
    command = [sys.executable, BENCHMARKS / "gpu.py", "--quick", "--output", tmp_path / "gpu.md"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    text = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    for title in ("Decoding alone", "From JPEG files", "Computing alone"):
        rows = [line for line in text.split(f"## {title}")[1].splitlines() if line.startswith("|")]
        assert len(rows) >= 3, title
