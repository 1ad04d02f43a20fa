"""What a folder of shards says about itself."""

import hashlib
import json
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .._files import atomic_write

__all__ = [
    "EMBEDDINGS",
    "IMAGE_IDS",
    "MANIFEST",
    "OtherShardsError",
    "ids_digest",
    "json_line",
    "read_ids",
    "read_manifest",
    "refuse_other",
    "shard_bounds",
    "write_manifest",
]

MANIFEST, EMBEDDINGS, IMAGE_IDS = "manifest.json", "embeddings.npy", "image_ids.jsonl"
_FORMAT = "dinov2_sklearn shards"
_KEYS = {
    "complete": bool,
    "n_images": int,
    "n_features": int,
    "shard_size": int,
    "model_name": str,
    "image_ids": str,
    "settings": dict,
}


class OtherShardsError(ValueError):
    """A folder was begun with other images or settings."""


def write_manifest(folder: Path, plan: dict[str, Any], **more: Any) -> None:
    """Write what is being made, and how far it is."""
    with atomic_write(folder / MANIFEST) as file:
        file.write(json.dumps({"format": _FORMAT, **plan, **more}, indent=1).encode("ascii"))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a folder's manifest.

    Raises
    ------
    ValueError
        If it is damaged, or another program's.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        sound = manifest["format"] == _FORMAT
        sound &= all(isinstance(manifest[key], kind) for key, kind in _KEYS.items())
        if manifest["complete"]:
            sound &= len(manifest["crc32"]) == len(list(shard_bounds(manifest)))
            sound &= all(e.keys() == {"row", "image_id", "cause"} for e in manifest["errors"])
    except (AttributeError, KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise ValueError(
            f"{str(folder / MANIFEST)!r} is damaged, or was not written by extract_to_shards."
        )
    return manifest


def shard_bounds(plan: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield the first row of each shard and the one after its last."""
    n_images, size = plan["n_images"], plan["shard_size"]
    for start in range(0, n_images, size):
        yield start, min(start + size, n_images)


def refuse_other(folder: Path, plan: dict[str, Any], image_ids: Sequence[str]) -> None:
    """Raise an OtherShardsError that says in what the folder's manifest differs from the plan."""
    # A model counts by its files, whatever it was called.
    there, now = _flat(read_manifest(folder)), _flat(json.loads(json.dumps(plan)))
    differing = [key for key in now if key != "model_name" and there.get(key) != now[key]]
    if not differing:
        return
    differences = [
        _first_other_image(folder, image_ids)
        if key == "image_ids"
        else f"{key} was {_short(there.get(key))} and is {_short(now[key])}"
        for key in differing[:5]
    ]
    raise OtherShardsError(
        f"{str(folder)!r} was begun with other images or settings: {'; '.join(differences)}. Name "
        "another folder, or run with what it was begun with."
    )


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
