"""Run one function of a peer's script in the peer's environment: what `_peers.run_peer` starts.

    python -P _run_peer.py SCRIPT FUNCTION FOLDER

Needs numpy alone, and runs on whatever Python the peer needs.
"""

import json
import resource
import runpy
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent))
from _common import peak_memory, repeated

OUT_OF_MEMORY = 77


def main(script: Path, function: str, folder: Path) -> None:
    work = runpy.run_path(str(script))[function]
    asked = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
    arguments = asked["arguments"] | {file.stem: np.load(file) for file in folder.glob("*.npy")}
    results = []

    def run() -> None:
        results[:] = [work(**arguments)]

    hold_memory()
    try:
        times = repeated(run, asked["n_runs"], asked["enough"])
    except MemoryError:
        sys.exit(OUT_OF_MEMORY)
    (result,) = results
    arrays = result if isinstance(result, tuple) else (result,)
    np.savez(folder / "result.npz", *map(np.asarray, arrays))
    answer = {
        "times": times,
        "is_tuple": isinstance(result, tuple),
        "versions": versions(script.with_suffix(".txt")),
        "peak_memory": peak_memory(),
    }
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def hold_memory() -> None:
    """Let what asks for more memory than there is fail, and no other process be ended for it."""
    try:
        with open("/proc/meminfo") as file:  # noqa: PTH123
            free = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return
    used = int(1e6 * peak_memory())
    resource.setrlimit(resource.RLIMIT_DATA, (used + 1024 * free,) * 2)


def versions(pins: Path) -> dict[str, str]:
    """Versions of what is pinned, as they are installed."""
    if not pins.exists():
        return {}
    lines = pins.read_text(encoding="utf-8").splitlines()
    names = [line.split("==")[0] for line in lines if line and not line.startswith("#")]
    return {name: version(name) for name in names}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
