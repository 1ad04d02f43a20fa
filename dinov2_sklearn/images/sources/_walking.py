"""The files below a folder, a glob or a URL.

Folders on this machine's disks are walked here and not through fsspec, whose walk asks for each
file's size and times, takes some ten times as long, and goes in circles where a link does.
"""

# Names stay str: a Path for each of 100,000 files takes longer than scanning the disk.
# ruff: noqa: PTH112, PTH116, PTH118, PTH207

import fnmatch
import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from .._remote import explained, file_system

__all__ = ["LEFT_BEHIND", "above_glob", "split_glob", "walk", "walk_glob", "walk_url"]

# Folders of systems and storage boxes, in lower case: thumbnails, bins, what a check has found.
LEFT_BEHIND = frozenset(
    {"@eadir", "#recycle", "@recycle", "$recycle.bin", "lost+found", "__macosx"}
    | {"system volume information"}
)


def walk(root: str, recursive: bool, unreadable: list[str]) -> Iterator[str]:
    """Yield every visible file below a folder, entering each folder once.

    Folders below it that cannot be read are appended to a list.
    """
    folders, links = [root], list[str]()
    seen = set[tuple[int, int]]()
    while folders or links:
        # Links wait until all real folders are done, so that a folder that can be reached both
        # ways is listed under its own path, whatever the order of names.
        folder = folders.pop() if folders else links.pop(0)
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                visible = sorted((e for e in entries if e.name[0] != "."), key=lambda e: e.name)
        except OSError:
            if folder == root:
                raise
            unreadable.append(folder)
            continue
        for entry in visible:
            if not _leads_to_folder(entry):
                yield entry.path
            elif recursive and entry.name.lower() not in LEFT_BEHIND:
                (links if entry.is_symlink() else folders).append(entry.path)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def split_glob(source: str) -> tuple[str, tuple[str, ...]]:
    """Return the folder above a glob's first wild part, and the parts from there on."""
    parts = PurePath(source).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return os.path.join("", *parts[:fixed]), parts[fixed:]


def walk_glob(root: str, wanted: Sequence[str], unreadable: list[str]) -> Iterator[str]:
    """Yield the files below a folder that match a glob's parts."""
    if "**" in wanted:
        start = len(os.path.join(root, "")) if root else len(os.path.join(os.curdir, ""))
        for path in walk(root or os.curdir, True, unreadable):
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


def above_glob(path: str) -> str:
    """Return the folder above the first part of a path that holds a glob's character."""
    return re.split(r"[*?[]", path, maxsplit=1)[0].rpartition("/")[0]


def walk_url(url: str, recursive: bool, storage_options: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the URL of every visible file below a URL, which may hold a glob's characters.

    Raises
    ------
    FileNotFoundError
        If there is nothing at the URL.
    OSError
        If it cannot be read.
    ImportError
        If fsspec's part for the URL's scheme is not installed.
    ValueError
        If a name cannot be part of a URL.
    """
    with explained(url):
        files, root, archive = file_system(url, storage_options)
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
