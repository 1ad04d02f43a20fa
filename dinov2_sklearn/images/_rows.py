"""Rows of parquet files that hold images, read by their numbers."""

import threading
from collections.abc import Callable
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
        self._group: tuple[Any, Any] = (None, None)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def read(self, row: int, column: str | None) -> tuple[bytes | None, str | None]:
        """Return an image's content, or the path that stands in its place."""
        columns = image_columns(self._table.schema_arrow)
        if column is None and len(columns) == 1:
            (column,) = columns
        if column not in columns:
            raise ValueError(
                f"the columns of it that hold images are {', '.join(columns) or 'none'}: add "
                "&column=NAME"
            )
        metadata, first = self._table.metadata, 0
        for group in range(metadata.num_row_groups):
            n_rows = metadata.row_group(group).num_rows
            if row < first + n_rows:
                break
            first += n_rows
        else:
            raise ValueError(f"it has {first} rows, from 0, and none has the number {row}")
        with self._lock:
            if self._group[0] != (group, column):
                self._group = (None, None)  # before another is read: one at a time
                found = self._table.read_row_group(group, columns=[column])[column]
                self._group = (group, column), found
            value = self._group[1][row - first].as_py()
        if isinstance(value, dict):
            content, path = value.get("bytes"), value.get("path")
        else:
            content, path = value, None
        if not content and not path:
            raise ValueError(f"its row {row} holds no image in {column!r}, but {value!r}")
        return content, path
