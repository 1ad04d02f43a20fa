"""Paths listed by the user, in the user's order: tables, text files, data frames, sequences."""

# Names stay str, as in the module of sources.
# ruff: noqa: PTH113, PTH118, PTH120

import codecs
import csv
import io
import json
import os
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import IO, Any, TypeAlias
from urllib.parse import quote

import numpy as np

from ...utils import import_extra
from .._fragments import split_fragment
from .._references import ImageRef
from .._rows import image_columns
from .._table import ImageTable

__all__ = [
    "FEW",
    "Listed",
    "as_columns",
    "as_on_disk",
    "below_folder_of",
    "check_column",
    "is_dataset",
    "is_frame",
    "is_listing",
    "is_missing",
    "is_sibling",
    "read_csv",
    "read_frame",
    "read_jsonl",
    "read_listing",
    "read_parquet",
    "read_table",
    "read_txt",
    "sibling_details",
]

# Paths, and the other columns by their names.
Listed: TypeAlias = tuple[list[str], Mapping[str, Any]]
FEW = 5  # how many names an error shows
_LONGEST = 500  # and how much of each
_FIELD_LIMIT = threading.Lock()
_SIBLINGS = (".json", ".cls", ".txt")  # of an image in a web data set
_DELIMITERS = (",", ";", "\t", "|")


def is_frame(source: Any) -> bool:
    """Whether the source is a data frame, of pandas, polars or another library alike."""
    if isinstance(source, ImageTable) or is_dataset(source):
        return False
    return hasattr(source, "columns") and hasattr(source, "__getitem__")


def is_dataset(source: Any) -> bool:
    """Whether the source is a data set of Hugging Face, or a column of one."""
    return type(source).__module__.startswith("datasets.") and hasattr(source, "__getitem__")


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


def read_frame(frame: Any, image_col: str, missing: str) -> Listed:
    """Return the column's paths, and the other columns; see `list_images`."""
    columns = list(frame.columns)
    check_column(image_col, columns, "The data frame")
    paths = read_listing(frame[image_col], f"the column {image_col!r}", missing)
    return paths, {str(name): frame[name] for name in columns if name != image_col}


def read_listing(listing: Any, what: str = "the list", missing: str = "raise") -> list[str]:
    """Return a sequence's paths as str, all of which exist; see `list_images`."""
    values = listing.to_list() if hasattr(listing, "to_list") else list(listing)
    if not values:
        raise ValueError(f"No images: {what} has no elements.")
    empty = [i for i, value in enumerate(values) if is_missing(value)]
    if empty:
        raise ValueError(f"No path in {what} at {_some(empty, 'position')}.")
    wrong = [i for i, v in enumerate(values) if not isinstance(v, (str, bytes, PathLike))]
    if wrong:
        kind = type(values[wrong[0]]).__name__
        raise TypeError(
            f"Paths must be str or PathLike; {what} has a {kind} at {_some(wrong, 'position')}."
        )
    return _existing([str(os.fsdecode(value)) for value in values], what, missing)


def read_txt(path: str, raw: bytes, missing: str) -> list[str]:
    """Return the paths of a file of one path a line; see `list_images`."""
    # Not splitlines: it also splits at characters that a file name may hold.
    lines = [line.removesuffix("\r") for line in _text(raw).split("\n")]
    listed = [line for line in lines if line.strip()]
    if not listed:
        raise ValueError(f"No images: {path!r} has no line that is not blank.")
    return _existing_below(path, listed, missing)


def read_csv(path: str, raw: bytes, image_col: str, missing: str) -> Listed:
    """Return a column's paths of a file with a header, and the others; see `list_images`."""
    columns = _parse(path, raw, image_col)
    return _existing_below(path, columns.pop(image_col), missing), columns


def read_jsonl(path: str, raw: bytes, image_col: str, missing: str) -> Listed:
    """Return the paths of a file of one JSON object a line, and what else these hold."""
    lines = [(n, line) for n, line in enumerate(_text(raw).split("\n"), start=1) if line.strip()]
    if not lines:
        raise ValueError(f"No images: {path!r} has no line that is not blank.")
    records = []
    for number, line in lines:
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"Line {number} of {path!r} is no JSON ({error}).") from error
        if not isinstance(record, dict):
            raise ValueError(f"Line {number} of {path!r} is no JSON object, but {line[:60]!r}.")
        records.append(record)
    columns = as_columns(records)
    check_column(image_col, [*columns], repr(path))
    what = f"the column {image_col!r} of {path!r}"
    listed = read_listing(columns.pop(image_col), what, missing="keep")
    return _existing_below(path, listed, missing), columns


def read_parquet(path: str, file: IO[bytes], image_col: str, missing: str) -> Listed:
    """Return the paths in a parquet file, or its rows that hold images, and the other columns."""
    parquet = import_extra("pyarrow.parquet", "parquet", "Parquet files")
    try:
        opened = parquet.ParquetFile(file)
    except Exception as error:  # a file of any kind may be called so
        raise ValueError(f"{path!r} is no parquet file ({error}).") from error
    schema = opened.schema_arrow
    encoded = image_columns(schema)
    if image_col not in schema.names and len(encoded) == 1:
        (image_col,) = encoded
    check_column(image_col, schema.names, repr(path))
    others = [name for name in schema.names if name not in (image_col, *encoded)]
    columns = {name: opened.read([name])[name].to_pylist() for name in others}
    if image_col in encoded:
        part = quote(image_col, safe="")
        n_rows = opened.metadata.num_rows
        if n_rows == 0:
            raise ValueError(f"No images: {path!r} has no rows.")
        return [f"{path}#row={row}&column={part}" for row in range(n_rows)], columns
    listed = opened.read([image_col])[image_col].to_pylist()
    what = f"the column {image_col!r} of {path!r}"
    return _existing_below(path, read_listing(listed, what, missing="keep"), missing), columns


def as_columns(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Turn records into columns, with None where a record has no value."""
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}


def is_sibling(name: str) -> bool:
    """Whether a member of a web data set's tar says something of the image beside it."""
    # All from the first dot is the extension, as web data sets have it.
    return "." + name.rpartition("/")[2].partition(".")[2].lower() in _SIBLINGS


def sibling_details(image: ImageRef, others: Mapping[str, bytes]) -> dict[str, Any]:
    """Return what the members beside an image say of it."""
    name = image.within.removeprefix("tar://")
    folder, slash, last = name.rpartition("/")
    key = folder + slash + last.partition(".")[0]
    found: dict[str, Any] = {}
    for extension in _SIBLINGS:
        raw = others.get(key + extension)
        if raw is None:
            continue
        text = raw.decode("utf-8", "replace").strip()
        if extension == ".json":
            try:
                record = json.loads(text)
            except ValueError as error:
                raise ValueError(
                    f"{key + extension!r}, beside {image.address!r}, is no JSON ({error})."
                ) from error
            found |= record if isinstance(record, dict) else {"json": record}
        else:
            found[extension[1:]] = text
    return found


def read_table(path: str, image_col: str, *, below: bool = True) -> Listed:
    """Return the paths in a file with a header, as they are or below its folder, and the rest."""
    with ImageRef(path).open() as file:
        columns = _parse(path, file.read(), image_col)
    paths = columns.pop(image_col)
    return (_existing_below(path, paths, "keep") if below else paths), columns


def _parse(path: str, raw: bytes, image_col: str) -> dict[str, list[str]]:
    """Return the columns of a file with a header, in whose one every row has a path."""
    text = _text(raw)
    with _long_fields():
        delimiter = _find_delimiter(text, image_col)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        header = [_from_windows(name.strip()) for name in next(reader, [])]
        check_column(image_col, header, repr(path))
        # Blank lines are skipped by pandas too, so that labels stay aligned.
        rows = [(reader.line_num, row) for row in reader if row]
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
    # A line that ends early has no value in the last columns.
    return {name: ["".join(row[i : i + 1]) for _, row in rows] for i, name in enumerate(header)}


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lift the limit that the csv module has for the whole process."""
    with _FIELD_LIMIT:
        limit = csv.field_size_limit(2**31 - 1)
        try:
            yield
        finally:
            csv.field_size_limit(limit)


def _text(raw: bytes) -> str:
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16")
    beginning = raw[:200]
    if beginning.count(0) > len(beginning) // 4:  # UTF-16 of mostly Latin letters, without a mark
        return raw.decode(
            "utf-16-le" if beginning[1::2].count(0) > beginning[::2].count(0) else "utf-16-be"
        )
    # File names need not be valid text; they come back as os.fsdecode gives them.
    return raw.decode("utf-8-sig", errors="surrogateescape")


def _from_windows(text: str) -> str:
    """Read as cp1252 what is no valid UTF-8."""
    if not _is_undecodable(text):
        return text
    return text.encode("utf-8", "surrogateescape").decode("cp1252", "surrogateescape")


def _is_undecodable(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)


def _find_delimiter(text: str, image_col: str) -> str:
    """Choose by the header alone: guessing from the paths goes wrong on odd ones."""

    def header(delimiter: str) -> list[str]:
        try:
            row = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        except csv.Error:
            return []
        return [_from_windows(name.strip()) for name in row]

    return max(_DELIMITERS, key=lambda d: (image_col in header(d), len(header(d))))


def check_column(
    image_col: str,
    columns: Sequence[Any],
    what: str,
    hint: str = "Choose one with image_col.",
) -> None:
    """Raise a ValueError that lists the columns unless there is just one of this name."""
    count = columns.count(image_col)
    if count != 1:
        has = "has no column" if count == 0 else f"has {count} columns"
        raise ValueError(
            f"{what} {has} {image_col!r}; its columns are "
            f"{', '.join(map(repr, columns)) or 'none'}. {hint}"
        )


def _existing_below(listing: str, listed: Sequence[str], missing: str) -> list[str]:
    what = f"{listing!r} (relative to its folder)"
    return _existing(below_folder_of(listing, listed), what, missing, listed)


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


def _existing(
    paths: Sequence[str], what: str, missing: str, listed: Sequence[str] | None = None
) -> list[str]:
    """Return the paths as the files are called, or report those that are not there."""
    found = [as_on_disk(path) for path in paths]
    gone = [name for path, name in zip(found, listed or paths, strict=True) if path is None]
    if gone and missing == "raise":
        shown = ", ".join(repr(name[:_LONGEST]) for name in gone[:FEW])
        hint = ", ..." if len(gone) > FEW else ""
        if any(map(_is_undecodable, gone)):
            hint += ". It is neither UTF-8 nor cp1252: save it as UTF-8"
        raise FileNotFoundError(
            f"{len(gone)} of the {len(paths)} files listed in {what} do not exist or are no "
            f"files: {shown}{hint}"
        )
    return [
        path if on_disk is None else on_disk for path, on_disk in zip(paths, found, strict=True)
    ]


def as_on_disk(path: str) -> str | None:
    """Return a path in the form in which there is a file, of all those that mean the same."""
    # A request for each of a million URLs would take hours: decoding tells which are missing.
    if ImageRef(path).is_url or os.path.isfile(path):
        return path
    file, fragment = split_fragment(path)
    if fragment:
        on_disk = as_on_disk(file)
        return None if on_disk is None else f"{on_disk}#{fragment}"
    texts = dict.fromkeys([path, _from_windows(path)])
    forms = [
        form
        for text in texts
        for slashed in dict.fromkeys([text, text.replace("\\", os.sep)])
        for form in (slashed, *(unicodedata.normalize(kind, slashed) for kind in ("NFC", "NFD")))
    ]
    return next((form for form in forms[1:] if os.path.isfile(form)), None)


def _some(places: Sequence[Any], noun: str) -> str:
    shown = ", ".join(map(str, places[:FEW]))
    rest = f", ... ({len(places)} in all)" if len(places) > FEW else ""
    return f"{noun}{'s' if len(places) > 1 else ''} {shown}{rest}"
