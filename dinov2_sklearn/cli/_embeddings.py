"""Embeddings as commands take them: a file or a folder of shards, without rows that are missing."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Loaded", "add_embeddings", "load"]

_BLOCK = 65_536


class Loaded(NamedTuple):
    """Rows of numbers, the images that they belong to, and the images that have none.

    `numbers` are those of the rows in the file, where rows that are missing count too.
    """

    rows: "np.ndarray"
    paths: list[str]
    numbers: "np.ndarray"
    model_name: str
    skipped: list[dict[str, Any]]


def add_embeddings(command: argparse.ArgumentParser) -> None:
    """Add where the embeddings are."""
    command.add_argument(
        "--embeddings",
        required=True,
        type=Path,
        metavar="F",
        help="what `extract` wrote: a .pt, .npz or .parquet file, or a folder of shards",
    )


def load(path: Path) -> Loaded:
    """Read embeddings, leaving out rows of NaN."""
    import numpy as np

    from ..io import open_shards
    from ..io._embeddings import load_embeddings

    found = open_shards(path) if path.is_dir() else load_embeddings(path)
    rows = found.embeddings
    if len(rows) == 0:
        raise ValueError(f"{str(path)!r} holds no embeddings.")
    # In blocks, since the rows may be more than fit into memory.
    starts = range(0, len(rows), _BLOCK)
    finite = np.concatenate([np.isfinite(rows[s : s + _BLOCK]).all(axis=1) for s in starts])
    if finite.all():
        return Loaded(rows, found.image_ids, np.arange(len(rows)), found.model_name, [])
    if not finite.any():
        raise ValueError(f"{str(path)!r} holds no row without NaN or infinity.")
    causes = {error["row"]: error["cause"] for error in getattr(found, "errors", [])}
    skipped = [
        {"image_id": found.image_ids[row], "cause": causes.get(row, "its embedding has no numbers")}
        for row in np.flatnonzero(~finite).tolist()
    ]
    paths = [path for path, keep in zip(found.image_ids, finite, strict=True) if keep]
    return Loaded(rows[finite], paths, np.flatnonzero(finite), found.model_name, skipped)
