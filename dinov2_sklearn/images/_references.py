"""An image's address, a file's path or a URL, and the bytes that are there."""

import hashlib
import io
import os
import re
import stat
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Any

from ..utils import warn
from ._fragments import Fragment, split_fragment
from ._remote import Options, explained, fetch
from ._rows import Rows
from ._shared import shared_file
from ._video import Video

__all__ = [
    "ImageBytes",
    "ImageDecodeError",
    "ImagePart",
    "ImageRef",
    "OpenedFile",
    "find_rows",
]

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


class OpenedFile:
    """A file that was read, or a video that was opened, once for all images that are its parts."""

    def __init__(self, content: ImageBytes | Video) -> None:
        self.content = content
        self.lock = threading.Lock()
        # The last picture decoded of it that boxes were cut from, and how it was decoded.
        self.picture: tuple[Any, Any] = (None, None)

    @cached_property
    def digest(self) -> bytes:
        """Twenty bytes that tell its content from any other."""
        return self.content.digest


@dataclass(frozen=True, eq=False)
class ImagePart:
    """A box, a frame, a page or a row: a part of a file, read once with all of it.

    `load_image` and all that decodes takes one in place of an address.

    Parameters
    ----------
    file : OpenedFile
        The file; where the part lies in a row of a table, the image in that row.
    address : str
        The part's own, for messages.
    fragment : Fragment
        Which part it is.
    """

    file: OpenedFile = field(repr=False)
    address: str
    fragment: Fragment

    @property
    def digest(self) -> bytes:
        """Twenty bytes that tell this part of this content from any other."""
        part = str(self.fragment.within_row).encode()
        return hashlib.blake2b(self.file.digest + part, digest_size=20).digest()


def _decodes_as_ever(content: bytes) -> bool:
    """Whether an image has 8 bits and no alpha, so that no rule for it has changed since 0.1.0."""
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        bits, colours = content[24:25], content[25:26]
        return bits < b"\x10" and colours in (b"\0", b"\2", b"\3")
    if content[:2] == b"BM":
        return content[28:30] < b"\x20"
    return content[:2] == b"\xff\xd8" or content[:4] == b"GIF8" or content[12:16] == b"VP8 "


@dataclass(frozen=True)
class ImageRef:
    """Where an image is: a file's path, or a URL that fsspec can open, and which part of it.

    To users and in files an address is a plain str; this is what the rooms ask about one.

    Parameters
    ----------
    address : str
        As it was given, such as ``photos/a.jpg``, ``s3://bucket/a.jpg`` or
        ``zip://a.jpg::photos.zip``. After a ``#`` it may say which part of the file is the image:
        ``#xywh=160,120,320,240`` or ``#xywh=percent:25,25,50,50`` (left, top, width, height), the
        moment ``#t=12.5`` of a video in seconds, ``#page=3`` of a stack, counted from 1, or
        ``#row=17&column=image`` of a parquet file, counted from 0; several with ``&`` between them.
        Where a file has just this name, that file is meant.

    Examples
    --------
    >>> from dinov2_sklearn.images import ImageRef
    >>> ref = ImageRef("zip://birds/wren.jpg::photos.zip")
    >>> ref.is_url, ref.name, ref.extension
    (True, 'wren.jpg', '.jpg')
    >>> ImageRef("birds/wren.jpg#xywh=160,120,320,240").file
    'birds/wren.jpg'
    """

    address: str

    @property
    def is_url(self) -> bool:
        """Whether it is a URL rather than a file's name."""
        return _SCHEME.match(self.address) is not None

    @property
    def file(self) -> str:
        """The address of the file, without the part."""
        return self._split[0]

    @property
    def fragment(self) -> Fragment | None:
        """Which part of the file the image is; None for all of it.

        Raises
        ------
        ImageDecodeError
            If what comes after the ``#`` is no fragment.
        """
        text = self._split[1]
        try:
            return Fragment.parse(text) if text else None
        except ValueError as error:
            raise ImageDecodeError(self.address, str(error)) from error

    @property
    def is_part(self) -> bool:
        """Whether the image is a part of its file."""
        return self._split[1] != ""

    def part(self, fragment: Fragment | str) -> str:
        """Return the address of a part of what is here."""
        return f"{self.address}{'&' if self.is_part else '#'}{fragment}"

    @cached_property
    def _split(self) -> tuple[str, str]:
        """The file and the fragment; cached, since the disk is asked."""
        file, fragment = split_fragment(self.address)
        # A name may truly hold what looks like one.
        if fragment and not self.is_url and os.path.exists(self.address):  # noqa: PTH110
            return self.address, ""
        return file, fragment

    @property
    def within(self) -> str:
        """The file without a URL's archive at its end and its query, which may be a secret."""
        if not self.is_url:
            return self.file
        inner = self.file.partition("::")[0]
        return inner.partition("?")[0] if inner.startswith(("http://", "https://")) else inner

    @property
    def name(self) -> str:
        """What the file is called: the last part of its address."""
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
        inner, outermost, part = self._parts()
        if _SCHEME.match(outermost):
            return self.address
        return inner + os.path.abspath(outermost) + part  # noqa: PTH100

    @property
    def without_folders(self) -> str:
        """The address without the folders that it, and the archive it is in, lie in."""
        inner, outermost, part = self._parts()
        return os.path.basename(inner) + os.path.basename(outermost) + part  # noqa: PTH119

    def below(self, folder: str) -> str:
        """Return the address, which counts from a folder where it is relative."""
        inner, outermost, part = self._parts()
        if _SCHEME.match(outermost):
            return self.address
        return inner + os.path.join(folder, outermost) + part  # noqa: PTH118

    def _parts(self) -> tuple[str, str, str]:
        """Split before the file that all else lies in, the last of a chained URL, and after it."""
        file, fragment = self._split
        inner, separator, outermost = file.rpartition("::") if self.is_url else ("", "", file)
        return inner + separator, outermost, f"#{fragment}" if fragment else ""

    def open(self, storage_options: Options = None) -> io.BufferedReader | io.BytesIO:
        """Open the file for reading; a URL's content is fetched whole.

        Raises
        ------
        OSError
            If it cannot be read; a URL's other errors become one.
        ImportError
            If fsspec's part for the URL's scheme is not installed.
        """
        if not self.is_url:
            return open(self.file, "rb")  # noqa: PTH123 - keeps undecodable names
        # Whole: few file systems can seek, and one that does asks again for every piece.
        with explained(self.file):
            return io.BytesIO(fetch(self.file, storage_options))

    def open_image(self, storage_options: Options = None) -> io.BufferedReader | io.BytesIO:
        """Open the file, as `open`, with an error that says why there is no image.

        Raises
        ------
        ImageDecodeError
            If it cannot be read, or is no regular file.
        """
        file = self.file
        try:
            # To open a pipe would wait for whoever writes to it.
            if not self.is_url and not stat.S_ISREG(os.stat(file).st_mode):  # noqa: PTH116
                raise ImageDecodeError(self.address, _explain_irregular(file))
            return self.open(storage_options)
        except (OSError, ValueError) as error:
            if isinstance(error, ImageDecodeError):
                raise
            raise ImageDecodeError(self.address, _explain_unreadable(file, error)) from error

    def read(self, storage_options: Options = None) -> "ImageBytes | ImagePart":
        """Read what is there, once, to be digested and decoded.

        Raises
        ------
        ImageDecodeError
            If it cannot be read, or is no regular file; or the part is none.
        """
        fragment = self.fragment
        if fragment is None:
            return self._read(storage_options)
        key = self.file, self.stamp(), fragment.row, fragment.column, fragment.time is not None
        file = shared_file(key, lambda: OpenedFile(self._open_part(fragment, storage_options)))
        return ImagePart(file, self.address, fragment)

    def _read(self, storage_options: Options) -> ImageBytes:
        with self.open_image(storage_options) as file:
            try:
                return ImageBytes(file.read(), self.address)
            except OSError as error:
                reason = _explain_unreadable(self.file, error)
                raise ImageDecodeError(self.address, reason) from error

    def _open_part(self, fragment: Fragment, storage_options: Options) -> ImageBytes | Video:
        """Read or open what the part is cut from, decoded or not."""
        try:
            if fragment.row is not None:
                return self._read_row(fragment.row, fragment.column, storage_options)
            if fragment.time is not None:
                return Video(lambda: self.open_image(storage_options))
        except ImageDecodeError:
            raise
        except (ImportError, ValueError) as error:
            raise ImageDecodeError(self.address, str(error)) from error
        return self._read(storage_options)

    def _read_row(self, row: int, column: str | None, storage_options: Options) -> ImageBytes:
        key = "rows", self.file, self.stamp()
        rows = shared_file(key, lambda: Rows(lambda: self.open_image(storage_options)))
        content, path = rows.read(row, column)
        if content is None:
            beside = ImageRef(path).below(os.path.dirname(self.file))  # noqa: PTH120
            return ImageRef(beside)._read(storage_options)
        return ImageBytes(content, self.address)

    def digest(self) -> bytes | None:
        """Digest what is there; None where it cannot be read, which decoding will report."""
        try:
            if self.is_part:
                return self.read().digest
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
            status = os.stat(self.file)  # noqa: PTH116 - may hold undecodable bytes
        except (OSError, ValueError):
            return None
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def find_rows(
    names: Sequence[str], paths: Sequence[str], *, moved_in: str | None = None
) -> list[list[int]]:
    """Return for each name all of its rows among the paths, compared as absolute paths.

    Parameters
    ----------
    names : sequence of str
        Addresses that are looked for.
    paths : sequence of str
        The images as they are listed now.
    moved_in : str, default=None
        What the names are from. Given, a name that is not found by its path is taken for the image
        of the same name, if there is one such on either side.

    Returns
    -------
    rows : list of list of int
        One list a name, empty where it is not among the paths.

    Warns
    -----
    UserWarning
        If images are found by their names alone.

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
    listed = [rows[ImageRef(name).absolute] for name in names]
    if moved_in is None or all(listed):
        return listed
    return _find_moved(listed, names, paths, moved_in)


def _find_moved(
    found: list[list[int]], names: Sequence[str], paths: Sequence[str], what: str
) -> list[list[int]]:
    """Add the rows of images that moved, and say so."""
    by_name: dict[str, list[int]] = {}
    for row, path in enumerate(paths):
        by_name.setdefault(ImageRef(path).without_folders, []).append(row)
    bases = [ImageRef(name).without_folders for name in names]
    wanted = Counter(bases)
    moved = []
    for i, base in enumerate(bases):
        if not found[i] and wanted[base] == 1 and len(by_name.get(base, [])) == 1:
            found[i] = by_name[base]
            moved.append(i)
    if moved:
        old, new = names[moved[0]], paths[found[moved[0]][0]]
        warn(
            f"{len(moved)} of the {len(names)} images in {what} are not where they were, and were "
            f"found by their names, which no other has: {old!r} as {new!r}, for one."
        )
    return found


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
