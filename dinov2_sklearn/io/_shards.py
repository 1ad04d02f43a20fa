"""Folders of embeddings in shards: what they say about themselves, and how they are opened."""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..utils import atomic_write
from ._embeddings import Embeddings, EmbeddingsFileError, check_columns
from ._parquet import read_shard

__all__ = ["Shards", "open_shards"]

EMBEDDINGS, IMAGE_IDS, COLUMNS = "embeddings.npy", "image_ids.jsonl", "_columns.json"
NUMPY_SHARDS, PARQUET_SHARDS = "dinov2_sklearn shards", "dinov2_sklearn parquet shards"
# Programs that read a folder of parquet files pass over names that begin so.
MANIFESTS = {NUMPY_SHARDS: "manifest.json", PARQUET_SHARDS: "_manifest.json"}
_KEYS = {
    "n_images": int,
    "n_features": int,
    "shard_size": int,
    "model_name": str,
    "image_ids": str,
    "settings": dict,
}


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
    if verify and not is_parquet and checksums(rows, manifest) != manifest["crc32"]:
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
        _read_columns(folder, len(ids)),
        [{"row": row, "image_id": ids[row], "cause": causes[row]} for row in sorted(causes)],
    )


def write_columns(folder: Path, columns: Any, n_rows: int) -> None:
    """Keep what else is known of each image beside the rows."""
    with atomic_write(folder / COLUMNS) as file:
        file.write(json.dumps(check_columns(columns, n_rows)).encode())


def _read_columns(folder: Path, n_rows: int) -> dict[str, list[Any]]:
    try:
        columns = json.loads((folder / COLUMNS).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        columns = None
    if not isinstance(columns, dict) or {len(values) for values in columns.values()} - {n_rows}:
        raise EmbeddingsFileError(
            f"{str(folder / COLUMNS)!r} is damaged. Delete it, or extract again."
        )
    return columns


class _Opened(NamedTuple):
    ids: list[str]
    rows: NDArray[np.float32]
    causes: dict[int, str]
    finished: float


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


def manifest_file(folder: Path) -> Path:
    """Return the folder's manifest, or where one would be."""
    files = [folder / name for name in MANIFESTS.values()]
    return next((file for file in files if file.is_file()), files[0])


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a folder's manifest, or raise a ValueError: it is damaged, or another program's."""
    try:
        manifest = json.loads(manifest_file(folder).read_bytes())
        sound = manifest["format"] in (NUMPY_SHARDS, PARQUET_SHARDS)
        sound &= all(isinstance(manifest[key], kind) for key, kind in _KEYS.items())
        # Of a folder of parquet shards, the files themselves say how far it is.
        if manifest["format"] == NUMPY_SHARDS:
            sound &= isinstance(manifest.setdefault("complete", False), bool)
        if manifest.get("complete"):
            sound &= len(manifest["crc32"]) == len(shard_bounds(manifest))
            sound &= all(e.keys() == {"row", "image_id", "cause"} for e in manifest["errors"])
    except (AttributeError, KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise ValueError(
            f"{str(manifest_file(folder))!r} is damaged, or was not written by extract_to_shards "
            "or extract_with_ray."
        )
    return manifest


def shard_bounds(plan: dict[str, Any]) -> list[tuple[int, int]]:
    """Return the first row of each shard and the one after its last."""
    n_images, size = plan["n_images"], plan["shard_size"]
    return [(start, min(start + size, n_images)) for start in range(0, n_images, size)]


def shard_files(folder: Path, plan: dict[str, Any]) -> list[Path]:
    """Return the parquet file of each shard, in the order of the rows."""
    return [folder / f"shard-{i:09}.parquet" for i, _ in enumerate(shard_bounds(plan))]


def read_ids(folder: Path) -> Iterator[str]:
    """Yield what each row is the embedding of."""
    with (folder / IMAGE_IDS).open(encoding="ascii") as file:
        for line in file:
            yield json.loads(line)


def ids_digest(image_ids: Sequence[str]) -> str:
    """Return the digest that a file of these ids, a JSON string a line, has."""
    digest = hashlib.blake2b(digest_size=20)
    for image_id in image_ids:
        digest.update(json_line(image_id))
    return digest.hexdigest()


def json_line(value: Any) -> bytes:
    """Return a value as a line of a ``.jsonl`` file."""
    return json.dumps(value).encode("ascii") + b"\n"


def checksums(rows: NDArray[np.float32], plan: dict[str, Any]) -> list[int]:
    """Return the checksum of each shard of an array."""
    return [zlib.crc32(rows[start:stop].data) for start, stop in shard_bounds(plan)]
