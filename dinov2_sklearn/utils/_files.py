"""Files that are either whole or not there."""

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["atomic_write", "left_over", "temporary_beside"]


def temporary_beside(path: Path) -> Path:
    """Return a name that no other file in the folder of `path` has."""
    return path.with_name(f".{uuid.uuid4().hex}.tmp")


def left_over(folder: Path) -> list[Path]:
    """Return the temporary files in a folder, of processes that were killed."""
    name = re.compile(r"\.[0-9a-f]{32}\.tmp")
    return [path for path in folder.glob(".*.tmp") if name.fullmatch(path.name)]


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of `path` only once it is complete.

    What is written goes into a temporary file beside `path`, which is synced to disk and renamed
    when the block ends. When the block raises, it is removed, and a file that was at `path` before
    stays as it was.

    Raises a FileNotFoundError if the folder of `path` does not exist, an IsADirectoryError if
    `path` is a folder, and an OSError if the folder cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> from dinov2_sklearn.utils._files import atomic_write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "notes.txt"
    ...     with atomic_write(path) as file:
    ...         _ = file.write(b"complete")
    ...     path.read_text()
    'complete'
    """
    path = Path(path)
    if path.is_symlink():
        path = Path(os.path.realpath(path))  # the file that is meant, not the link
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"The folder {str(path.parent)!r} does not exist. Make it before writing "
            f"{path.name!r} there."
        )
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder. Name a file.")
    if path.exists() and not path.is_file():  # a pipe or a device, which no file may replace
        with path.open("wb") as file:
            yield file
        return
    # Not built from the name of `path`, which may be as long as the file system allows already.
    temporary = temporary_beside(path)
    try:
        try:
            file = temporary.open("xb")
        except OSError as error:
            # The user knows nothing of the temporary name.
            raise type(error)(error.errno, f"Cannot write: {error.strerror}", str(path)) from None
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
