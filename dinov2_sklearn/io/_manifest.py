"""What a folder of shards says about itself."""

import hashlib
import json
import os
import reprlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..images import ImageRef
from ..utils import atomic_write, left_over

__all__ = [
    "EMBEDDINGS",
    "IMAGE_IDS",
    "NUMPY_SHARDS",
    "PARQUET_SHARDS",
    "OtherShardsError",
    "differences",
    "filling",
    "ids_digest",
    "json_line",
    "make_plan",
    "manifest_file",
    "read_ids",
    "read_manifest",
    "shard_bounds",
    "shard_files",
    "write_manifest",
]

EMBEDDINGS, IMAGE_IDS = "embeddings.npy", "image_ids.jsonl"
NUMPY_SHARDS, PARQUET_SHARDS = "dinov2_sklearn shards", "dinov2_sklearn parquet shards"
# Programs that read a folder of parquet files pass over names that begin so.
_NAMES = {NUMPY_SHARDS: "manifest.json", PARQUET_SHARDS: "_manifest.json"}
_LOCK = ".lock"
_KEYS = {
    "n_images": int,
    "n_features": int,
    "shard_size": int,
    "model_name": str,
    "image_ids": str,
    "settings": dict,
}


class OtherShardsError(ValueError):
    """A folder was begun with other images or settings."""


def make_plan(
    kind: str, image_ids: Sequence[str], shard_size: int, made_of: dict[str, Any]
) -> dict[str, Any]:
    """Return what a folder is to hold, as data that JSON can express.

    What the rows depend on, in `made_of`, is as `Extraction.describe` says it.
    """
    absolute = all(ImageRef(path).is_url or os.path.isabs(path) for path in image_ids)  # noqa: PTH117
    return {
        "format": kind,
        "n_images": len(image_ids),
        "n_features": made_of["n_features"],
        "shard_size": shard_size,
        "model_name": made_of["model_name"],
        "image_ids": ids_digest(image_ids),
        "working_directory": None if absolute else os.getcwd(),  # noqa: PTH109
        "settings": made_of["settings"],
    }


@contextmanager
def filling(folder: Path, plan: dict[str, Any], image_ids: Sequence[str]) -> Iterator[None]:
    """Make the folder one of these shards, and keep other processes from writing to it.

    Raises
    ------
    ValueError
        If it holds something else, or was begun with other images or settings.
    RuntimeError
        If another process is filling it.
    """
    if not _is_new(folder):
        _refuse_other(folder, plan, image_ids)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / _LOCK, timeout=0).acquire()
    except Timeout:
        raise RuntimeError(
            f"{str(folder)!r} is being written to already. Wait for that, or name another folder."
        ) from None
    with lock:
        for path in left_over(folder):
            path.unlink()
        if not manifest_file(folder).is_file():
            write_manifest(folder, plan)
        yield


def _is_new(folder: Path) -> bool:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is a file. Name a folder.")
    if not folder.exists():
        return True
    if manifest_file(folder).exists():
        return False
    found = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if found:
        raise ValueError(
            f"{str(folder)!r} holds other files, such as {found[0]!r}. Name an empty folder, or "
            "one that does not exist."
        )
    return True


def manifest_file(folder: Path) -> Path:
    """Return the folder's manifest, or where one would be."""
    files = [folder / name for name in _NAMES.values()]
    return next((file for file in files if file.is_file()), files[0])


def write_manifest(folder: Path, plan: dict[str, Any], **more: Any) -> None:
    """Write what is being made, and how far it is."""
    with atomic_write(folder / _NAMES[plan["format"]]) as file:
        file.write(json.dumps({**plan, **more}, indent=1).encode("ascii"))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a folder's manifest, or raise a ValueError: it is damaged, or another program's."""
    try:
        manifest = json.loads(manifest_file(folder).read_bytes())
        sound = manifest["format"] in (NUMPY_SHARDS, PARQUET_SHARDS)
        sound &= all(isinstance(manifest[key], kind) for key, kind in _KEYS.items())
        # Of a folder of parquet shards, the files themselves say how far it is.
        if manifest["format"] == NUMPY_SHARDS:
            sound &= isinstance(manifest.setdefault("complete", False), bool)
        if manifest.get("complete"):
            sound &= len(manifest["crc32"]) == len(shard_bounds(manifest))
            sound &= all(e.keys() == {"row", "image_id", "cause"} for e in manifest["errors"])
    except (AttributeError, KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise ValueError(
            f"{str(manifest_file(folder))!r} is damaged, or was not written by extract_to_shards "
            "or extract_with_ray."
        )
    return manifest


def shard_bounds(plan: dict[str, Any]) -> list[tuple[int, int]]:
    """Return the first row of each shard and the one after its last."""
    n_images, size = plan["n_images"], plan["shard_size"]
    return [(start, min(start + size, n_images)) for start in range(0, n_images, size)]


def shard_files(folder: Path, plan: dict[str, Any]) -> list[Path]:
    """Return the parquet file of each shard, in the order of the rows."""
    return [folder / f"shard-{i:09}.parquet" for i, _ in enumerate(shard_bounds(plan))]


def _refuse_other(folder: Path, plan: dict[str, Any], image_ids: Sequence[str]) -> None:
    """Say in what the folder's manifest differs from the plan."""
    found = differences(read_manifest(folder), plan)
    if not found:
        return
    if "image_ids" in found:
        found["image_ids"] = _first_other_image(folder, image_ids)
    raise OtherShardsError(
        f"{str(folder)!r} was begun with other images or settings: "
        f"{'; '.join([*found.values()][:5])}. Name another folder, or run with what it was begun "
        "with."
    )


def differences(there: dict[str, Any], plan: dict[str, Any]) -> dict[str, str]:
    """Say in what a plan differs from the one that is there."""
    # A model counts by its files, whatever it was called.
    was, now = (_flat(json.loads(json.dumps(data))) for data in (there, plan))
    return {
        key: f"{key} was {_short(was.get(key))} and is {_short(now[key])}"
        for key in now
        if key != "model_name" and was.get(key) != now[key]
    }


def read_ids(folder: Path) -> Iterator[str]:
    """Yield what each row is the embedding of."""
    with (folder / IMAGE_IDS).open(encoding="ascii") as file:
        for line in file:
            yield json.loads(line)


def ids_digest(image_ids: Sequence[str]) -> str:
    """Return the digest that a file of these ids, a JSON string a line, has."""
    digest = hashlib.blake2b(digest_size=20)
    for image_id in image_ids:
        digest.update(json_line(image_id))
    return digest.hexdigest()


def json_line(value: Any) -> bytes:
    """Return a value as a line of a ``.jsonl`` file."""
    return json.dumps(value).encode("ascii") + b"\n"


def _first_other_image(folder: Path, image_ids: Sequence[str]) -> str:
    try:
        pairs = zip(read_ids(folder), image_ids, strict=False)
        row, old, new = next((i, a, b) for i, (a, b) in enumerate(pairs) if a != b)
    except (OSError, ValueError, StopIteration):
        return "the images are others"
    return f"the images are others, first in row {row}, which was {old!r} and is {new!r}"


def _short(value: Any) -> str:
    shortened = reprlib.Repr()
    shortened.maxother = shortened.maxstring = 60
    return shortened.repr(value)


def _flat(plan: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plan.items():
        items = dict(enumerate(value)) if isinstance(value, list) else value
        if isinstance(items, dict) and items:
            flat |= _flat(items, f"{prefix}{key}.")
        else:
            flat[prefix + str(key)] = value
    return flat
