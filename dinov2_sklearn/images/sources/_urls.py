"""Images that are not on this machine's disks: URLs, by way of fsspec."""

import glob
import re
from collections.abc import Iterator
from typing import Any

from .._references import explained, file_system

__all__ = ["above_glob", "walk_url"]


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
        If fsspec's part for the URL's scheme is not installed.
    ValueError
        If a name cannot be part of a URL.
    """
    with explained(url):
        files, root, archive = file_system(url)
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
