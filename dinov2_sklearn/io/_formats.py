"""The formats of embeddings files: how each is written and read, none of them running code."""

import json
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

KEYS = ("embeddings", "image_ids", "model_name", "timestamp", "metadata")


class EmbeddingsFileError(ValueError):
    """A file is damaged, or holds something other than embeddings."""


class Format(NamedTuple):
    """How one format is written and read.

    The contents have `KEYS`: a float32 matrix, a list of str, two strings, and a dict that JSON
    can express. What `read` returns has these keys, but its types are not checked yet.
    """

    write: Callable[[BinaryIO, dict[str, Any]], None]
    read: Callable[[BinaryIO], dict[str, Any]]


def format_of(path: Path) -> Format:
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
    pyarrow, parquet = _import_pyarrow()
    try:
        ids = pyarrow.array(contents["image_ids"], pyarrow.string())
    except UnicodeEncodeError as error:
        raise ValueError(
            f"The id {error.object!r} is no valid Unicode, which .parquet cannot keep. Write a "
            ".pt or a .npz."
        ) from error
    embeddings = contents["embeddings"]
    rows = pyarrow.FixedSizeListArray.from_arrays(
        pyarrow.array(embeddings.ravel()), embeddings.shape[1]
    )
    metadata = {
        "model_name": contents["model_name"],
        "timestamp": contents["timestamp"],
        "metadata": json.dumps(contents["metadata"]),
    }
    table = pyarrow.table({"image_ids": ids, "embeddings": rows}, metadata=metadata)
    parquet.write_table(table, file, write_page_checksum=True)


def _read_parquet(file: BinaryIO) -> dict[str, Any]:
    pyarrow, parquet = _import_pyarrow()
    table = parquet.read_table(file, page_checksum_verification=True)
    strings = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    contents = _check_keys(strings | {name: table[name] for name in table.column_names})
    column = contents["embeddings"]
    kind: Any = getattr(column, "type", type(column).__name__)
    if not pyarrow.types.is_fixed_size_list(kind) or column.null_count:
        raise EmbeddingsFileError(
            f"has embeddings of type {kind}, where lists of one length, none missing, belong."
        )
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    contents["embeddings"] = values.reshape(-1, kind.list_size)
    contents["image_ids"] = table["image_ids"].to_pylist()
    contents["metadata"] = _parse(contents["metadata"])
    return contents


_FORMATS = {
    ".pt": Format(_write_pt, _read_pt),
    ".npz": Format(_write_npz, _read_npz),
    ".parquet": Format(_write_parquet, _read_parquet),
}


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError(
            '.parquet files need pyarrow. Install it with `pip install "dinov2-sklearn[parquet]"`, '
            "or use .pt or .npz."
        ) from error


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
