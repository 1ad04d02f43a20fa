"""What the benchmarks share: timing in turns, and a table of ratios that names the machine."""

import platform
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

__all__ = ["Table", "alternate", "machine", "seconds"]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(works: dict[str, Callable[[], object]], n_rounds: int) -> dict[str, list[float]]:
    """Time each work once a round, so that a machine's moods fall on all of them."""
    for work in works.values():
        work()  # loads models, fills the disk's cache
    times: dict[str, list[float]] = {name: [] for name in works}
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

    def add_ratio(
        self, work: str, ours: list[float], peer: list[float], show: Callable[[float], str]
    ) -> None:
        """Add how many times as long the peer took: the median over rounds, and its range."""
        ratios = np.asarray(peer) / np.asarray(ours)
        ratio = f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
        self.add(work, ratio, show(float(np.median(ours))), show(float(np.median(peer))))


def machine() -> str:
    """Name the processor, its cores, the GPU and the versions that count."""
    import torch

    packages = ["torch", "transformers", "scikit-learn", "numpy", "pillow"]
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{_processor()}, {torch.get_num_threads()} threads{gpu}; Python "
        f"{platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages)
    )


def _processor() -> str:
    import torch

    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
            name = next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        name = platform.processor()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"
