"""Shards as parquet files, which other programs read: ``shard-000000000.parquet`` and so on.

Each has the columns ``id``, ``embedding`` (a list of fixed size, float32) and ``error`` (null, or
why the embedding is NaN). A file is renamed to its name once it is complete, so that the names
say what is finished, whoever was killed meanwhile.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..utils import atomic_write
from ._manifest import ids_digest, shard_bounds

__all__ = [
    "Shard",
    "count_rows",
    "import_pyarrow",
    "list_errors",
    "read_all",
    "read_shard",
    "shard_files",
]


class Shard(NamedTuple):
    """The rows of one file.

    Attributes
    ----------
    ids : list of str
        What each row is the embedding of.
    rows : ndarray of shape (n, n_features), float32
        NaN where there is an error.
    errors : dict of int to str
        The causes, by position.
    """

    ids: list[str]
    rows: np.ndarray
    errors: dict[int, str]

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        pyarrow, parquet = import_pyarrow()
        flat = np.ascontiguousarray(self.rows, dtype=np.float32).ravel()
        width = self.rows.shape[1]
        table = pyarrow.table(
            {
                "id": pyarrow.array(self.ids, pyarrow.string()),
                "embedding": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(flat), width),
                "error": pyarrow.array(
                    [self.errors.get(i) for i in range(len(self.ids))], pyarrow.string()
                ),
            }
        )
        with atomic_write(path) as file:
            # No two embeddings have a number in common, and no id occurs often.
            parquet.write_table(table, file, use_dictionary=["error"], write_page_checksum=True)


def shard_files(folder: Path, plan: dict[str, Any]) -> list[Path]:
    """Return the file of each shard, in the order of the rows."""
    return [folder / f"shard-{i:09}.parquet" for i, _ in enumerate(shard_bounds(plan))]


def count_rows(path: Path) -> tuple[int, int]:
    """Return a file's rows, and how many of them are errors, from its last bytes alone.

    A file that is missing or damaged has no rows.
    """
    pyarrow, parquet = import_pyarrow()
    try:
        metadata = parquet.read_metadata(path)
        column = metadata.schema.names.index("error")
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        n_null = sum(group.column(column).statistics.null_count for group in groups)
    except (OSError, ValueError, AttributeError, pyarrow.ArrowException):
        return 0, 0
    return metadata.num_rows, metadata.num_rows - n_null


def read_shard(path: Path, n_features: int, *, verify: bool = False) -> Shard:
    """Read one file.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged.
    """
    pyarrow, parquet = import_pyarrow()
    try:
        # Not read_table: it takes the path's folders for columns of a partitioned table.
        with parquet.ParquetFile(path, page_checksum_verification=verify) as file:
            table = file.read()
        column = table["embedding"].combine_chunks()
        rows = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, n_features)
        causes = table["error"].to_pylist()
        errors = {i: cause for i, cause in enumerate(causes) if cause is not None}
        return Shard(table["id"].to_pylist(), rows, errors)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, AttributeError, pyarrow.ArrowException) as error:
        raise ValueError(f"{str(path)!r} is damaged ({type(error).__name__}: {error}).") from error


def read_all(folder: Path, manifest: dict[str, Any], *, verify: bool) -> Shard:
    """Read all files of a folder into one matrix.

    Raises
    ------
    FileNotFoundError
        If one is missing.
    ValueError
        If one is damaged, or not of this folder.
    """
    n_features = manifest["n_features"]
    rows = np.empty((manifest["n_images"], n_features), dtype=np.float32)
    ids: list[str] = []
    errors: dict[int, str] = {}
    for path, (start, stop) in zip(
        shard_files(folder, manifest), shard_bounds(manifest), strict=True
    ):
        shard = read_shard(path, n_features, verify=verify)
        if len(shard.ids) != stop - start:
            raise ValueError(
                f"{str(path)!r} has {len(shard.ids)} rows, where {stop - start} belong."
            )
        rows[start:stop] = shard.rows
        ids += shard.ids
        errors |= {start + i: cause for i, cause in shard.errors.items()}
    if ids_digest(ids) != manifest["image_ids"]:
        raise ValueError(f"The files in {str(folder)!r} are not all of the same run.")
    return Shard(ids, rows, errors)


def list_errors(files: Sequence[Path], *, limit: int) -> list[tuple[str, str]]:
    """Return id and cause of the first errors in some files."""
    _, parquet = import_pyarrow()
    found: list[tuple[str, str]] = []
    for path in files:
        with parquet.ParquetFile(path) as file:
            columns = file.read(["id", "error"]).to_pydict()
        pairs = zip(columns["id"], columns["error"], strict=True)
        found += [(image_id, cause) for image_id, cause in pairs if cause is not None]
        if len(found) >= limit:
            break
    return found[:limit]


def import_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and its part for parquet.

    Raises
    ------
    ImportError
        If it is not installed; the message says how to.
    """
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError(
            "Shards of parquet need pyarrow. Install it with "
            '`pip install "dinov2-sklearn[parquet]"`.'
        ) from error
