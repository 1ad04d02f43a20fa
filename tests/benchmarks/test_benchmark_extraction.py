"""The benchmark runs, at a size that shows nothing about speed."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "extraction.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="benchmarks are in the repository only")
def test_quick_run_prints_every_row():
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick"], capture_output=True, text=True, check=True
    )
    rows = [line for line in run.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 19
    for title, count in (("images embedded", "20"), ("exact_decode=True", "1.000000")):
        assert any(title in row and f"| {count} |" in row for row in rows)
