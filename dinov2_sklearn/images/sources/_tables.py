"""Paths listed by the user, in the user's order: tables, text files, data frames, sequences."""

# Names stay str, as in the module of sources.
# ruff: noqa: PTH113, PTH118, PTH120

import codecs
import csv
import io
import os
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np

from .._references import ImageRef

__all__ = [
    "FEW",
    "below_folder_of",
    "check_column",
    "is_frame",
    "is_listing",
    "is_missing",
    "read_csv",
    "read_frame",
    "read_listing",
    "read_txt",
]

FEW = 5  # how many names an error shows
_DELIMITERS = (",", ";", "\t", "|")


def is_frame(source: Any) -> bool:
    """Whether the source is a data frame, of pandas, polars or another library alike."""
    return hasattr(source, "columns") and hasattr(source, "__getitem__")


def is_listing(source: Any) -> bool:
    """Whether the source is an ordered collection: a sequence, an array or a Series."""
    return (
        hasattr(source, "__len__")
        and hasattr(source, "__getitem__")
        and not isinstance(source, (Mapping, str, bytes))
        and getattr(source, "ndim", 1) == 1
    )


def is_missing(value: Any) -> bool:
    """Whether a cell stands for no value: None, NaN, pandas' NA or NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def read_frame(frame: Any, image_col: str) -> list[str]:
    """Return the column's paths; see `list_images`."""
    columns = list(frame.columns)
    check_column(image_col, columns, "The data frame")
    return read_listing(frame[image_col], f"the column {image_col!r}")


def read_listing(listing: Any, what: str = "the list") -> list[str]:
    """Return a sequence's paths as str, all of which exist; see `list_images`."""
    values = listing.to_list() if hasattr(listing, "to_list") else list(listing)
    if not values:
        raise ValueError(f"No images: {what} has no elements.")
    missing = [i for i, value in enumerate(values) if is_missing(value)]
    if missing:
        raise ValueError(f"No path in {what} at {_some(missing, 'position')}.")
    wrong = [i for i, v in enumerate(values) if not isinstance(v, (str, bytes, PathLike))]
    if wrong:
        kind = type(values[wrong[0]]).__name__
        raise TypeError(
            f"Paths must be str or PathLike; {what} has a {kind} at {_some(wrong, 'position')}."
        )
    paths = [str(os.fsdecode(value)) for value in values]
    _check_files(paths, paths, what)
    return paths


def read_txt(path: str) -> list[str]:
    """Return the paths of a file of one path a line; see `list_images`."""
    # Not splitlines: it also splits at characters that a file name may hold.
    lines = [line.removesuffix("\r") for line in _read_text(path).split("\n")]
    listed = [line for line in lines if line.strip()]
    if not listed:
        raise ValueError(f"No images: {path!r} has no line that is not blank.")
    return _existing_below(path, listed)


def read_csv(path: str, image_col: str) -> list[str]:
    """Return a column's paths of a file with a header; see `list_images`."""
    text = _read_text(path)
    delimiter = _find_delimiter(text, image_col)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(reader, [])]
        check_column(image_col, header, repr(path))
        # Blank lines are skipped by pandas too, so that labels stay aligned.
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise ValueError(f"Line {reader.line_num} of {path!r} is no valid CSV: {error}.") from error
    if not rows:
        raise ValueError(f"No images: {path!r} has a header but no rows.")
    overlong = [line for line, row in rows if any(cell.strip() for cell in row[len(header) :])]
    if overlong:
        raise ValueError(
            f"{path!r} has more fields than its {len(header)} columns at {_some(overlong, 'line')};"
            f" a field that holds {delimiter!r} must be quoted."
        )
    column = header.index(image_col)
    empty = [line for line, row in rows if not "".join(row[column : column + 1]).strip()]
    if empty:
        raise ValueError(
            f"No path in the column {image_col!r} of {path!r}: {_some(empty, 'line')}."
        )
    return _existing_below(path, [row[column] for _, row in rows])


def _read_text(path: str) -> str:
    with ImageRef(path).open() as file:
        raw = file.read()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16")
    # File names need not be valid text; they come back as os.fsdecode gives them.
    return raw.decode("utf-8-sig", errors="surrogateescape")


def _find_delimiter(text: str, image_col: str) -> str:
    """Choose by the header alone: guessing from the paths goes wrong on odd ones."""

    def header(delimiter: str) -> list[str]:
        try:
            row = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        except csv.Error:
            return []
        return [name.strip() for name in row]

    return max(_DELIMITERS, key=lambda d: (image_col in header(d), len(header(d))))


def check_column(image_col: str, columns: Sequence[Any], what: str) -> None:
    """Raise a ValueError that lists the columns unless there is just one of this name."""
    count = columns.count(image_col)
    if count != 1:
        has = "has no column" if count == 0 else f"has {count} columns"
        raise ValueError(
            f"{what} {has} {image_col!r}; its columns are "
            f"{', '.join(map(repr, columns)) or 'none'}. Choose one with image_col."
        )


def _existing_below(listing: str, listed: Sequence[str]) -> list[str]:
    paths = below_folder_of(listing, listed)
    _check_files(paths, listed, f"{listing!r} (relative to its folder)")
    return paths


def below_folder_of(listing: str, listed: Sequence[str]) -> list[str]:
    """Return paths, of which the relative ones count from the folder of the file or URL."""
    if not ImageRef(listing).is_url:
        folder = os.path.dirname(listing)
        return [name if ImageRef(name).is_url else os.path.join(folder, name) for name in listed]
    table, separator, archive = listing.partition("::")
    folder = table.rpartition("/")[0]
    return [
        name if ImageRef(name).is_url or name[:1] == "/" else f"{folder}/{name}{separator}{archive}"
        for name in listed
    ]


def _check_files(paths: Sequence[str], listed: Sequence[str], what: str) -> None:
    # A request for each of a million URLs would take hours: decoding tells which are missing.
    missing = [
        name
        for path, name in zip(paths, listed, strict=True)
        if not ImageRef(path).is_url and not os.path.isfile(path)
    ]
    if missing:
        shown = ", ".join(map(repr, missing[:FEW])) + (", ..." if len(missing) > FEW else "")
        raise FileNotFoundError(
            f"{len(missing)} of the {len(paths)} files listed in {what} do not exist or are no "
            f"files: {shown}"
        )


def _some(places: Sequence[Any], noun: str) -> str:
    shown = ", ".join(map(str, places[:FEW]))
    rest = f", ... ({len(places)} in all)" if len(places) > FEW else ""
    return f"{noun}{'s' if len(places) > 1 else ''} {shown}{rest}"
