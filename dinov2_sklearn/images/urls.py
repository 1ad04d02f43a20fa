"""Images that are not on this machine's disks: URLs, by way of fsspec."""

import glob
import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["above_glob", "file_digest", "is_url", "open_bytes", "walk_url", "without_archive"]

# Two letters at least: "c://" is a drive.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")


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
    with _explained(path):
        files, name, _ = _file_system(path)
        # Whole: few file systems can seek, and one that does asks again for every piece.
        return io.BytesIO(files.cat_file(name))


def file_digest(path: str) -> bytes | None:
    """Digest what is at a path or URL; None where it cannot be read, which decoding will report."""
    try:
        with open_bytes(path) as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).digest()
    except (OSError, ValueError):
        return None


def above_glob(path: str) -> str:
    """Return the folder above the first part of a path that holds a glob's character."""
    return re.split(r"[*?[]", path, maxsplit=1)[0].rpartition("/")[0]


def walk_url(url: str, *, recursive: bool) -> Iterator[str]:
    """Yield the URL of every visible file below a URL, which may hold a glob's characters.

    Raises
    ------
    FileNotFoundError
        If there is nothing at the URL.
    OSError
        If it cannot be read.
    ImportError
        As `open_bytes` does.
    ValueError
        If a name cannot be part of a URL.
    """
    with _explained(url):
        files, root, archive = _file_system(url)
        found, folder = _find(files, root, recursive)
    if not found and not folder:
        raise FileNotFoundError(f"There is no file, folder or glob match at {url!r}.")
    for name in found:
        if any(part[:1] == "." and part != "." for part in name[len(folder) :].split("/")):
            continue
        if "::" in name:
            raise ValueError(
                f"The file {name!r} at {url!r} has '::' in its name, which stands between a file "
                "and its archive in a URL. Rename it."
            )
        yield files.unstrip_protocol(name) + archive


def _find(files: Any, root: str, recursive: bool) -> tuple[list[str], str]:
    """Return the files at or below a root, and what all their names begin with."""
    # Of a folder at http:// fsspec says that it is a file as well.
    if root and root[-1] != "/" and files.isfile(root):
        return [root], root
    if not root or files.isdir(root):
        return files.find(root, maxdepth=None if recursive else 1), root
    if glob.has_magic(root):
        found = [name for name in files.glob(root) if not files.isdir(name)]
        return found, above_glob(root) if found else ""
    return [], ""


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn whatever a file system raises into an OSError or an ImportError in plain words."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"Reading {url!r} needs a package that is not installed: {error}"
        ) from error
    except (OSError, MemoryError):
        raise
    except Exception as error:  # each file system has its own
        raise OSError(f"{type(error).__name__}: {error}") from error


def _file_system(url: str) -> tuple[Any, str, str]:
    """Return the file system, the name within it, and what comes after the name in the URL."""
    try:
        import fsspec
    except ImportError as error:
        raise ImportError("pip install fsspec, and for most schemes one more") from error
    files, name = fsspec.core.url_to_fs(url)
    return files, name, "".join(url.partition("::")[1:])
