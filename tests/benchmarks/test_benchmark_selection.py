"""The selection benchmark runs, at a size that shows nothing about speed."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "selection.py"
PEERS = ("skmatter", "lightly_mundig", "fpsample")

in_repository = pytest.mark.skipif(not SCRIPT.exists(), reason="benchmarks are not packaged")


def rows_of(part):
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--part", part],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in run.stdout.splitlines() if line.startswith("| ")]


@in_repository
@pytest.mark.parametrize(
    ("part", "n_rows", "title"),
    [
        ("million", 6, "peak memory"),
        ("evidence", 10, "covering radius"),
        ("ratio", 14, "fps_ratio"),
        ("order", 10, "interleaved"),
    ],
)
def test_quick_run_prints_every_row(part, n_rows, title):
    rows = rows_of(part)
    assert len(rows) == n_rows
    assert any(title in row for row in rows)


@in_repository
@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in PEERS), reason="needs the bench extra"
)
def test_peers_that_are_exact_make_the_same_picks():
    rows = rows_of("speed")
    assert len(rows) == 8
    same = [row for row in rows if "exact farthest" in row and "fpsample" in row]
    assert "the same picks" in same[0]
