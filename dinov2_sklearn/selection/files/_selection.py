"""A selection: what was picked, in order, and what is known of each pick."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMNS", "Selection"]

COLUMNS = ("rank", "index", "filepath", "score", "cluster", "distance_to_selected")


@dataclass(frozen=True, eq=False)
class Selection:
    """Images in the order in which they were picked, and what is known of each.

    `write_selection` writes it, and `read_selection` reads it from any of its formats.

    Parameters
    ----------
    paths : sequence of path-like of length n_picks, or None
        Where the images are, in pick order. None where only row numbers are known.
    rows : array-like of int of shape (n_picks,), default=None
        Number of each pick in the table that it was picked from. None where only paths are known.
    scores : array-like of shape (n_picks,), default=None
        Share of all rows that each pick stands for, see ``DiversitySampler.coverage_``.
    clusters : array-like of int of shape (n_picks,), default=None
        Cluster of each pick.
    distances : array-like of shape (n_picks,), default=None
        Distance to the nearest row picked earlier or labelled before; infinite where there is none.
    columns : mapping of str to sequence of length n_picks, default={}
        Anything else that is known of each pick, such as the camera that took it.
    settings : mapping, default={}
        How the selection was made, as the sidecar of a CSV says it.

    Raises
    ------
    TypeError
        If `paths` is a single path, or holds something else.
    ValueError
        If there are neither paths nor rows, something has not one value a pick, a row is no row
        number or stands twice, or a column is named as one that every selection has.

    See Also
    --------
    read_selection : Reads a selection from a file.
    write_selection : Writes a selection to a file.

    Examples
    --------
    >>> from dinov2_sklearn.selection import Selection
    >>> selection = Selection(["c.jpg", "a.jpg"], [2, 0], columns={"camera": ["north", "south"]})
    >>> len(selection)
    2
    >>> selection.records()[0]["camera"]
    'north'
    """

    paths: list[str] | None
    rows: NDArray[np.intp] | None = None
    scores: NDArray[np.float64] | None = None
    clusters: NDArray[np.intp] | None = None
    distances: NDArray[np.float64] | None = None
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.paths, (str, bytes, os.PathLike)):
            raise TypeError(f"paths must hold one path a pick, got the single path {self.paths!r}.")
        if self.paths is None and self.rows is None:
            raise ValueError("A selection has paths, rows or both, and there are neither.")
        taken = sorted(set(self.columns) & set(COLUMNS))
        if taken:
            raise ValueError(f"A column may not be called {taken[0]!r}: every selection has one.")
        for name, kind in _KINDS.items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, kind(getattr(self, name)))
        named = {name: getattr(self, name) for name in _KINDS}
        for name, values in {**named, **self.columns}.items():
            if values is not None and len(values) != len(self):
                raise ValueError(f"{name} has {len(values)} values for {len(self)} picks.")

    def __len__(self) -> int:
        known = self.rows if self.paths is None else self.paths
        return 0 if known is None else len(known)

    def records(self) -> list[dict[str, Any]]:
        """Return what is known of each pick.

        Returns
        -------
        list of dict
            With the keys ``rank`` (from 1), ``index``, ``filepath``, ``score``, ``cluster``,
            ``distance_to_selected`` and those of `columns`; None where there is no value.
        """
        known = [self.rows, self.paths, self.scores, self.clusters, self.distances]
        values = [_values(column, len(self)) for column in (*known, *self.columns.values())]
        names = (*COLUMNS, *self.columns)
        ranks = range(1, len(self) + 1)
        return [
            dict(zip(names, record, strict=True)) for record in zip(ranks, *values, strict=True)
        ]


def _decoded(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    return [os.fsdecode(path) for path in paths]


def _row_numbers(rows: Iterable[Any]) -> NDArray[np.intp]:
    rows = list(rows)
    for row in rows:
        if isinstance(row, bool) or not isinstance(row, Integral) or int(row) < 0:
            raise ValueError(f"rows holds {row!r}, which is no row number.")
    if len(set(rows)) < len(rows):
        raise ValueError("rows holds a row more than once.")
    return np.array(rows, dtype=np.intp)


_KINDS: dict[str, Callable[[Any], Any]] = {
    "paths": _decoded,
    "rows": _row_numbers,
    "scores": np.asarray,
    "clusters": np.asarray,
    "distances": np.asarray,
}


def _values(column: Any, n_picks: int) -> list[Any]:
    """Return plain values, None where there is none."""
    if column is None:
        return [None] * n_picks
    values = column.tolist() if hasattr(column, "tolist") else list(column)
    return [None if isinstance(v, float) and not np.isfinite(v) else v for v in values]
