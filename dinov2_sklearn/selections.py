"""Selections from files: what the page of a map and `write_selection` wrote, read back."""

import csv
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PAGE_FORMAT", "load_selection"]

PAGE_FORMAT = "dinov2_sklearn selection"


def load_selection(
    path: str | os.PathLike[str], paths: Iterable[str | os.PathLike[str]] | None = None
) -> NDArray[np.intp]:
    """Read the rows of a selection, to be used as ``preselected`` say.

    Parameters
    ----------
    path : path-like
        A ``.json`` that the page of `ProjectionDisplay.write_html` downloaded, or a ``.csv`` of
        `write_selection`.
    paths : iterable of path-like, default=None
        The images as they are listed now. Each selected image is then looked up in them by its
        path, so that a list that grew or is in another order gives the right rows. None gives the
        rows as the file numbers them.

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
    write_selection : Writes the CSV.

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
    path = Path(path)
    readers = {".json": _read_json, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise ValueError(
            f"{str(path)!r} has the extension {path.suffix!r}. A selection is a .json, downloaded "
            "from the page of a map, or a .csv, written by write_selection."
        )
    if not path.exists():
        raise FileNotFoundError(f"There is no selection {str(path)!r}.")
    try:
        rows, names = readers[path.suffix.lower()](path)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} is damaged, or is no selection ({type(error).__name__}: {error}). "
            "Download it from the page again, or write it with write_selection."
        ) from error
    if paths is not None:
        rows = _look_up(rows, names, [os.fsdecode(name) for name in paths], str(path))
    return np.array(rows, dtype=np.intp)


def _read_json(path: Path) -> tuple[list[int], list[str] | None]:
    record: Any = json.loads(path.read_text(encoding="utf-8"))
    if record["format"] != PAGE_FORMAT or record["version"] != 1:
        raise ValueError(f"format {record['format']!r}, version {record['version']!r}")
    names = record["paths"]
    if names is not None and not all(isinstance(name, str) for name in names):
        raise ValueError("paths that are no strings")
    return _check(record["indices"], names)


def _read_csv(path: Path) -> tuple[list[int], list[str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        table = list(reader)
    if not {"index", "filepath"} <= set(reader.fieldnames or ()):
        raise ValueError("no columns index and filepath")
    return _check([int(line["index"]) for line in table], [line["filepath"] for line in table])


def _check(rows: Any, names: Any) -> tuple[list[int], Any]:
    if not all(type(row) is int and row >= 0 for row in rows):
        raise ValueError("indices that are no row numbers")
    if len(set(rows)) < len(rows):
        raise ValueError("a row that stands twice")
    if names is not None and len(names) != len(rows):
        raise ValueError(f"{len(names)} paths for {len(rows)} rows")
    return rows, names


def _look_up(rows: list[int], names: list[str] | None, paths: list[str], file: str) -> list[int]:
    if names is None:
        raise ValueError(f"{file!r} holds row numbers only: it cannot be looked up in paths.")
    places = {name: place for place, name in reversed(list(enumerate(paths)))}
    missing = [name for name in names if name not in places]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(names)} paths selected in {file!r} are not among paths, the "
            f"first of them {missing[0]!r}. Are paths listed in the same way as for the map?"
        )
    # Of equal paths, the row that was selected, where it is still there.
    return [
        row if row < len(paths) and paths[row] == name else places[name]
        for row, name in zip(rows, names, strict=True)
    ]
