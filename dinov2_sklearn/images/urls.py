"""Images that are not on this machine's disks: URLs, by way of fsspec."""

import io
import posixpath
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["is_url", "open_bytes", "walk_url", "without_archive"]

# Two letters at least: "c://" is a drive.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_url(path: str) -> bool:
    """Whether a path is a URL, such as ``s3://bucket/a.jpg``, rather than a file's name."""
    return _SCHEME.match(path) is not None


def without_archive(path: str) -> str:
    """Leave out the archive that a URL can name at its end: ``zip://a.jpg::photos.zip``."""
    return path.partition("::")[0] if is_url(path) else path


def open_bytes(path: str) -> io.BufferedReader | io.BytesIO:
    """Open a file or a URL for reading.

    Raises
    ------
    OSError
        If it cannot be read; a URL's other errors become one.
    ImportError
        If fsspec, or its part for the URL's scheme, is not installed.
    """
    if not is_url(path):
        return open(path, "rb")  # noqa: PTH123 - keeps undecodable names
    files, name, _ = _file_system(path)
    try:
        # Whole: few file systems can seek, and one that does asks again for every piece.
        return io.BytesIO(files.cat_file(name))
    except (OSError, MemoryError):
        raise
    except Exception as error:  # each file system has its own
        raise OSError(f"{type(error).__name__}: {error}") from error


def walk_url(url: str, *, recursive: bool) -> Iterator[str]:
    """Yield the URL of every visible file below a URL; one that holds ``*`` is a glob."""
    files, root, archive = _file_system(url)
    if "*" in root:
        found = [name for name in files.glob(root) if not files.isdir(name)]
    elif files.isfile(root):
        found = [root]
    else:
        found = files.find(root, maxdepth=None if recursive else 1)
    start = len(posixpath.dirname(root.partition("*")[0]))
    for name in found:
        if not any(part.startswith(".") for part in name[start:].split("/")):
            yield files.unstrip_protocol(name) + archive


def _file_system(url: str) -> tuple[Any, str, str]:
    """Return the file system, the name within it, and what comes after the name in the URL."""
    try:
        import fsspec
    except ImportError as error:
        raise ImportError(
            f"{url!r} is a URL. Reading it needs fsspec, and for most schemes one more package: "
            "pip install fsspec"
        ) from error
    try:
        files, name = fsspec.core.url_to_fs(url)
    except ValueError as error:  # fsspec's for a scheme that it does not know
        raise ValueError(f"{url!r} cannot be read: {error}.") from error
    return files, name, "".join(url.partition("::")[1:])
