"""The benchmark runs, and what it compares is the same attention."""

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "attention.py"


def test_quick_run():
    result = subprocess.run(
        [sys.executable, SCRIPT, "--quick"], capture_output=True, text=True, check=True
    )
    assert float(re.search(r"largest difference of an attention: (\S+)", result.stdout)[1]) < 1e-5
    for line in (
        r"ours is [\d.]+ times as fast as eager",
        r"ours is [\d.]+ times as fast as the bare forward",
        r"ours is [\d.]+ of eager's process",
    ):
        assert re.search(line, result.stdout), line
