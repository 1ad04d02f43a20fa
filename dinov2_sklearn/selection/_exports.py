"""Selections as files."""

import csv
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from .. import __version__
from .._files import atomic_write
from ._sampler import DiversitySampler
from ._validation import check_indices

COLUMNS = ("rank", "index", "filepath", "score", "cluster", "distance_to_selected")


def write_selection(
    path: str | os.PathLike[str],
    filepaths: Sequence[str | os.PathLike[str]],
    selection: DiversitySampler | ArrayLike,
    *,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write a selection as a CSV, with a JSON sidecar of how it was made.

    The columns are ``rank`` (from 1, in pick order), ``index`` (row of `filepaths`, from 0),
    ``filepath``, ``score`` (share of all rows that this pick stands for, see
    ``DiversitySampler.coverage_``), ``cluster``, and ``distance_to_selected`` (to the nearest row
    picked earlier or labelled before). A field is empty where it has no value: there are no
    clusters, the first pick has no earlier one, plain indices have only a rank.

    Parameters
    ----------
    path : path-like
        The CSV to write; its sidecar is ``<path>.json``. Existing files are replaced.
    filepaths : sequence of path-like, of length n_rows
        One path for each row of the X that the selection was made from (for a sampler after
        `partial_fit`, of the last batch).
    selection : DiversitySampler or array-like of int
        A fitted sampler, or distinct row numbers in pick order.
    settings : mapping, default=None
        Anything else worth keeping in the sidecar, such as the model's name.

    Raises
    ------
    ValueError
        If `filepaths` does not have one path a row, or an index is no row of it or stands twice.
    FileNotFoundError
        If the folder of `path` does not exist.

    Notes
    -----
    The file is RFC 4180 CSV in UTF-8: any character in a path survives, line breaks, quotes and
    undecodable bytes (as Python's ``surrogateescape``) included. Both files are written whole
    under temporary names and then renamed, so that a reader never sees half of one.

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
    filepaths = [os.fsdecode(filepath) for filepath in filepaths]
    indices, details = _picks_of(selection, len(filepaths))
    record = _record(selection, len(filepaths), len(indices), settings)
    rows = (
        (rank, index, filepaths[index], *(_cell(column, rank - 1) for column in details))
        for rank, index in enumerate(indices.tolist(), start=1)
    )
    # Neither file takes its name before both are written.
    with (
        atomic_write(path.with_name(path.name + ".json")) as sidecar,
        atomic_write(path) as table,
    ):
        table.write(_csv_text(rows).encode("utf-8", errors="surrogateescape"))
        sidecar.write(json.dumps(record, indent=2, default=_plain).encode() + b"\n")


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
        return ""
    value = column[position].item()
    return value if np.isfinite(value) else ""


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
    return record


def _plain(value: Any) -> Any:
    """Say in JSON what JSON has no type for: numpy numbers, paths, callable strategies."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    name = getattr(value, "__qualname__", None)
    return repr(value) if name is None else f"{value.__module__}.{name}"


def _csv_text(rows: Iterable[Sequence[Any]]) -> str:
    text = StringIO()
    # The default line end, CRLF, also makes the writer quote a lone carriage return in a path.
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue()
