"""Selections from files: what the page of a map and `write_selection` wrote, read back.

What stands in them is shared with those who write them.
"""

# Names stay str: paths that are no valid text must survive.
# ruff: noqa: PTH100, PTH118

import csv
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COCO",
    "LABEL_STUDIO_PREFIX",
    "PAGE_FORMAT",
    "find_paths",
    "find_rows",
    "load_selection",
    "read_paths",
]

PAGE_FORMAT = "dinov2_sklearn selection"
COCO = "images selected by dinov2_sklearn"
LABEL_STUDIO_PREFIX = "/data/local-files/?d="


def load_selection(
    path: str | os.PathLike[str],
    paths: Iterable[str | os.PathLike[str]] | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
) -> NDArray[np.intp]:
    """Read the rows of a selection, to be used as ``preselected`` say.

    Parameters
    ----------
    path : path-like
        A ``.json`` that the page of `ProjectionDisplay.write_html` downloaded, or any file of
        `write_selection`: CSV, txt, JSON, COCO or Label Studio tasks.
    paths : iterable of path-like, default=None
        The images as they are listed now. Each selected image is then looked up in them by its
        path, so that a list that grew or is in another order gives the right rows. None gives the
        rows as the file numbers them; txt, COCO and Label Studio files have no numbers.
    root : path-like, default=None
        Folder that the paths in a COCO or Label Studio file are relative to.

    Returns
    -------
    rows : ndarray of int
        Distinct row numbers, in the order of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no selection, or a selected path is not among `paths`.

    See Also
    --------
    write_selection : Writes such files.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dinov2_sklearn import load_selection
    >>> from dinov2_sklearn.selection import write_selection
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "picks.csv"
    ...     write_selection(file, ["a.jpg", "b.jpg", "c.jpg"], [2, 0])
    ...     print(load_selection(file), load_selection(file, ["c.jpg", "a.jpg"]))
    [2 0] [0 1]
    """
    rows, names = _read(Path(path), root)
    if paths is not None:
        rows = _look_up(rows, names, [os.fsdecode(name) for name in paths], str(path))
    elif rows is None:
        raise ValueError(f"{str(path)!r} has no row numbers: give paths, the images as listed now.")
    return np.array(rows, dtype=np.intp)


def read_paths(
    path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None
) -> list[str]:
    """Read the paths of a selection.

    Parameters
    ----------
    path, root : path-like
        As in `load_selection`.

    Returns
    -------
    list of str
        In the order of the file.

    Raises
    ------
    FileNotFoundError, ValueError
        As in `load_selection`, and if the file has row numbers only.
    """
    _, names = _read(Path(path), root)
    if names is None:
        raise ValueError(f"{str(path)!r} holds row numbers only, no paths.")
    return names


def find_rows(names: Iterable[str], paths: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return all rows of these paths, however often one stands among them, and what is missing.

    Paths are the same if they are so as absolute paths.
    """
    wanted = {os.path.abspath(name): name for name in names}
    absolute = [os.path.abspath(path) for path in paths]
    rows = [row for row, path in enumerate(absolute) if path in wanted]
    there = {absolute[row] for row in rows}
    return rows, [name for path, name in wanted.items() if path not in there]


def find_paths(names: Iterable[str], paths: Sequence[str]) -> list[int]:
    """Return the position of each name among the paths, -1 where it is not there.

    A name that does not stand among them as it is written is looked up as an absolute path.
    """
    places = {name: place for place, name in reversed(list(enumerate(paths)))}
    absolute: dict[str, int] = {}
    found = []
    for name in names:
        if name not in places and not absolute:
            absolute = {os.path.abspath(path): place for path, place in places.items()}
        found.append(places.get(name, absolute.get(os.path.abspath(name), -1)))
    return found


def _read(
    path: Path, root: str | os.PathLike[str] | None
) -> tuple[list[int] | None, list[str] | None]:
    readers = {".json": _read_json, ".csv": _read_csv, ".txt": _read_txt}
    if path.suffix.lower() not in readers:
        raise ValueError(
            f"{str(path)!r} has the extension {path.suffix!r}. A selection is a .json, downloaded "
            "from the page of a map, or a .csv, .txt or .json of write_selection."
        )
    if not path.exists():
        raise FileNotFoundError(f"There is no selection {str(path)!r}.")
    try:
        rows, names, relative = readers[path.suffix.lower()](path)
        if names is not None and not all(isinstance(name, str) for name in names):
            raise ValueError("paths that are no strings")
    except (csv.Error, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} is damaged, or is no selection ({type(error).__name__}: {error}). "
            "Download it from the page again, or write it with write_selection."
        ) from error
    if root is not None and names is not None and relative:
        names = [os.path.join(root, name) for name in names]
    return rows, names


# What a file holds: its rows and paths, None where there are none, and whether the paths are
# relative to a root.
Contents = tuple[list[int] | None, list[str] | None, bool]


def _read_json(path: Path) -> Contents:
    record: Any = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    if isinstance(record, list):
        return None, [_task_path(task["data"]["image"]) for task in record], True
    if "images" in record:
        return None, [image["file_name"] for image in record["images"]], True
    if record["format"] != PAGE_FORMAT or record["version"] != 1:
        raise ValueError(f"format {record['format']!r}, version {record['version']!r}")
    return (*_check(record["indices"], record["paths"]), False)


def _task_path(url: str) -> str:
    if not url.startswith(LABEL_STUDIO_PREFIX):
        raise ValueError(f"a task whose image is {url!r}, not in local storage")
    return os.fsdecode(unquote_to_bytes(url.removeprefix(LABEL_STUDIO_PREFIX)))


def _read_csv(path: Path) -> Contents:
    # A byte-order mark is how spreadsheets say UTF-8.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        columns = set(reader.fieldnames or ())
        table = list(reader)
    if "filepath" not in columns:
        raise ValueError("no column filepath")
    names = [line["filepath"] for line in table]
    if "index" not in columns:
        return None, names, False
    return (*_check([int(line["index"]) for line in table], names), False)


def _read_txt(path: Path) -> Contents:
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    return None, [line for line in text.split("\n") if line], False


def _check(rows: Any, names: Any) -> tuple[list[int], Any]:
    if not all(type(row) is int and row >= 0 for row in rows):
        raise ValueError("indices that are no row numbers")
    if len(set(rows)) < len(rows):
        raise ValueError("a row that stands twice")
    if names is not None and len(names) != len(rows):
        raise ValueError(f"{len(names)} paths for {len(rows)} rows")
    return rows, names


def _look_up(
    rows: list[int] | None, names: list[str] | None, paths: list[str], file: str
) -> list[int]:
    if names is None:
        raise ValueError(f"{file!r} holds row numbers only: it cannot be looked up in paths.")
    places = find_paths(names, paths)
    missing = [name for name, place in zip(names, places, strict=True) if place < 0]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(names)} paths selected in {file!r} are not among paths, the "
            f"first of them {missing[0]!r}. Are paths listed in the same way as for the map?"
        )
    # Of equal paths, the row that was selected, where it is still there and not taken yet.
    equal: dict[str, list[int]] = {}
    for place, path in enumerate(paths):
        equal.setdefault(path, []).append(place)
    taken: dict[int, None] = {}
    for row, place in zip(rows or [-1] * len(names), places, strict=True):
        among = [row, *equal[paths[place]]] if row in equal[paths[place]] else equal[paths[place]]
        free = [candidate for candidate in among if candidate not in taken]
        if free:
            taken[free[0]] = None
    return list(taken)
