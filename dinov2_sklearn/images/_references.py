"""An image's address: a file's path or a URL, and what can be asked of it."""

import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

__all__ = ["ImageRef"]

# Two letters at least: "c://" is a drive.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Where an image is: a file's path, or a URL that fsspec can open.

    To users and in files an address is a plain str; this is what the rooms ask about one.

    Parameters
    ----------
    address : str
        As it was given, such as ``photos/a.jpg``, ``s3://bucket/a.jpg`` or
        ``zip://a.jpg::photos.zip``.

    Examples
    --------
    >>> from dinov2_sklearn.images import ImageRef
    >>> ref = ImageRef("zip://birds/wren.jpg::photos.zip")
    >>> ref.is_url, ref.name, ref.extension
    (True, 'wren.jpg', '.jpg')
    """

    address: str

    @property
    def is_url(self) -> bool:
        """Whether it is a URL rather than a file's name."""
        return _SCHEME.match(self.address) is not None

    @property
    def within(self) -> str:
        """The address without a URL's archive at its end and its query, which may be a secret."""
        if not self.is_url:
            return self.address
        inner = self.address.partition("::")[0]
        return inner.partition("?")[0] if inner.startswith(("http://", "https://")) else inner

    @property
    def name(self) -> str:
        """What the image is called: the last part of its address."""
        return PurePath(self.within).name

    @property
    def stem(self) -> str:
        """The name without its extension."""
        return PurePath(self.within).stem

    @property
    def extension(self) -> str:
        """The extension in lower case, with its dot; empty where there is none."""
        return PurePath(self.within).suffix.lower()

    @property
    def absolute(self) -> str:
        """The address from wherever the process works; links stay as they are."""
        return self.address if self.is_url else os.path.abspath(self.address)  # noqa: PTH100

    def open(self) -> io.BufferedReader | io.BytesIO:
        """Open what is there for reading.

        Raises
        ------
        OSError
            If it cannot be read; a URL's other errors become one.
        ImportError
            If fsspec's part for the URL's scheme is not installed.
        """
        if not self.is_url:
            return open(self.address, "rb")  # noqa: PTH123 - keeps undecodable names
        with explained(self.address):
            files, name, _ = file_system(self.address)
            # Whole: few file systems can seek, and one that does asks again for every piece.
            return io.BytesIO(files.cat_file(name))

    def digest(self) -> bytes | None:
        """Digest what is there; None where it cannot be read, which decoding will report."""
        try:
            with self.open() as file:
                return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).digest()
        except (OSError, ValueError):
            return None

    def stamp(self) -> tuple[int, int, int, int] | None:
        """Say what changes whenever a file's content does, without reading it.

        Returns
        -------
        tuple of int, or None
            Size, time of the last write and of the last change in nanoseconds, and inode: a write
            always moves the third. None for a URL, and where there is no file.
        """
        if self.is_url:
            return None
        try:
            status = os.stat(self.address)  # noqa: PTH116 - may hold undecodable bytes
        except (OSError, ValueError):
            return None
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


@contextmanager
def explained(url: str) -> Iterator[None]:
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


def file_system(url: str) -> tuple[Any, str, str]:
    """Return the file system, the name within it, and what comes after the name in the URL."""
    import fsspec

    files, name = fsspec.core.url_to_fs(url)
    return files, name, "".join(url.partition("::")[1:])
