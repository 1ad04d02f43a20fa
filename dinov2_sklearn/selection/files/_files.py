"""Selections to and from files."""

import csv
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from ..._version import __version__
from ...images import find_rows
from ...utils import atomic_write, check_indices
from ._formats import choose_format, parse, to_json
from ._selection import Selection

__all__ = ["load_selection", "read_selection", "write_selection"]

_VERSIONS = {
    "dinov2_sklearn": __version__,
    "numpy": np.__version__,
    "python": platform.python_version(),
    "scikit-learn": sklearn.__version__,
}


def write_selection(
    path: str | os.PathLike[str],
    filepaths: Sequence[str | os.PathLike[str]] | None,
    selection: Any,
    *,
    format: str | None = None,
    root: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    rows: ArrayLike | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> None:
    """Write a selection into a file, for people or for a labelling tool.

    The columns of a CSV are ``rank`` (from 1, in pick order), ``index`` (row of `filepaths`, from
    0), ``filepath``, ``score`` (share of all rows that this pick stands for, see
    ``DiversitySampler.coverage_``), ``cluster``, and ``distance_to_selected`` (to the nearest row
    picked earlier or labelled before). A field is empty where it has no value: there are no
    clusters, the first pick has no earlier one, plain indices have only a rank.

    Parameters
    ----------
    path : path-like
        The file to write. An existing one is replaced.
    filepaths : sequence of path-like of length n_rows, or None
        One path for each row of the X that the selection was made from (for a sampler after
        `partial_fit`, of the last batch). None where `selection` is a `Selection`.
    selection : DiversitySampler, Selection or array-like of int
        A fitted sampler, what `read_selection` returned, or distinct row numbers in pick order.
    format : {"csv", "txt", "json", "coco", "fiftyone", "label-studio"}, default=None
        None goes by the extension, which is then one of the first three.

        - "csv": the columns above. FiftyOne imports it as a ``CSVDataset``.
        - "fiftyone": the same of boxes: ``filepath`` is the picture, ``bounding_box`` where the box
          lies as FiftyOne has it, in shares of the picture's edges.
        - "txt": one path a line.
        - "json": all of these and how they were made, the form that the page of a map downloads.
        - "coco": a COCO dataset of these images, with their boxes as annotations, for CVAT and
          others.
        - "label-studio": tasks that show each image from Label Studio's local storage or its URL,
          with its box as a prediction.

        CSVs, txt and Label Studio's tasks have a sidecar ``<path>.json`` that says how the
        selection was made. `load_selection` reads all of them.
    root : path-like, default=None
        Folder that the paths in a COCO or Label Studio file are relative to; for Label Studio its
        document root, which it must have unless all images are URLs.
    settings : mapping, default=None
        Anything else worth keeping about how it was made, such as the model's name.
    rows : array-like of int of shape (n_rows,), default=None
        Number of each row in a larger table, of which the selection was made from a part. The
        column ``index`` holds these.
    columns : mapping of str to sequence of length n_rows, default=None
        Further columns, such as the camera that took each image. All formats but txt hold them.

    Raises
    ------
    TypeError
        If `filepaths` is a single path.
    ValueError
        If `filepaths` does not have one path a row, an index is no row of it or stands twice, a
        path is outside `root`, or the format cannot hold a path.
    FileNotFoundError
        If the folder of `path` does not exist.

    See Also
    --------
    load_selection : Finds the rows again among images as they are listed now.
    read_selection : Reads all that such a file holds.

    Notes
    -----
    A CSV is RFC 4180 in UTF-8: any character in a path survives, line breaks, quotes and
    undecodable bytes (as Python's ``surrogateescape``) included. Files are written whole under
    temporary names and then renamed, so that a reader never sees half of one.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dinov2_sklearn.selection import write_selection
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_selection(Path(folder) / "picks.csv", ["a.jpg", "b.jpg", "c.jpg"], [2, 0])
    ...     print((Path(folder) / "picks.csv").read_text())
    rank,index,filepath,score,cluster,distance_to_selected
    1,2,c.jpg,,,
    2,0,a.jpg,,,
    """
    path = Path(path)
    chosen = choose_format(path, format)
    if isinstance(selection, Selection):
        if filepaths is not None or rows is not None or columns:
            raise ValueError(
                "A Selection has paths, rows and columns of its own: give None as filepaths, and "
                "neither rows nor columns."
            )
        picked = _with_settings(selection, settings)
    else:
        picked = _selection_of(selection, filepaths, rows, columns or {}, settings)
    text = chosen.write(picked, None if root is None else Path(root))
    # Neither file takes its name before both are written.
    with ExitStack() as files:
        if chosen.sidecar:
            sidecar = files.enter_context(atomic_write(path.with_name(path.name + ".json")))
            sidecar.write(json.dumps(picked.settings, indent=2).encode() + b"\n")
        table = files.enter_context(atomic_write(path))
        table.write(text.encode("utf-8", errors="surrogateescape"))


def read_selection(
    path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None
) -> Selection:
    """Read all that a file of `write_selection`, or of a map's page, holds.

    Parameters
    ----------
    path : path-like
        A ``.json`` that the page of `ProjectionDisplay.write_html` downloaded, or any file of
        `write_selection`: CSV, txt, JSON, COCO or Label Studio tasks.
    root : path-like, default=None
        Folder that relative paths in the file count from. None is the working directory.

    Returns
    -------
    Selection
        In the order of the file. txt, COCO and Label Studio files have no row numbers, and a page
        without file names has no paths.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no selection.

    See Also
    --------
    load_selection : Finds the rows among images as they are listed now.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dinov2_sklearn.selection import read_selection, write_selection
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_selection(Path(folder) / "picks.csv", ["a.jpg", "b.jpg", "c.jpg"], [2, 0])
    ...     selection = read_selection(Path(folder) / "picks.csv")
    >>> selection.paths, selection.rows
    (['c.jpg', 'a.jpg'], array([2, 0]))
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".json", ".txt"):
        raise ValueError(
            f"{str(path)!r} has the extension {path.suffix!r}. A selection is a .json, downloaded "
            "from the page of a map, or a .csv, .txt or .json of write_selection."
        )
    if not path.exists():
        raise FileNotFoundError(f"There is no selection {str(path)!r}.")
    try:
        # A byte-order mark is how spreadsheets say UTF-8.
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
        return parse(text, suffix, None if root is None else Path(root))
    except (csv.Error, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} is damaged, or is no selection ({type(error).__name__}: {error}). "
            "Download it from the page again, or write it with write_selection."
        ) from error


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
        Folder that relative paths in the file count from. None is the working directory.

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
    read_selection : Reads all that the file holds.
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
    selection = read_selection(path, root=root)
    if paths is not None:
        return _look_up(selection, [os.fsdecode(name) for name in paths], os.fspath(path))
    if selection.rows is None:
        raise ValueError(
            f"{os.fspath(path)!r} has no row numbers: give paths, the images as listed now."
        )
    return selection.rows


def _selection_of(
    picked: Any,
    filepaths: Sequence[str | os.PathLike[str]] | None,
    rows: ArrayLike | None,
    columns: Mapping[str, Sequence[Any]],
    settings: Mapping[str, Any] | None,
) -> Selection:
    """Put together what a fitted sampler or row numbers picked from these paths."""
    if filepaths is None or isinstance(filepaths, (str, bytes, os.PathLike)):
        got = "None" if filepaths is None else f"the single path {filepaths!r}"
        raise TypeError(f"filepaths must hold one path a row, got {got}.")
    paths = [os.fsdecode(filepath) for filepath in filepaths]
    if hasattr(picked, "get_params"):
        check_is_fitted(picked)
        if len(paths) != len(picked.support_):
            raise ValueError(
                f"filepaths has {len(paths)} paths, but the sampler picked from "
                f"{len(picked.support_)} rows: give one path a row."
            )
        indices = picked.selected_indices_
        made = {"sampler": picked.get_params(), "covering_radius": picked.covering_radius_}
    else:
        indices, made = check_indices(picked, len(paths), "selection"), {}
    numbers = np.arange(len(paths)) if rows is None else np.asarray(rows)
    # Lists: what a pandas Series holds at a number depends on its index.
    listed = {name: list(values) for name, values in columns.items()}
    for name, values in {"rows": numbers, **listed}.items():
        if len(values) != len(paths):
            raise ValueError(f"{name} has {len(values)} values for {len(paths)} paths.")
    labels = getattr(picked, "labels_", None)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    counts = {"created": created, "n_rows": len(paths), "n_picks": len(indices)}
    selection = Selection(
        [paths[index] for index in indices],
        numbers[indices],
        scores=getattr(picked, "coverage_", None),
        clusters=None if labels is None else labels[indices],
        distances=getattr(picked, "pick_distances_", None),
        columns={name: [values[i] for i in indices] for name, values in listed.items()},
        settings={**counts, **made, "versions": _VERSIONS},
    )
    return _with_settings(selection, settings)


def _with_settings(selection: Selection, settings: Mapping[str, Any] | None) -> Selection:
    """Return the selection with further settings, all of which JSON can hold."""
    made = dict(selection.settings)
    made["settings"] = {**made.get("settings", {}), **(settings or {})}
    plain = json.loads(json.dumps(made, default=to_json, allow_nan=False))
    return replace(selection, settings=plain)


def _look_up(selection: Selection, paths: list[str], file: str) -> NDArray[np.intp]:
    names = selection.paths
    if names is None:
        raise ValueError(f"{file!r} holds row numbers only: it cannot be looked up in paths.")
    found = find_rows(names, paths, moved_in=repr(file))
    missing = [name for name, rows in zip(names, found, strict=True) if not rows]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(names)} paths selected in {file!r} are not among paths, the "
            f"first of them {missing[0]!r}. Are paths listed in the same way as for the map?"
        )
    # Of equal paths, the row that was selected, where it is still there and not taken yet.
    taken: dict[int, None] = {}
    earlier = [-1] * len(names) if selection.rows is None else selection.rows.tolist()
    for row, name, rows in zip(earlier, names, found, strict=True):
        free = [candidate for candidate in rows if candidate not in taken]
        if free:
            taken[min(free, key=lambda r: (paths[r] != name, r != row))] = None
    return np.array(list(taken), dtype=np.intp)
