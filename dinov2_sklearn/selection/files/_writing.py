"""Selections as files."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ..._version import __version__
from ...utils import atomic_write, check_indices
from .._sampler import DiversitySampler
from ._formats import Picks, choose_format


def write_selection(
    path: str | os.PathLike[str],
    filepaths: Sequence[str | os.PathLike[str]],
    selection: DiversitySampler | ArrayLike,
    *,
    format: str | None = None,
    root: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    rows: ArrayLike | None = None,
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
    filepaths : sequence of path-like, of length n_rows
        One path for each row of the X that the selection was made from (for a sampler after
        `partial_fit`, of the last batch).
    selection : DiversitySampler or array-like of int
        A fitted sampler, or distinct row numbers in pick order.
    format : {"csv", "txt", "json", "coco", "label-studio"}, default=None
        None goes by the extension, which is then one of the first three.

        - "csv": the columns above. FiftyOne imports it as a ``CSVDataset``.
        - "txt": one path a line.
        - "json": all of these and how they were made, the form that the page of a map downloads.
        - "coco": a COCO dataset of these images and no annotations, for CVAT and others.
        - "label-studio": tasks that show each image from Label Studio's local storage.

        CSV, txt and Label Studio's tasks have a sidecar ``<path>.json`` that says how the
        selection was made. `load_selection` reads all of them.
    root : path-like, default=None
        Folder that the paths in a COCO or Label Studio file are relative to; for Label Studio its
        document root, which it must have.
    settings : mapping, default=None
        Anything else worth keeping about how it was made, such as the model's name.
    rows : array-like of int of shape (n_rows,), default=None
        Number of each row in a larger table, of which the selection was made from a part. The
        column ``index`` holds these.

    Raises
    ------
    TypeError
        If `filepaths` is a single path.
    ValueError
        If `filepaths` does not have one path a row, an index is no row of it or stands twice, a
        path is outside `root`, or the format cannot hold a path.
    FileNotFoundError
        If the folder of `path` does not exist.

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
    if isinstance(filepaths, (str, bytes, os.PathLike)):
        raise TypeError(f"filepaths must hold one path a row, got the single path {filepaths!r}.")
    filepaths = [os.fsdecode(filepath) for filepath in filepaths]
    indices, details = _picks_of(selection, len(filepaths))
    record = _record(selection, len(filepaths), len(indices), settings)
    numbers = range(len(filepaths)) if rows is None else np.asarray(rows).tolist()
    table_rows = [
        (rank, numbers[index], filepaths[index], *(_cell(column, rank - 1) for column in details))
        for rank, index in enumerate(indices.tolist(), start=1)
    ]
    text = chosen.text(Picks(table_rows, record, None if root is None else Path(root)))
    # Neither file takes its name before both are written.
    with ExitStack() as files:
        if chosen.sidecar:
            sidecar = files.enter_context(atomic_write(path.with_name(path.name + ".json")))
            sidecar.write(json.dumps(record, indent=2).encode() + b"\n")
        table = files.enter_context(atomic_write(path))
        table.write(text.encode("utf-8", errors="surrogateescape"))


def _picks_of(
    selection: DiversitySampler | ArrayLike, n_rows: int
) -> tuple[np.ndarray, list[np.ndarray | None]]:
    """Return the picked rows, and the columns score, cluster and distance, None where unknown."""
    if not isinstance(selection, DiversitySampler):
        return check_indices(selection, n_rows, "selection"), [None, None, None]
    check_is_fitted(selection)
    if n_rows != len(selection.support_):
        raise ValueError(
            f"filepaths has {n_rows} paths, but the sampler picked from "
            f"{len(selection.support_)} rows: give one path a row."
        )
    indices = selection.selected_indices_
    labels = getattr(selection, "labels_", None)
    clusters = None if labels is None else labels[indices]
    return indices, [selection.coverage_, clusters, selection.pick_distances_]


def _cell(column: np.ndarray | None, position: int) -> Any:
    if column is None:
        return None
    value = column[position].item()
    return value if np.isfinite(value) else None


def _record(
    selection: DiversitySampler | ArrayLike,
    n_rows: int,
    n_picks: int,
    settings: Mapping[str, Any] | None,
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "n_rows": n_rows,
        "n_picks": n_picks,
    }
    if isinstance(selection, DiversitySampler):
        record["sampler"] = selection.get_params()
        record["covering_radius"] = selection.covering_radius_
    record["settings"] = dict(settings or {})
    record["versions"] = {
        "dinov2_sklearn": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "scikit-learn": sklearn.__version__,
    }
    return json.loads(json.dumps(record, default=_plain, allow_nan=False))


def _plain(value: Any) -> Any:
    """Say in JSON what JSON has no type for: numpy numbers, paths, callable strategies."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    name = getattr(value, "__qualname__", None)
    return repr(value) if name is None else f"{value.__module__}.{name}"
