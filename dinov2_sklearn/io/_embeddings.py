"""Embeddings in files: ``.pt``, ``.npz`` and ``.parquet``, none of which can run code on reading.

`save_embeddings` writes a matrix of embeddings with the images they belong to, `load_embeddings`
reads it back as `Embeddings`. Importing this module loads neither torch nor pyarrow.
"""

import json
import os
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..utils import atomic_write
from ._parquet import check_unicode, read_table, to_matrix, write_table

__all__ = ["Embeddings", "EmbeddingsFileError", "load_embeddings", "save_embeddings"]


_COLUMNS = ("image_ids", "embeddings")
_KEYS = ("embeddings", "image_ids", "model_name", "timestamp", "metadata")


class EmbeddingsFileError(ValueError):
    """A file is damaged, or holds something other than embeddings."""


@dataclass(frozen=True, eq=False, repr=False)
class Embeddings:
    """Embeddings and what they were made of, as an embeddings file holds them.

    Attributes
    ----------
    embeddings : ndarray of shape (n_images, n_features), float32
        One row an image.
    image_ids : list of str, of length n_images
        What each row is the embedding of, in most cases a path.
    model_name : str
        The model that made them.
    timestamp : str
        When they were saved, ISO 8601.
    metadata : dict
        Anything else that was saved with them.
    columns : dict of str to list of length n_images
        What else is known of each image, such as its camera.

    See Also
    --------
    load_embeddings : Reads them from a file.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn import Embeddings
    >>> Embeddings(np.zeros((1, 384), np.float32), ["a.jpg"], "small", "2025-01-01T00:00:00+00:00")
    Embeddings(1 x 384, model_name='small', timestamp='2025-01-01T00:00:00+00:00')
    """

    embeddings: NDArray[np.float32]
    image_ids: list[str]
    model_name: str
    timestamp: str
    metadata: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __repr__(self) -> str:
        rows, columns = self.embeddings.shape
        return (
            f"{type(self).__name__}({rows} x {columns}, model_name={self.model_name!r}, "
            f"timestamp={self.timestamp!r})"
        )


def save_embeddings(
    path: str | os.PathLike[str],
    embeddings: ArrayLike,
    image_ids: Iterable[str | os.PathLike[str]],
    *,
    model_name: str,
    metadata: Mapping[str, Any] | None = None,
    columns: Any = None,
) -> None:
    """Write embeddings into a file, whole or not at all.

    Parameters
    ----------
    path : path-like
        The file to write; one that is there is replaced. The extension says the format:

        - ``.pt``: a dict saved by torch;
        - ``.npz``: NumPy's archive, with `metadata` as JSON text;
        - ``.parquet``: the columns ``image_ids`` and ``embeddings``, and the rest as schema
          metadata. Needs pyarrow.
    embeddings : array-like or tensor of shape (n_images, n_features)
        One row an image, kept as float32. Rows of NaN, which stand for images that could not be
        read, are kept.
    image_ids : iterable of str or path-like, of length n_images
        What each row is the embedding of.
    model_name : str
        The model that made them.
    metadata : mapping, default=None
        Anything else worth keeping that JSON can express. It is kept as JSON has it, in every
        format: tuples become lists, and keys become str.
    columns : mapping of str to sequence of length n_images, or data frame, default=None
        What else is known of each image, such as ``ImageTable.columns``. Numbers, text and None
        are kept, and all else as text.

    Raises
    ------
    ValueError
        If the extension is none of the three, `embeddings` is no matrix or has values that
        float32 cannot hold, the numbers of rows, ids and values of a column differ, or the format
        cannot hold an id.
    TypeError
        If an id is no str or path, or JSON cannot express `metadata`.
    FileNotFoundError
        If the folder of `path` does not exist.
    ImportError
        If the file is a ``.parquet`` and pyarrow is not installed.

    See Also
    --------
    load_embeddings : Reads the file.

    Notes
    -----
    The file is written under a temporary name, synced and renamed, so that a failure half way
    leaves an earlier file as it was.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dinov2_sklearn import load_embeddings, save_embeddings
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "birds.npz"
    ...     save_embeddings(path, [[0.5, 1.0]], ["wren.jpg"], model_name="small")
    ...     load_embeddings(path).image_ids
    ['wren.jpg']
    """
    path = Path(path)
    write = format_of(path).write
    matrix, ids = _check_matrix(embeddings), _check_ids(image_ids)
    if len(matrix) != len(ids):
        raise ValueError(
            f"embeddings has {len(matrix)} rows, but image_ids has {len(ids)}: give one id a row."
        )
    contents = {
        "embeddings": matrix,
        "image_ids": ids,
        "model_name": str(model_name),
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "metadata": _as_json(metadata or {}),
    }
    if columns is not None and len(columns):
        contents["columns"] = check_columns(columns, len(ids))
    with atomic_write(path) as file:
        write(file, contents)


def load_embeddings(path: str | os.PathLike[str]) -> Embeddings:
    """Read an embeddings file.

    Parameters
    ----------
    path : path-like
        A ``.pt``, ``.npz`` or ``.parquet`` that `save_embeddings` wrote, or any other program in
        the same form.

    Returns
    -------
    embeddings : Embeddings

    Raises
    ------
    EmbeddingsFileError
        If the file is damaged or is no embeddings file. It is a ``ValueError``.
    ValueError
        If the extension is none of the three.
    FileNotFoundError
        If there is no such file.
    IsADirectoryError
        If it is a folder; `open_shards` reads those of shards.
    ImportError
        If the file is a ``.parquet`` and pyarrow is not installed.

    See Also
    --------
    save_embeddings : Writes the file.

    Notes
    -----
    Nothing in the file is executed: a ``.pt`` is read with torch's ``weights_only=True``, the
    other formats hold no Python objects. Checksums in the file are verified.

    Examples
    --------
    >>> from dinov2_sklearn import load_embeddings
    >>> load_embeddings("embeddings.csv")
    Traceback (most recent call last):
        ...
    ValueError: 'embeddings.csv' has the extension '.csv'. Embeddings files are .pt, .npz or
    .parquet.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"{str(path)!r} is a folder. A folder of shards is read by open_shards."
        )
    read = format_of(path).read
    if not path.exists():
        raise FileNotFoundError(f"There is no embeddings file {str(path)!r}.")
    with path.open("rb") as file:
        try:
            return _check_contents(read(file))
        except EmbeddingsFileError as error:
            raise EmbeddingsFileError(f"{str(path)!r} {error}") from None
        except (ImportError, MemoryError):
            raise
        except Exception as error:  # damage makes the parsers raise nearly anything
            raise EmbeddingsFileError(
                f"{str(path)!r} is damaged, or is no embeddings file ({type(error).__name__}). "
                "Nothing in it was executed. Make it again with save_embeddings."
            ) from error


def _check_matrix(embeddings: Any) -> NDArray[np.float32]:
    if hasattr(embeddings, "detach"):  # a torch tensor, on any device and of any dtype
        embeddings = embeddings.detach().cpu().float()
    given = np.asarray(embeddings)
    if given.ndim != 2 or given.shape[1] == 0:
        raise ValueError(
            "embeddings must be a matrix with one row an image and at least one column. Got an "
            f"array of shape {given.shape}."
        )
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(given, dtype=np.float32)
    infinite = np.flatnonzero(np.isinf(matrix).any(axis=1))
    overflown = infinite[~np.isinf(given[infinite]).any(axis=1)]
    if len(overflown):
        raise ValueError(f"Row {overflown[0]} of embeddings has values too large for float32.")
    return matrix


def _check_ids(image_ids: Iterable[Any]) -> list[str]:
    if isinstance(image_ids, (str, bytes, os.PathLike)):
        raise TypeError(f"image_ids must hold one id a row. Got the single id {image_ids!r}.")
    ids = list(image_ids)
    for position, value in enumerate(ids):
        if not isinstance(value, (str, os.PathLike)):
            raise TypeError(
                f"image_ids must be strings or paths. Got {value!r} of type "
                f"{type(value).__name__} at position {position}."
            )
    return [str(os.fsdecode(value)) for value in ids]


def _as_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(metadata)))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"metadata must hold what JSON can express: numbers, strings, lists and dicts. {error}."
        ) from error


def check_columns(columns: Any, n_rows: int) -> dict[str, list[Any]]:
    """Return columns as lists of what JSON can hold, one value a row."""
    checked = {}
    for name in () if columns is None else [*columns]:
        values = columns[name]
        listed = values.tolist() if hasattr(values, "tolist") else list(values)
        if len(listed) != n_rows:
            raise ValueError(f"The column {name!r} has {len(listed)} values for {n_rows} images.")
        if str(name) in _COLUMNS:
            raise ValueError(f"A column may not be called {name!r}: every file has one.")
        checked[str(name)] = [_plain(value) for value in listed]
    return checked


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return None if value != value else str(value)  # NaT is not itself


def _check_contents(contents: dict[str, Any]) -> Embeddings:
    """Hold what a file has to the types that `Embeddings` promises."""
    embeddings, ids = contents["embeddings"], contents["image_ids"]
    if not isinstance(embeddings, np.ndarray) or embeddings.dtype.kind not in "fiu":
        raise EmbeddingsFileError("has embeddings that are no array of numbers.")
    if embeddings.ndim != 2:
        raise EmbeddingsFileError(
            f"has embeddings of shape {embeddings.shape}, where a matrix was expected."
        )
    if not isinstance(ids, list) or not all(isinstance(value, str) for value in ids):
        raise EmbeddingsFileError("has image_ids that are no list of strings.")
    if len(ids) != len(embeddings):
        raise EmbeddingsFileError(f"has {len(embeddings)} embeddings, but {len(ids)} image_ids.")
    for key, kind in (("model_name", str), ("timestamp", str), ("metadata", dict)):
        if not isinstance(contents[key], kind):
            raise EmbeddingsFileError(
                f"has a {key} of type {type(contents[key]).__name__}, where "
                f"{kind.__name__} was expected."
            )
    columns = contents["columns"]
    if not isinstance(columns, dict) or any(
        not isinstance(values, list) or len(values) != len(ids) for values in columns.values()
    ):
        raise EmbeddingsFileError("has columns that are no lists of one value a row.")
    matrix = np.ascontiguousarray(embeddings, dtype=np.float32)
    return Embeddings(**{**contents, "embeddings": matrix})


class _FileFormat(NamedTuple):
    """How one format is written and read.

    The contents have `_KEYS`: a float32 matrix, a list of str, two strings, and a dict that JSON
    can express. What `read` returns has these keys, but its types are not checked yet.
    """

    write: Callable[[BinaryIO, dict[str, Any]], None]
    read: Callable[[BinaryIO], dict[str, Any]]


def format_of(path: Path) -> _FileFormat:
    """Return the format that the extension of `path` stands for."""
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        has = f"the extension {suffix!r}" if suffix else "no extension"
        raise ValueError(f"{str(path)!r} has {has}. Embeddings files are .pt, .npz or .parquet.")
    return _FORMATS[suffix]


def _write_pt(file: BinaryIO, contents: dict[str, Any]) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*array is not writable")  # it is only read
        tensor = torch.from_numpy(contents["embeddings"])
    torch.save({**contents, "embeddings": tensor}, file)


def _read_pt(file: BinaryIO) -> dict[str, Any]:
    import torch

    # torch itself skips the checksums of the zip archive that a .pt is.
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if archive.testzip() is not None:
                raise EmbeddingsFileError("is damaged: a checksum in it does not match.")
    file.seek(0)
    contents = _check_keys(torch.load(file, map_location="cpu", weights_only=True))
    embeddings = contents["embeddings"]
    if isinstance(embeddings, torch.Tensor) and embeddings.is_floating_point():
        contents["embeddings"] = embeddings.detach().to(torch.float32).numpy()
    return contents


def _write_npz(file: BinaryIO, contents: dict[str, Any]) -> None:
    given = contents["image_ids"]
    ids = np.array(given, dtype=np.str_)
    for kept, image_id in zip(ids.tolist(), given, strict=True):
        if kept != image_id:
            raise ValueError(
                f"The id {image_id!r} ends in a null character, which .npz cannot keep. Write a "
                ".pt or a .parquet."
            )
    np.savez(
        file,
        embeddings=contents["embeddings"],
        image_ids=ids,
        model_name=np.array(contents["model_name"]),
        timestamp=np.array(contents["timestamp"]),
        metadata=np.array(json.dumps(contents["metadata"])),
        columns=np.array(json.dumps(contents.get("columns", {}))),
    )


def _read_npz(file: BinaryIO) -> dict[str, Any]:
    archive = np.load(file, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise EmbeddingsFileError("is a single array (.npy), not a .npz archive.")
    with archive:
        _check_keys(dict.fromkeys(archive.files))
        contents: dict[str, Any] = {
            key: archive[key] for key in (*_KEYS, "columns") if key in archive.files
        }
    for key in ("image_ids", "model_name", "timestamp", "metadata", "columns"):
        if key not in contents:  # of 0.1.0
            contents[key] = {}
            continue
        if contents[key].dtype.kind == "U":
            contents[key] = contents[key].tolist()
    contents["metadata"] = _parse(contents["metadata"])
    contents["columns"] = _parse(contents["columns"])
    return contents


def _write_parquet(file: BinaryIO, contents: dict[str, Any]) -> None:
    try:
        check_unicode(contents["image_ids"])
    except UnicodeEncodeError as error:
        raise ValueError(
            f"The id {error.object!r} is no valid Unicode, which .parquet cannot keep. Write a "
            ".pt or a .npz."
        ) from error
    metadata = {
        "model_name": contents["model_name"],
        "timestamp": contents["timestamp"],
        "metadata": json.dumps(contents["metadata"]),
    }
    ids, rows = contents["image_ids"], contents["embeddings"]
    write_table(file, _COLUMNS, ids, rows, metadata=metadata, columns=contents.get("columns"))


def _read_parquet(file: BinaryIO) -> dict[str, Any]:
    table = read_table(file, verify=True)
    strings = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    columns: dict[str, Any] = {name: table[name] for name in table.column_names}
    contents = _check_keys({**columns, **strings})  # a column may be called as they are
    try:
        contents["embeddings"] = to_matrix(contents["embeddings"])
    except ValueError as error:
        raise EmbeddingsFileError(str(error)) from None
    contents["image_ids"] = table["image_ids"].to_pylist()
    contents["metadata"] = _parse(contents["metadata"])
    others = [name for name in table.column_names if name not in _COLUMNS]
    contents["columns"] = {name: table[name].to_pylist() for name in others}
    return contents


_FORMATS = {
    ".pt": _FileFormat(_write_pt, _read_pt),
    ".npz": _FileFormat(_write_npz, _read_npz),
    ".parquet": _FileFormat(_write_parquet, _read_parquet),
}


def _parse(metadata: Any) -> Any:
    return json.loads(metadata) if isinstance(metadata, str) else metadata


def _check_keys(contents: Any) -> dict[str, Any]:
    if not isinstance(contents, dict):
        raise EmbeddingsFileError(
            f"is no embeddings file: it holds an object of type {type(contents).__name__}, where a "
            f"dict with the keys {', '.join(_KEYS)} belongs."
        )
    missing = [key for key in _KEYS if key not in contents]
    if missing:
        found = ", ".join(map(str, list(contents)[:10])) or "nothing"
        raise EmbeddingsFileError(
            f"is no embeddings file: it lacks {', '.join(missing)}. It has: {found}."
        )
    # Files of 0.1.0 have no columns.
    return {"columns": {}} | {key: contents[key] for key in (*_KEYS, "columns") if key in contents}
