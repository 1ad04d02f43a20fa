"""Rows of parquet files that hold images, read by their numbers."""

import threading
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import IO, Any

from ..utils import import_extra

__all__ = ["Rows", "image_columns"]


def image_columns(schema: Any) -> list[str]:
    """Return the columns of a parquet file that can hold encoded images."""
    types = import_extra("pyarrow", "parquet", "Parquet files").types

    def holds(kind: Any) -> bool:
        if types.is_struct(kind):  # as data sets of Hugging Face hold them
            return kind.get_field_index("bytes") >= 0
        return types.is_binary(kind) or types.is_large_binary(kind)

    return [field.name for field in schema if holds(field.type)]


class Rows:
    """A parquet file that is held open, with the group of rows that was read last.

    What it cannot give raises a ValueError.
    """

    def __init__(self, open: Callable[[], IO[bytes]]) -> None:
        parquet = import_extra("pyarrow.parquet", "parquet", "Parquet files")
        self._lock = threading.Lock()
        self._file = open()
        try:
            self._table = parquet.ParquetFile(self._file)
        except Exception as error:  # a file of any kind may be given
            self._file.close()
            raise ValueError(f"it is no parquet file ({error})") from error
        self._columns = image_columns(self._table.schema_arrow)
        metadata = self._table.metadata
        n_rows = (metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        self._starts = list(accumulate(n_rows, initial=0))
        self._group: tuple[Any, Any] = (None, None)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def read(self, row: int, column: str | None) -> tuple[bytes | None, str | None]:
        """Return an image's content, or the path that stands in its place."""
        columns, starts = self._columns, self._starts
        if column is None and len(columns) == 1:
            (column,) = columns
        if column not in columns:
            raise ValueError(
                f"the columns of it that hold images are {', '.join(columns) or 'none'}: add "
                "&column=NAME"
            )
        if row >= starts[-1]:
            raise ValueError(f"it has {starts[-1]} rows, from 0, and none has the number {row}")
        group = bisect_right(starts, row) - 1
        with self._lock:
            if self._group[0] != (group, column):
                self._group = (None, None)  # before another is read: one at a time
                found = self._table.read_row_group(group, columns=[column])[column]
                self._group = (group, column), found
            value = self._group[1][row - starts[group]].as_py()
        if isinstance(value, dict):
            content, path = value.get("bytes"), value.get("path")
        else:
            content, path = value, None
        if not content and not path:
            raise ValueError(f"its row {row} holds no image in {column!r}, but {value!r}")
        return content, path
