"""The projection benchmark runs; what it shows is for its full sizes."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "projection.py"


def test_the_quick_run_fills_its_table():
    # The parts that need not wait for umap's compiler.
    command = [sys.executable, str(SCRIPT), "--quick", "transform", "page"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    lines = [line for line in run.stdout.splitlines() if line.startswith("| ")]
    assert [line.count("|") for line in lines] == [5] * len(lines)
    for work in ("first call", "alone", "pickle", "page for 50 images"):
        assert any(work in line for line in lines), work
