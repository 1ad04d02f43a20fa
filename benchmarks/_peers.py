"""Peers, each in an environment of its own, run as its authors would.

``peers/NAME.py`` has functions over arrays, and ``peers/NAME.txt`` what they need, pinned. The
environment lies in ``build/peers/NAME``: made when it is first asked for, and anew when the pins
change. A peer without pins runs in the environment of the benchmarks, in a process of its own.

    run = run_peer("skmatter", "farthest", X=X, n_picks=500, start=7)
    run.times, run.result, run.versions, run.peak_memory
"""

import json
import signal
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _run_peer import OUT_OF_MEMORY

__all__ = ["PeerRun", "PeerStopped", "have_peer", "make_peer", "run_peer"]

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / "build" / "peers"
# What `_run_peer.py` exits with, C++ where an allocation fails, and the system's own end of it.
NO_MEMORY = (OUT_OF_MEMORY, -signal.SIGABRT, -signal.SIGKILL)


@dataclass(frozen=True)
class PeerRun:
    """What a function of a peer took, and what it gave."""

    times: list[float]  # seconds of each run; loading the data and importing do not count
    result: Any  # an array, or a tuple of arrays
    versions: str  # such as "skmatter 0.4.1, numpy 2.4.6"
    peak_memory: float  # MB of the whole process


class PeerStopped(RuntimeError):
    """A peer took more time or memory than there is."""


def run_peer(
    name: str,
    function: str,
    *,
    n_runs: int = 3,
    enough: float = 20.0,
    limit: float | None = None,
    **arguments: Any,
) -> PeerRun:
    """Run ``function`` of ``peers/NAME.py`` some times, or until ``enough`` seconds are spent.

    Arrays among the arguments, and those of the result, travel as files; all else as JSON. A peer
    that runs out of memory, or longer than ``limit`` seconds, raises `PeerStopped`.
    """
    python = make_peer(name)
    with tempfile.TemporaryDirectory() as folder:
        asked = {"n_runs": n_runs, "enough": enough, "arguments": {}}
        for key, value in arguments.items():
            if isinstance(value, np.ndarray):
                np.save(Path(folder, f"{key}.npy"), value)
            else:
                asked["arguments"][key] = value
        Path(folder, "asked.json").write_text(json.dumps(asked), encoding="utf-8")
        # -P: a file named after the package that it imports must not stand in its way.
        command = [python, "-P", HERE / "_run_peer.py", HERE / "peers" / f"{name}.py", function]
        try:
            subprocess.run([*map(str, command), folder], check=True, timeout=limit)
        except subprocess.TimeoutExpired:
            raise PeerStopped(f"stopped after {limit:g} s") from None
        except subprocess.CalledProcessError as error:
            if error.returncode in NO_MEMORY:
                raise PeerStopped("out of memory") from None
            raise
        answer = json.loads(Path(folder, "answer.json").read_text(encoding="utf-8"))
        with np.load(Path(folder, "result.npz")) as arrays:
            result = tuple(arrays.values())
    return PeerRun(
        answer["times"],
        result if answer["is_tuple"] else result[0],
        ", ".join(f"{package} {version}" for package, version in answer["versions"].items()),
        answer["peak_memory"],
    )


def have_peer(name: str) -> bool:
    """Return whether the peer can run without anything being installed."""
    pins = _pins(name)
    return pins is None or (_stamp(name).exists() and _stamp(name).read_text() == pins)


def make_peer(name: str) -> Path:
    """Make the environment of a peer where there is none; return its Python."""
    pins = _pins(name)
    if pins is None:
        return Path(sys.executable)
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    if not have_peer(name):
        venv.create(folder, clear=True)
        pip = [sys.executable, "-m", "pip", "--python", python]
        install = ["install", "--quiet", "--prefer-binary", "-r", HERE / "peers" / f"{name}.txt"]
        subprocess.run([*pip, *install], check=True)
        _stamp(name).write_text(pins)
    return python


def _pins(name: str) -> str | None:
    file = HERE / "peers" / f"{name}.txt"
    return file.read_text(encoding="utf-8") if file.exists() else None


def _stamp(name: str) -> Path:
    return ENVIRONMENTS / name / "installed.txt"
