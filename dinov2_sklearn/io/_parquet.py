"""Embeddings in parquet files, which other programs read: all that is done with pyarrow.

A shard has the columns ``id``, ``embedding`` (a list of fixed size, float32) and ``error`` (null,
or why the embedding is NaN). An embeddings file has ``image_ids`` and ``embeddings``, and the rest
as metadata of its schema.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from ..utils import atomic_write, import_extra

__all__ = [
    "Shard",
    "check_unicode",
    "count_rows",
    "open_parquet",
    "pyarrow",
    "read_shard",
    "read_table",
    "to_matrix",
    "write_shard",
    "write_table",
]


@dataclass
class Shard:
    """Some consecutive rows of a folder."""

    ids: list[str]
    rows: NDArray[np.float32]  # NaN where there is an error
    # Why rows are missing, by position: the cause, or None where nothing was tried yet.
    errors: dict[int, Any] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was tried yet."""
        return list(self.errors.values()) == [None] * len(self.ids)

    @classmethod
    def empty(cls, ids: Sequence[str], n_features: int) -> Self:
        """Return a shard of which nothing is there yet."""
        rows = np.full((len(ids), n_features), np.nan, dtype=np.float32)
        return cls([*ids], rows, dict.fromkeys(range(len(ids))))


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
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> None:
    """Write ids and rows under two names, with a column of errors where there can be any."""
    pa = pyarrow()
    flat = pa.array(np.ascontiguousarray(rows, dtype=np.float32).ravel())
    table = {
        names[0]: pa.array(ids, pa.string()),
        names[1]: pa.FixedSizeListArray.from_arrays(flat, rows.shape[1]),
    }
    if errors is not None:
        table["error"] = pa.array(errors, pa.string())
    for name, values in (columns or {}).items():
        table[name] = _column(values)
    # No two embeddings have a number in common, and no id occurs often.
    pyarrow().parquet.write_table(
        pa.table(table, metadata=metadata),
        file,
        use_dictionary=["error", *(columns or {})],
        write_page_checksum=True,
    )


def _column(values: Sequence[Any]) -> Any:
    """Return a column of one type; text where the values are of several."""
    pa = pyarrow()
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


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


def read_shard(path: Path, n_features: int | None = None, *, verify: bool = False) -> Shard:
    """Read the file of a shard; a FileNotFoundError, or a ValueError where it is damaged."""
    try:
        table = read_table(path, verify=verify)
        rows = to_matrix(table["embedding"])
        if rows.shape[1] != (n_features or rows.shape[1]):
            raise ValueError(f"{rows.shape[1]} numbers a row, where {n_features} belong")
        causes = table["error"].to_pylist()
        errors = {i: cause for i, cause in enumerate(causes) if cause is not None}
        return Shard(table["id"].to_pylist(), rows, errors)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, AttributeError, pyarrow().ArrowException) as error:
        raise ValueError(f"{str(path)!r} is damaged ({type(error).__name__}: {error}).") from error


def count_rows(path: Path) -> tuple[int, int]:
    """Return a shard's rows, and how many of them are errors; none of a missing or damaged file."""
    try:
        with open_parquet(path) as file:
            causes = file.read(["error"])["error"]
    except (OSError, ValueError, KeyError, pyarrow().ArrowException):
        return 0, 0
    return len(causes), len(causes) - causes.null_count
