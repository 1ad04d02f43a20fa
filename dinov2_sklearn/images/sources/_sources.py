"""Finding image files: folders, globs, tables, lists."""

# Names stay str: a Path for each of 100,000 files takes longer than scanning the disk.
# ruff: noqa: PTH100, PTH111, PTH112, PTH113, PTH116, PTH118, PTH119, PTH120, PTH122, PTH207, PTH208

import fnmatch
import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import PurePath
from typing import Any

import numpy as np

from .._references import ImageRef
from ._tables import FEW, is_frame, is_listing, read_csv, read_frame, read_listing, read_txt
from ._urls import above_glob, walk_url

__all__ = ["IMAGE_EXTENSIONS", "list_images"]

IMAGE_EXTENSIONS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_TABLES = (".csv", ".tsv")
_LISTINGS = (*_TABLES, ".txt")


def list_images(
    source: Any,
    *,
    pattern: str = "*",
    recursive: bool = True,
    image_col: str = "image_path",
) -> np.ndarray:
    """List the image files of a folder, a glob, a table or a list.

    Parameters
    ----------
    source : str, PathLike, DataFrame, Series, ndarray or sequence of paths
        Where to look:

        - a folder: its files with an image's extension (`IMAGE_EXTENSIONS`, in upper or lower
          case), in sub-folders too; sorted;
        - a glob such as ``"photos/**/cam1_*.jpg"``, ``**`` being any depth of folders: likewise;
        - a ``.csv`` or ``.tsv`` file, with a header and a column of paths; a relative path
          counts from the file's folder. Comma, semicolon, tab or ``|`` are told from the header;
        - a ``.txt`` file of one path a line, relative to the file's folder; blank lines are
          skipped, and nothing else is;
        - a pandas or polars DataFrame with a column of paths;
        - a list, tuple, Series or 1-D array of paths, which are returned as they are;
        - an image file: that one;
        - a URL of a folder, a glob, a table or an image, such as ``"s3://bucket/photos/"`` or
          ``"zip://::photos.zip"``, of any kind that fsspec and its add-ons can read.
    pattern : str, default="*"
        Only files of a folder or a glob whose name matches, as in ``fnmatch`` but in upper or
        lower case. A pattern with a ``/`` is held against the path below the folder, where ``*``
        matches ``/`` too.
    recursive : bool, default=True
        Whether the sub-folders of a folder are entered. In a glob, ``**`` says so.
    image_col : str, default="image_path"
        The column of paths in a table.

    Returns
    -------
    ndarray of shape (n_images,), dtype object
        Paths as str. Those of a folder or a glob are sorted, each once. Those of a table, a text
        file or a list keep their order and their duplicates, so that they stay aligned with
        labels. Names that are no valid text are decoded as ``os.fsdecode`` does.

    Raises
    ------
    FileNotFoundError
        If the source, or a path listed in it, does not exist.
    ValueError
        If no images are found, a column is missing, a path is missing from a table or list, the
        file is of an unknown type, or ``pattern`` is given where every row counts.
    TypeError
        If the source is none of the above, or a listed element is not a path.

    Notes
    -----
    Files and folders whose name begins with a dot are skipped. Links to folders are followed, and
    every folder is entered once, under its own path if it has one below the source: so circular
    links do no harm. A link to a missing file is listed, so that decoding reports it. Files are
    not opened: one directory scan a folder, or one look-up of existence for each listed path.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dinov2_sklearn import list_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.jpg", "a.PNG", "notes.md"):
    ...         Path(folder, name).touch()
    ...     paths = list_images(folder)
    >>> [Path(path).name for path in paths]
    ['a.PNG', 'b.jpg']
    """
    if isinstance(source, (str, bytes, PathLike)):
        paths = _from_path(os.path.expanduser(os.fsdecode(source)), pattern, recursive, image_col)
    else:
        _refuse_pattern(pattern, "a list or a data frame")
        if is_frame(source):
            paths = read_frame(source, image_col)
        elif is_listing(source):
            paths = read_listing(source)
        else:
            raise TypeError(
                "list_images takes a folder, a glob, a .csv or .txt file, a data frame or a "
                f"sequence of paths, got an object of type {type(source).__name__}."
            )
    result = np.empty(len(paths), dtype=object)
    result[:] = paths
    return result


def _from_path(path: str, pattern: str, recursive: bool, image_col: str) -> list[str]:
    if ImageRef(path).is_url:
        return _from_url(path, pattern, recursive, image_col)
    if os.path.isdir(path):
        return _select(path, _walk(path, recursive), pattern, _folder_text(path, recursive))
    if os.path.isfile(path):
        extension = os.path.splitext(path)[1].lower()
        if extension in IMAGE_EXTENSIONS:
            return [path]
        if extension in _LISTINGS:
            return _from_listing(path, extension, pattern, image_col)
        raise ValueError(
            f"{path!r} is a file of type {extension or '(no extension)'!r}. list_images reads "
            f"folders, globs, {', '.join(_TABLES)} and .txt files, and images "
            f"({', '.join(sorted(IMAGE_EXTENSIONS))}); those in an archive by a URL such as "
            "'zip://::photos.zip'."
        )
    if glob.has_magic(path):
        root, files = _glob(path)
        return _select(root, files, pattern, f"the glob {path!r}")
    raise FileNotFoundError(_nothing_there(path))


def _from_url(url: str, pattern: str, recursive: bool, image_col: str) -> list[str]:
    name, extension = ImageRef(url).within, ImageRef(url).extension
    if extension in _LISTINGS:
        return _from_listing(url, extension, pattern, image_col)
    root = above_glob(name) if "*" in name else name
    try:
        return _select(root, walk_url(url, recursive=recursive), pattern, f"{url!r}")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OSError(f"{url!r} cannot be read ({error}).") from error


def _from_listing(path: str, extension: str, pattern: str, image_col: str) -> list[str]:
    _refuse_pattern(pattern, f"a {extension} file")
    return read_txt(path) if extension == ".txt" else read_csv(path, image_col)


def _refuse_pattern(pattern: str, what: str) -> None:
    if pattern != "*":
        raise ValueError(
            f"pattern={pattern!r} applies to folders and globs. The source is {what}, where "
            "leaving out rows would lose the alignment with their labels: filter it beforehand."
        )


def _walk(root: str, recursive: bool) -> Iterator[str]:
    """Yield every visible file below root, entering each folder once."""
    folders, links = [root], list[str]()
    seen = set[tuple[int, int]]()
    while folders or links:
        # Links wait until all real folders are done, so that a folder that can be reached both
        # ways is listed under its own path, whatever the order of names.
        folder = folders.pop() if folders else links.pop(0)
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            visible = sorted((e for e in entries if e.name[0] != "."), key=lambda e: e.name)
        for entry in visible:
            if not _leads_to_folder(entry):
                yield entry.path
            elif recursive:
                (links if entry.is_symlink() else folders).append(entry.path)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _glob(source: str) -> tuple[str, Iterator[str]]:
    parts = PurePath(source).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root, wanted = os.path.join("", *parts[:fixed]), parts[fixed:]
    if root and not os.path.isdir(root):
        raise FileNotFoundError(_nothing_there(root))
    return root, _glob_below(root, wanted)


def _glob_below(root: str, wanted: Sequence[str]) -> Iterator[str]:
    if "**" in wanted:
        start = len(os.path.join(root, "")) if root else len(os.path.join(os.curdir, ""))
        for path in _walk(root or os.curdir, recursive=True):
            if _matches(PurePath(path[start:]).parts, wanted):
                yield path if root else path[start:]
    else:
        # Neither links nor depth can run away without a "**".
        for path in glob.iglob(os.path.join(glob.escape(root), *wanted)):
            if not os.path.isdir(path):
                yield path


def _matches(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        rest = wanted[1:]
        return bool(parts) and (
            not rest or any(_matches(parts[skip:], rest) for skip in range(len(parts)))
        )
    return bool(parts) and fnmatch.fnmatch(parts[0], wanted[0]) and _matches(parts[1:], wanted[1:])


def _select(root: str, files: Iterator[str], pattern: str, what: str) -> list[str]:
    accepts = _name_filter(root, pattern)
    chosen, others = [], Counter[str]()
    for path in files:
        ref = ImageRef(path)
        name, extension = ref.within, ref.extension
        if extension not in IMAGE_EXTENSIONS:
            others[extension or "(no extension)"] += 1
        elif accepts(name):
            chosen.append(path)
        else:
            others[f"images that pattern={pattern!r} leaves out"] += 1
    if not chosen:
        found = ", ".join(f"{count} {kind}" for kind, count in others.most_common(FEW))
        raise ValueError(
            f"No images in {what}: looked for files that end in "
            f"{', '.join(sorted(IMAGE_EXTENSIONS))}; found {found or 'no files at all'}."
        )
    return sorted(chosen)


def _name_filter(root: str, pattern: str) -> Callable[[str], object]:
    if pattern == "*":
        return lambda path: True
    match = re.compile(fnmatch.translate(pattern), re.IGNORECASE).match
    if "/" not in pattern:
        return lambda path: match(os.path.basename(path))
    start = len(os.path.join(root, ""))
    return lambda path: match(path[start:].replace(os.sep, "/"))


def _folder_text(path: str, recursive: bool) -> str:
    return f"the folder {path!r}" + ("" if recursive else " itself (recursive=False)")


def _nothing_there(path: str) -> str:
    parent = os.path.abspath(path)
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    names = sorted(os.listdir(parent))
    shown = ", ".join(map(repr, names[:FEW])) + (", ..." if len(names) > FEW else "")
    return (
        f"There is no file, folder or glob match at {path!r}. The nearest folder that exists is "
        f"{parent!r}, with {len(names)} entries{': ' if names else ''}{shown}."
    )
