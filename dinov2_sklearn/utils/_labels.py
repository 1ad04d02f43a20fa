"""Labels as users keep them: what stands for no label, and what is said of what cannot be one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["encode_labels"]

# Text that numpy and pandas make of a missing label once an array holds text.
_MISSING_AS_TEXT = ("", "nan", "-1", "<NA>")


def encode_labels(y: Any, n_rows: int, name: str = "y") -> tuple[NDArray, NDArray[np.intp]]:
    """Return the classes in order, and each row's place among them, -1 where it has no label.

    -1, None, NaN and pandas' NA are no label. A label is text, a whole number or a bool.

    Raises
    ------
    TypeError
        If labels are of several kinds, or of one that cannot be a label.
    ValueError
        If `y` has not one value a row, or holds text that once was a missing value.
    """
    values = y.to_numpy() if hasattr(y, "to_numpy") else np.asarray(_as_listed(y))
    if values.shape != (n_rows,):
        raise ValueError(
            f"{name} must hold one label a row, {n_rows} in all, with -1, None or NaN for rows "
            f"without one. Got an array of shape {values.shape}."
        )
    if values.dtype.kind in "fiu":
        labelled = ~np.isnan(values) & (values != -1)
        known = values[labelled]
        if values.dtype.kind == "f":
            _refuse_fractions(known, np.flatnonzero(labelled), name)
            known = known.astype(np.int64)
    else:
        cells = values.tolist()
        labelled = np.array([not _is_missing(cell) for cell in cells], dtype=bool)
        known = _of_one_kind([cell for cell in cells if not _is_missing(cell)], labelled, name)
    classes, places = np.unique(known, return_inverse=True)
    codes = np.full(n_rows, -1, dtype=np.intp)
    codes[labelled] = places.reshape(-1)
    return classes, codes


def _as_listed(y: Any) -> Any:
    """Keep numpy from turning numbers and missing values of a list into text."""
    if not isinstance(y, (list, tuple)) or not any(isinstance(label, str) for label in y):
        return y
    cells = np.empty(len(y), dtype=object)
    cells[:] = y
    return cells


def _is_missing(cell: Any) -> bool:
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(cell, (bool, np.bool_, str)):
        return False
    return isinstance(cell, (int, float, np.number)) and (cell != cell or cell == -1)


def _refuse_fractions(known: NDArray, rows: NDArray[np.intp], name: str) -> None:
    wrong = np.flatnonzero(known != np.floor(known)) if np.isfinite(known).all() else rows[:0]
    if len(wrong) or not np.isfinite(known).all():
        at = wrong[0] if len(wrong) else np.flatnonzero(~np.isfinite(known))[0]
        raise ValueError(
            f"{name} holds {known[at]:g} (row {rows[at]}), which is no class: labels are text or "
            "whole numbers."
        )


def _of_one_kind(known: list[Any], labelled: NDArray[np.bool_], name: str) -> NDArray:
    """Return labels that are all text, all whole numbers or all bools."""
    kinds: dict[str, int] = {}  # the first label of each
    for place, label in enumerate(known):
        kinds.setdefault(_kind(label), place)
    rows = np.flatnonzero(labelled)
    if "" in kinds:
        wrong = kinds[""]
        raise TypeError(
            f"{name} holds {known[wrong]!r} (row {rows[wrong]}): labels are text or whole numbers, "
            "and -1, None or NaN where there is none."
        )
    if len(kinds) > 1:
        (one, first), (other, second) = list(kinds.items())[:2]
        raise TypeError(
            f"{name} mixes {one} and {other}: {known[first]!r} (row {rows[first]}) and "
            f"{known[second]!r} (row {rows[second]}). Make all of them text, say, but leave None "
            "where there is no label."
        )
    if "text" in kinds:
        for place, label in enumerate(known):
            if label in _MISSING_AS_TEXT:
                raise ValueError(
                    f"{name} holds the text {str(label)!r} (row {rows[place]}). Is it a missing "
                    "label that numpy or pandas turned into text? Give None for rows without a "
                    "label, in a list or an array of dtype=object."
                )
    return np.array(known) if known else np.empty(0, dtype=np.int64)


def _kind(label: Any) -> str:
    if isinstance(label, str):
        return "text"
    if isinstance(label, (bool, np.bool_)):
        return "bools"
    if isinstance(label, (int, np.integer)) or (
        isinstance(label, (float, np.floating)) and float(label).is_integer()
    ):
        return "whole numbers"
    return ""
