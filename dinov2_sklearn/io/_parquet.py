"""Embeddings in parquet files, which other programs read: all that is done with pyarrow.

A shard has the columns ``id``, ``embedding`` (a list of fixed size, float32) and ``error`` (null,
or why the embedding is NaN). An embeddings file has ``image_ids`` and ``embeddings``, and the rest
as metadata of its schema.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..utils import atomic_write, import_extra
from ._shard_folder import Shard

__all__ = [
    "check_unicode",
    "count_rows",
    "list_errors",
    "open_parquet",
    "pyarrow",
    "read_shard",
    "read_table",
    "to_matrix",
    "write_shard",
    "write_table",
]


def pyarrow() -> Any:
    """Return pyarrow, with its part for parquet."""
    module = import_extra("pyarrow", "parquet", "Parquet files")
    import_extra("pyarrow.parquet", "parquet", "Parquet files")
    return module


def open_parquet(file: Any, **options: Any) -> Any:
    """Open a parquet file; a context manager."""
    # Not read_table: it takes the path's folders for columns of a partitioned table.
    return pyarrow().parquet.ParquetFile(file, **options)


def write_table(
    file: BinaryIO,
    names: tuple[str, str],
    ids: Sequence[str],
    rows: NDArray[np.float32],
    errors: Sequence[str | None] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write ids and rows under two names, with a column of errors where there can be any."""
    pa = pyarrow()
    flat = pa.array(np.ascontiguousarray(rows, dtype=np.float32).ravel())
    columns = {
        names[0]: pa.array(ids, pa.string()),
        names[1]: pa.FixedSizeListArray.from_arrays(flat, rows.shape[1]),
    }
    if errors is not None:
        columns["error"] = pa.array(errors, pa.string())
    # No two embeddings have a number in common, and no id occurs often.
    pyarrow().parquet.write_table(
        pa.table(columns, metadata=metadata),
        file,
        use_dictionary=["error"],
        write_page_checksum=True,
    )


def read_table(file: Any, *, verify: bool) -> Any:
    """Read a file whole, as a table."""
    with open_parquet(file, page_checksum_verification=verify) as opened:
        return opened.read()


def to_matrix(column: Any) -> NDArray[np.float32]:
    """Return a column of embeddings as a matrix, or raise a ValueError that names its type."""
    kind: Any = getattr(column, "type", type(column).__name__)
    if not pyarrow().types.is_fixed_size_list(kind) or column.null_count:
        raise ValueError(
            f"has embeddings of type {kind}, where lists of one length, none missing, belong."
        )
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(-1, kind.list_size)


def check_unicode(ids: Sequence[str]) -> None:
    """Raise a UnicodeEncodeError for an id that parquet cannot keep."""
    pyarrow().array(ids, pyarrow().string())


def write_shard(path: Path, shard: Shard) -> None:
    """Write the file of a shard, whole or not at all."""
    causes = [shard.errors.get(i) for i in range(len(shard.ids))]
    with atomic_write(path) as file:
        write_table(file, ("id", "embedding"), shard.ids, shard.rows, causes)


def read_shard(path: Path, n_features: int, *, verify: bool = False) -> Shard:
    """Read the file of a shard; a FileNotFoundError, or a ValueError where it is damaged."""
    try:
        table = read_table(path, verify=verify)
        rows = to_matrix(table["embedding"])
        if rows.shape[1] != n_features:
            raise ValueError(f"{rows.shape[1]} numbers a row, where {n_features} belong")
        causes = table["error"].to_pylist()
        errors = {i: cause for i, cause in enumerate(causes) if cause is not None}
        return Shard(table["id"].to_pylist(), rows, errors)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, AttributeError, pyarrow().ArrowException) as error:
        raise ValueError(f"{str(path)!r} is damaged ({type(error).__name__}: {error}).") from error


def count_rows(path: Path) -> tuple[int, int]:
    """Return a shard's rows, and how many of them are errors, from its file's last bytes alone.

    A file that is missing or damaged has no rows.
    """
    try:
        metadata = pyarrow().parquet.read_metadata(path)
        column = metadata.schema.names.index("error")
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        n_null = sum(group.column(column).statistics.null_count for group in groups)
    except (OSError, ValueError, AttributeError, pyarrow().ArrowException):
        return 0, 0
    return metadata.num_rows, metadata.num_rows - n_null


def list_errors(files: Sequence[Path], *, limit: int) -> list[tuple[str, str]]:
    """Return id and cause of the first errors in some shards."""
    found: list[tuple[str, str]] = []
    for path in files:
        with open_parquet(path) as file:
            columns = file.read(["id", "error"]).to_pydict()
        pairs = zip(columns["id"], columns["error"], strict=True)
        found += [(image_id, cause) for image_id, cause in pairs if cause is not None]
        if len(found) >= limit:
            break
    return found[:limit]
