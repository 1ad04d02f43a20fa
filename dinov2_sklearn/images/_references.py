"""An image's address, a file's path or a URL, and the bytes that are there."""

import hashlib
import io
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath

from ._remote import Options, explained, fetch

__all__ = ["ImageBytes", "ImageDecodeError", "ImageRef", "find_rows"]

# Two letters at least: "c://" is a drive.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")


class ImageDecodeError(ValueError):
    """An image that cannot be decoded; the message names it and the cause.

    Parameters
    ----------
    source : str
        The file's path, or a description of the image where it has no path.
    reason : str
        The cause, in plain words.

    Examples
    --------
    >>> from dinov2_sklearn.images import ImageDecodeError
    >>> str(ImageDecodeError("a.jpg", "the file is empty"))
    "Cannot decode 'a.jpg': the file is empty"
    """

    def __init__(self, source: str, reason: str) -> None:
        # Both go to `args`, which is what a pickled exception is made from again.
        super().__init__(source, reason)
        self.source = source
        self.reason = reason

    def __str__(self) -> str:
        return f"Cannot decode {self.source!r}: {self.reason}"


@dataclass(frozen=True, eq=False)
class ImageBytes:
    """An image's encoded content, read once: what is digested is what is decoded.

    `load_image` and all that decodes takes one in place of an address.

    Parameters
    ----------
    content : bytes
        The file, whole.
    address : str
        Where it came from, for messages.

    Examples
    --------
    >>> from dinov2_sklearn.images import ImageBytes
    >>> ImageBytes(b"not an image", "a.jpg").digest.hex()[:8]
    'e3924879'
    """

    content: bytes = field(repr=False)
    address: str

    @cached_property
    def digest(self) -> bytes:
        """Twenty bytes that tell this content from any other.

        Where 0.1.0 may have decoded it otherwise, they also differ from those under which 0.1.0
        has cached a row.
        """
        person = b"" if _decodes_as_ever(self.content) else b"0.2.0"
        return hashlib.blake2b(self.content, digest_size=20, person=person).digest()


def _decodes_as_ever(content: bytes) -> bool:
    """Whether an image has 8 bits and no alpha, so that no rule for it has changed since 0.1.0."""
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        bits, colours = content[24:25], content[25:26]
        return bits < b"\x10" and colours in (b"\0", b"\2", b"\3")
    if content[:2] == b"BM":
        return content[28:30] < b"\x20"
    return content[:2] == b"\xff\xd8" or content[:4] == b"GIF8" or content[12:16] == b"VP8 "


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
        inner, separator, outermost = self._parts()
        if _SCHEME.match(outermost):
            return self.address
        return inner + separator + os.path.abspath(outermost)  # noqa: PTH100

    @property
    def is_absolute(self) -> bool:
        """Whether it means the same from wherever a process works; an archive's name counts."""
        _, _, outermost = self._parts()
        return bool(_SCHEME.match(outermost)) or os.path.isabs(outermost)  # noqa: PTH117

    def below(self, folder: str) -> str:
        """Return the address, which counts from a folder where it is relative."""
        inner, separator, outermost = self._parts()
        if _SCHEME.match(outermost):
            return self.address
        return inner + separator + os.path.join(folder, outermost)  # noqa: PTH118

    def _parts(self) -> tuple[str, str, str]:
        """Split a chained URL before the last of its parts, which all others lie in."""
        return self.address.rpartition("::") if self.is_url else ("", "", self.address)

    def open(self, storage_options: Options = None) -> io.BufferedReader | io.BytesIO:
        """Open what is there for reading; a URL's content is fetched whole.

        Raises
        ------
        OSError
            If it cannot be read; a URL's other errors become one.
        ImportError
            If fsspec's part for the URL's scheme is not installed.
        """
        if not self.is_url:
            return open(self.address, "rb")  # noqa: PTH123 - keeps undecodable names
        # Whole: few file systems can seek, and one that does asks again for every piece.
        with explained(self.address):
            return io.BytesIO(fetch(self.address, storage_options))

    def open_image(self, storage_options: Options = None) -> io.BufferedReader | io.BytesIO:
        """Open what is there, as `open`, with an error that says why there is no image.

        Raises
        ------
        ImageDecodeError
            If it cannot be read, or is no regular file.
        """
        try:
            # To open a pipe would wait for whoever writes to it.
            if not self.is_url and not stat.S_ISREG(os.stat(self.address).st_mode):  # noqa: PTH116
                raise ImageDecodeError(self.address, _explain_irregular(self.address))
            return self.open(storage_options)
        except (OSError, ValueError) as error:
            if isinstance(error, ImageDecodeError):
                raise
            raise ImageDecodeError(
                self.address, _explain_unreadable(self.address, error)
            ) from error

    def read(self, storage_options: Options = None) -> ImageBytes:
        """Read what is there, once, to be digested and decoded.

        Raises
        ------
        ImageDecodeError
            If it cannot be read, or is no regular file.
        """
        with self.open_image(storage_options) as file:
            try:
                return ImageBytes(file.read(), self.address)
            except OSError as error:
                reason = _explain_unreadable(self.address, error)
                raise ImageDecodeError(self.address, reason) from error

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


def find_rows(names: Sequence[str], paths: Sequence[str]) -> list[list[int]]:
    """Return for each name all of its rows among the paths, compared as absolute paths.

    Parameters
    ----------
    names : sequence of str
        Addresses that are looked for.
    paths : sequence of str
        The images as they are listed now.

    Returns
    -------
    rows : list of list of int
        One list a name, empty where it is not among the paths.

    Examples
    --------
    >>> from dinov2_sklearn.images import find_rows
    >>> find_rows(["photos/../b.jpg", "c.jpg"], ["a.jpg", "b.jpg"])
    [[1], []]
    """
    rows: dict[str, list[int]] = {ImageRef(name).absolute: [] for name in names}
    # Only those that end alike: to make a path absolute takes longer than all else.
    ends = {os.path.basename(name) for name in names}  # noqa: PTH119 - may be no valid text
    for row, path in enumerate(paths):
        if os.path.basename(path) in ends:  # noqa: PTH119
            found = rows.get(ImageRef(path).absolute)
            if found is not None:
                found.append(row)
    return [rows[ImageRef(name).absolute] for name in names]


def _explain_irregular(path: str) -> str:
    is_folder = os.path.isdir(path)  # noqa: PTH112
    return "a folder, not a file" if is_folder else "no regular file, but a pipe, socket or device"


def _explain_unreadable(path: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        if os.path.islink(path):  # noqa: PTH114
            return f"a symbolic link to {os.readlink(path)!r}, which is missing"  # noqa: PTH115
        return "no such file"
    if isinstance(error, PermissionError):
        return "no permission to read the file"
    return f"the file cannot be read ({getattr(error, 'strerror', None) or error})"
