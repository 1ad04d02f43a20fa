"""What the benchmarks share: parts on the command line, timing in turns, tables of ratios."""

import argparse
import datetime
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from statistics import median

__all__ = [
    "MISSED",
    "Goal",
    "Results",
    "Table",
    "alternate",
    "at_least",
    "at_most",
    "machine",
    "peak_memory",
    "repeated",
    "run_parts",
    "seconds",
]

MISSED = "**missed**"
# Settings that hold OpenBLAS to one kernel; figures are of the kernel that fits the machine.
HELD_KERNEL = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
Show = Callable[[float], str]
Times = list[float]


def run_parts(
    script: str,
    doc: str,
    parts: dict[str, Callable[[bool], None]],
    long_parts: dict[str, Callable[[bool], None]] | None = None,
) -> None:
    """Read the command line of a benchmark and run its parts, each given whether to be quick.

    Long parts run only where they are named.
    """
    usual, parts = list(parts), parts | (long_parts or {})
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--part", choices=parts, action="append", help="one part only")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: that it runs")
    options = parser.parse_args()
    if not options.quick:
        _free_kernel()
    chosen = options.part or usual
    if len(chosen) == 1:
        print(f"{datetime.date.today()}: {machine()}\n", flush=True)
        parts[chosen[0]](options.quick)
        return
    # Processes of their own: each part starts with its memory and its caches untouched.
    for part in chosen:
        print(f"\n{part}", flush=True)
        quick = ["--quick"] if options.quick else []
        subprocess.run([sys.executable, script, "--part", part, *quick], check=True)


def _free_kernel() -> None:
    """Start this benchmark anew where the kernel of OpenBLAS was held; peers inherit that."""
    if any(name in os.environ for name in HELD_KERNEL):
        kept = {name: value for name, value in os.environ.items() if name not in HELD_KERNEL}
        os.execve(sys.executable, sys.orig_argv, kept)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def repeated(work: Callable[[], object], n_runs: int = 3, enough: float = 20.0) -> Times:
    """Time the work ``n_runs`` times, or until some seconds have been spent on it."""
    times: Times = []
    while len(times) < n_runs and sum(times) < enough:
        times.append(seconds(work))
    return times


def alternate(works: dict[str, Callable[[], object]], n_rounds: int) -> dict[str, Times]:
    """Time each work once a round, so that a machine's moods fall on all of them."""
    for work in works.values():
        work()  # loads models, fills the disk's cache
    times: dict[str, Times] = {name: [] for name in works}
    for _ in range(n_rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
    return times


class Table:
    """Rows of a Markdown table, printed as they come."""

    def __init__(self, *columns: str) -> None:
        self.n_columns = len(columns)
        print("| " + " | ".join(columns) + " |")
        print("| --- " * len(columns) + "|", flush=True)

    def add(self, *cells: object) -> None:
        cells += ("",) * (self.n_columns - len(cells))
        print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


@dataclass(frozen=True)
class Goal:
    """What a measured number should reach."""

    sign: str
    bound: float

    def judge(self, value: float) -> str:
        reached = value >= self.bound if self.sign == "≥" else value <= self.bound
        return f"{self.sign} {self.bound:g}" + ("" if reached else f" {MISSED}")


def at_least(bound: float) -> Goal:
    return Goal("≥", bound)


def at_most(bound: float) -> Goal:
    return Goal("≤", bound)


class Results(Table):
    """A table of what was measured beside what was wished."""

    def __init__(self) -> None:
        super().__init__("work", "measured", "goal", "ours", "peer", "note")

    def value(
        self, work: str, value: float, show: Show = "{:g}".format, goal: Goal | None = None, **cells
    ) -> None:
        self._add(work, show(value), "" if goal is None else goal.judge(value), **cells)

    def ratio(
        self, work: str, ours: Times, peer: Times, show: Show, goal: Goal | None = None, **cells
    ) -> None:
        """Add how many times as long the peer took: of the medians, and the range over all runs."""
        ratio = median(peer) / median(ours)
        measured = f"{ratio:.2f} x"
        if len(ours) > 1:
            measured += f" ({min(peer) / max(ours):.2f} to {max(peer) / min(ours):.2f})"
        judged = "" if goal is None else goal.judge(ratio)
        self._add(work, measured, judged, show(median(ours)), show(median(peer)), **cells)

    def _add(
        self, work: str, measured: str, goal: str, ours: str = "", peer: str = "", note: str = ""
    ) -> None:
        self.add(work, measured, goal, ours, peer, note)


def peak_memory() -> float:
    """Return the largest size in MB that this process has had."""
    try:  # unlike ru_maxrss, this knows nothing of the process that started this one
        with open("/proc/self/status") as file:  # noqa: PTH123
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1e3
    except (OSError, StopIteration):
        scale = 1e6 if sys.platform == "darwin" else 1e3
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def machine() -> str:
    """Name the processor, its cores, the GPU, the kernel of BLAS and the versions that count."""
    import torch
    from threadpoolctl import threadpool_info

    packages = ["torch", "transformers", "scikit-learn", "numpy", "pillow"]
    if find_spec("umap"):  # of the extra "bench", which the tests go without
        packages.append("umap-learn")
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    kernels = {pool.get("architecture") for pool in threadpool_info()} - {None}
    return (
        f"{_processor()}, {torch.get_num_threads()} threads{gpu}, "
        f"BLAS for {' and '.join(sorted(kernels))}; Python "
        f"{platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages)
    )


def _processor() -> str:
    import torch

    from dinov2_sklearn.backbone._loading import resolve_dtype

    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
            name = next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        name = platform.processor()
    native = resolve_dtype("auto", torch.device("cpu")) == torch.bfloat16
    bfloat16 = "bfloat16" if native else "no bfloat16"
    return f"{name} ({torch.backends.cpu.get_cpu_capability()}, {bfloat16})"
