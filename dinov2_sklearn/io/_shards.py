"""Folders of embeddings, opened: those that are one file of rows and those of parquet files."""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._embeddings import Embeddings
from ._formats import EmbeddingsFileError
from ._manifest import (
    EMBEDDINGS,
    IMAGE_IDS,
    PARQUET_SHARDS,
    ids_digest,
    manifest_file,
    read_ids,
    read_manifest,
    shard_bounds,
    shard_files,
)
from ._parquet import read_shard
from ._shard_folder import verify_rows

__all__ = ["Shards", "open_shards"]


@dataclass(frozen=True, eq=False, repr=False)
class Shards(Embeddings):
    """Embeddings on the disk, as `extract_to_shards` and `extract_with_ray` leave them.

    Attributes
    ----------
    embeddings : memmap or ndarray of shape (n_images, n_features), float32
        One row an image. Those of `extract_to_shards` are read from the disk where they are used,
        and cannot be written to; those of `extract_with_ray` are in memory.
    image_ids : list of str, of length n_images
        The path of each image.
    model_name : str
        The model that made them.
    timestamp : str
        When they were finished, ISO 8601.
    metadata : dict
        The settings that they were made with.
    errors : list of dict
        The images that could not be decoded, whose rows are NaN: ``row``, ``image_id`` and
        ``cause`` of each. ``pandas.DataFrame(errors)`` makes a table of it.

    See Also
    --------
    open_shards : Opens them.
    """

    errors: list[dict[str, Any]] = field(default_factory=list)


class _Opened(NamedTuple):
    ids: list[str]
    rows: NDArray[np.float32]
    causes: dict[int, str]
    finished: float


def open_shards(folder: str | os.PathLike[str], *, verify: bool = False) -> Shards:
    """Open the embeddings that `extract_to_shards` or `extract_with_ray` has finished.

    Parameters
    ----------
    folder : path-like
        The folder. It may have been moved or copied.
    verify : bool, default=False
        Whether to hold all rows to their checksums, and read them all for that. Otherwise what is
        checked is that all are there, and the ids.

    Returns
    -------
    Shards
        All rows as one array, which estimators take like any other, and their ids. The rows of
        `extract_to_shards` are memory-mapped; those of `extract_with_ray` are read into memory,
        which takes 4 bytes a number.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or it holds no shards.
    EmbeddingsFileError
        If the extraction is not finished, or a file is damaged. It is a ``ValueError``.

    See Also
    --------
    extract_to_shards : Makes them.
    extract_with_ray : Makes them on a cluster, as parquet files.

    Examples
    --------
    >>> from dinov2_sklearn import open_shards
    >>> open_shards("nowhere/")
    Traceback (most recent call last):
        ...
    FileNotFoundError: There is no folder 'nowhere'.
    """
    folder = Path(folder).expanduser()
    if not manifest_file(folder).is_file():
        raise FileNotFoundError(
            f"{str(folder)!r} is no folder of shards: it has no manifest. Make one with "
            "extract_to_shards or extract_with_ray."
            if folder.is_dir()
            else f"There is no folder {str(folder)!r}."
        )
    try:
        manifest = read_manifest(folder)
    except ValueError as error:
        raise EmbeddingsFileError(str(error)) from None
    is_parquet = manifest["format"] == PARQUET_SHARDS
    opened = _read_parquet(folder, manifest, verify) if is_parquet else _map(folder, manifest)
    ids, rows, causes, finished = opened
    if verify and not is_parquet and not verify_rows(rows, manifest):
        raise EmbeddingsFileError(
            f"Rows in {str(folder / EMBEDDINGS)!r} are damaged. Call extract_to_shards with the "
            "same arguments as before, and it makes them again."
        )
    return Shards(
        rows,
        ids,
        manifest["model_name"],
        datetime.fromtimestamp(finished, UTC).isoformat(timespec="seconds"),
        {"settings": manifest["settings"]},
        [{"row": row, "image_id": ids[row], "cause": causes[row]} for row in sorted(causes)],
    )


def _map(folder: Path, manifest: dict[str, Any]) -> _Opened:
    """Map the rows of `extract_to_shards` into memory."""
    if not manifest["complete"]:
        raise EmbeddingsFileError(
            f"{str(folder)!r} is not finished. Call extract_to_shards with the same arguments as "
            "before, and it goes on where it stopped."
        )
    try:
        rows = np.load(folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
        damaged = rows.shape != (manifest["n_images"], manifest["n_features"])
    except Exception:  # numpy parses the header as Python, whose errors are many
        damaged = True
    if damaged:
        raise EmbeddingsFileError(_damaged(folder / EMBEDDINGS))
    try:
        ids = list(read_ids(folder))
        damaged = ids_digest(ids) != manifest["image_ids"]
    except (OSError, ValueError):
        damaged = True
    if damaged:
        raise EmbeddingsFileError(_damaged(folder / IMAGE_IDS))
    causes = {error["row"]: error["cause"] for error in manifest["errors"]}
    return _Opened(ids, rows, causes, manifest_file(folder).stat().st_mtime)


def _read_parquet(folder: Path, manifest: dict[str, Any], verify: bool) -> _Opened:
    """Read all files of `extract_with_ray` into one matrix."""
    rows = np.empty((manifest["n_images"], manifest["n_features"]), dtype=np.float32)
    ids: list[str] = []
    causes: dict[int, str] = {}
    files = shard_files(folder, manifest)
    try:
        for path, (start, stop) in zip(files, shard_bounds(manifest), strict=True):
            shard = read_shard(path, manifest["n_features"], verify=verify)
            if len(shard.ids) != stop - start:
                raise ValueError(
                    f"{str(path)!r} has {len(shard.ids)} rows, where {stop - start} belong."
                )
            rows[start:stop] = shard.rows
            ids += shard.ids
            causes |= {start + i: cause for i, cause in shard.errors.items()}
        if ids_digest(ids) != manifest["image_ids"]:
            raise ValueError(f"The files in {str(folder)!r} are not all of the same run.")
    except FileNotFoundError:
        raise EmbeddingsFileError(
            f"{str(folder)!r} is not finished. Call extract_with_ray with the same arguments as "
            "before, and it makes what is missing."
        ) from None
    except ValueError as error:
        raise EmbeddingsFileError(
            f"{error} Delete the file and call extract_with_ray with the same arguments as before, "
            "and it is made again."
        ) from error
    return _Opened(ids, rows, causes, max(path.stat().st_mtime for path in files))


def _damaged(path: Path) -> str:
    return (
        f"{str(path)!r} is missing or damaged. Call extract_to_shards with the same arguments as "
        "before, and it makes what is lost again."
    )
