"""The formats of embeddings files: how each is written and read, none of them running code."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ._parquet import check_unicode, read_table, to_matrix, write_table

__all__ = ["KEYS", "EmbeddingsFileError", "FileFormat", "format_of"]

_COLUMNS = ("image_ids", "embeddings")
KEYS = ("embeddings", "image_ids", "model_name", "timestamp", "metadata")


class EmbeddingsFileError(ValueError):
    """A file is damaged, or holds something other than embeddings."""


class FileFormat(NamedTuple):
    """How one format is written and read.

    The contents have `KEYS`: a float32 matrix, a list of str, two strings, and a dict that JSON
    can express. What `read` returns has these keys, but its types are not checked yet.
    """

    write: Callable[[BinaryIO, dict[str, Any]], None]
    read: Callable[[BinaryIO], dict[str, Any]]


def format_of(path: Path) -> FileFormat:
    """Return the format that the extension of `path` stands for."""
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        has = f"the extension {suffix!r}" if suffix else "no extension"
        raise ValueError(f"{str(path)!r} has {has}. Embeddings files are .pt, .npz or .parquet.")
    return _FORMATS[suffix]


def _write_pt(file: BinaryIO, contents: dict[str, Any]) -> None:
    import torch

    torch.save({**contents, "embeddings": torch.from_numpy(contents["embeddings"])}, file)


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
    )


def _read_npz(file: BinaryIO) -> dict[str, Any]:
    archive = np.load(file, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise EmbeddingsFileError("is a single array (.npy), not a .npz archive.")
    with archive:
        _check_keys(dict.fromkeys(archive.files))
        contents = {key: archive[key] for key in KEYS}
    for key in ("image_ids", "model_name", "timestamp", "metadata"):
        if contents[key].dtype.kind == "U":
            contents[key] = contents[key].tolist()
    contents["metadata"] = _parse(contents["metadata"])
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
    write_table(file, _COLUMNS, contents["image_ids"], contents["embeddings"], metadata=metadata)


def _read_parquet(file: BinaryIO) -> dict[str, Any]:
    table = read_table(file, verify=True)
    strings = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    contents = _check_keys(strings | {name: table[name] for name in table.column_names})
    try:
        contents["embeddings"] = to_matrix(contents["embeddings"])
    except ValueError as error:
        raise EmbeddingsFileError(str(error)) from None
    contents["image_ids"] = table["image_ids"].to_pylist()
    contents["metadata"] = _parse(contents["metadata"])
    return contents


_FORMATS = {
    ".pt": FileFormat(_write_pt, _read_pt),
    ".npz": FileFormat(_write_npz, _read_npz),
    ".parquet": FileFormat(_write_parquet, _read_parquet),
}


def _parse(metadata: Any) -> Any:
    return json.loads(metadata) if isinstance(metadata, str) else metadata


def _check_keys(contents: Any) -> dict[str, Any]:
    if not isinstance(contents, dict):
        raise EmbeddingsFileError(
            f"is no embeddings file: it holds an object of type {type(contents).__name__}, where a "
            f"dict with the keys {', '.join(KEYS)} belongs."
        )
    missing = [key for key in KEYS if key not in contents]
    if missing:
        found = ", ".join(map(str, list(contents)[:10])) or "nothing"
        raise EmbeddingsFileError(
            f"is no embeddings file: it lacks {', '.join(missing)}. It has: {found}."
        )
    return {key: contents[key] for key in KEYS}
