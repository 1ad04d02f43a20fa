"""A folder of shards in one array, which is filled, killed, and filled on.

- ``embeddings.npy``: all rows, from the start as large as they will be.
- ``image_ids.jsonl``: what each row is the embedding of, a JSON string a line.
- ``manifest.json``: what is being made; at the end also each shard's checksum, and the errors.
- ``finished.jsonl``: while it is being made, a line for each shard that was written.

A shard counts only once its line is there, with a checksum of its rows, and that is written after
the rows are synced. A later line of the same shard takes the place of an earlier one.
"""

import contextlib
import errno
import hashlib
import json
import os
import reprlib
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ..images import ImageRef
from ..utils import atomic_write, left_over
from ._parquet import Shard
from ._shards import (
    EMBEDDINGS,
    IMAGE_IDS,
    MANIFESTS,
    ids_digest,
    json_line,
    manifest_file,
    read_ids,
    read_manifest,
    shard_bounds,
)

__all__ = ["OtherShardsError", "ShardFolder", "differences", "filling", "make_plan"]

_FINISHED, _LOCK = "finished.jsonl", ".lock"


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
            _write_manifest(folder, plan)
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


def _write_manifest(folder: Path, plan: dict[str, Any], **more: Any) -> None:
    """Write what is being made, and how far it is."""
    with atomic_write(folder / MANIFESTS[plan["format"]]) as file:
        file.write(json.dumps({**plan, **more}, indent=1).encode("ascii"))


class _Written(NamedTuple):
    """A line of the journal: which shard is on the disk, and what is missing in it."""

    start: int
    stop: int
    crc32: int
    errors: list


class ShardFolder:
    """A folder being filled."""

    def __init__(self, folder: Path, plan: dict[str, Any], image_ids: Sequence[str]) -> None:
        self.folder = folder
        self.plan = plan
        self.image_ids = image_ids
        self._written: dict[int, _Written] = {}

    @classmethod
    @contextmanager
    def filling(
        cls, folder: Path, plan: dict[str, Any], image_ids: Sequence[str]
    ) -> Iterator[Self]:
        """Begin a folder, or take up one where it was left: see `filling`.

        Raises an OSError if the disk has no room for all rows.
        """
        with filling(folder, plan, image_ids):
            shards = cls(folder, plan, image_ids)
            shards._resume()
            yield shards

    def unfinished(self) -> dict[int, int]:
        """Return how many rows are missing in shards, by the first row of each."""
        found = {}
        for start, stop in shard_bounds(self.plan):
            written = self._written.get(start)
            n_missing = stop - start if written is None else len(written.errors)
            if n_missing:
                found[start] = n_missing
        return found

    def read(self, start: int) -> Shard:
        """Return what is there of the shard that begins with a row."""
        ids = self.image_ids[start : start + self.plan["shard_size"]]
        shard = Shard.empty(ids, self.plan["n_features"])
        if start in self._written:
            written = self._written[start]
            shard.rows[:] = self._rows()[start : written.stop]
            shard.errors = {row - start: cause for row, cause in written.errors}
        return shard

    def write(self, start: int, shard: Shard) -> None:
        """Write a shard, then note that it is there. Killed meanwhile, it is made again."""
        if shard.is_empty:
            return
        data = np.ascontiguousarray(shard.rows, dtype="<f4").tobytes()
        errors = [[start + i, shard.errors[i]] for i in sorted(shard.errors)]
        written = _Written(start, start + len(shard.ids), zlib.crc32(data), errors)
        if self._written.get(start) == written:
            return
        if self._complete:
            self._reopen()
        with (self.folder / EMBEDDINGS).open("r+b") as file:
            file.seek(self._offset + 4 * start * self.plan["n_features"])
            file.write(data)
            _sync(file)
        with (self.folder / _FINISHED).open("ab") as file:
            file.write(json_line(written._asdict()))
            _sync(file)
        self._written[start] = written

    def finish(self) -> None:
        """Enter the checksums and the errors into the manifest: all rows are there."""
        if self._complete:
            return
        written = [self._written[start] for start, _ in shard_bounds(self.plan)]
        errors = [
            {"row": row, "image_id": self.image_ids[row], "cause": cause}
            for shard in written
            for row, cause in shard.errors
        ]
        crc32 = [shard.crc32 for shard in written]
        _write_manifest(self.folder, self.plan, complete=True, crc32=crc32, errors=errors)
        (self.folder / _FINISHED).unlink(missing_ok=True)

    def _resume(self) -> None:
        """Find out which shards are there, and hold them to their checksums."""
        manifest = read_manifest(self.folder)
        self._complete = manifest["complete"]
        lines = _lines_of(manifest) if self._complete else self._read_journal()
        try:
            self._make_rows()
        except OSError:
            if not lines:  # nothing is begun: another run may take the folder
                manifest_file(self.folder).unlink()
            raise
        self._make_ids()
        rows, bounds = self._rows(), {*shard_bounds(self.plan)}
        # A line of another form is of a version that wrote parts of shards.
        noted = {line.start: line for line in lines if (line.start, line.stop) in bounds}
        self._written = {
            start: line
            for start, line in noted.items()
            if zlib.crc32(rows[start : line.stop].data) == line.crc32
        }
        if self._complete and len(self._written) < len(bounds):
            self._reopen()
        elif not self._complete:
            self._write_journal()

    def _reopen(self) -> None:
        self._write_journal()
        _write_manifest(self.folder, self.plan, complete=False)
        self._complete = False

    def _read_journal(self) -> list[_Written]:
        path = self.folder / _FINISHED
        # What does not end in a line break was cut off by the end of the process.
        *lines, _ = path.read_bytes().split(b"\n") if path.exists() else [b""]
        found = []
        # What follows a damaged line is made again.
        with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
            for line in lines:
                written = _Written(**json.loads(line))
                [(int(row), cause) for row, cause in written.errors]
                found.append(written)
        return found

    def _write_journal(self) -> None:
        with atomic_write(self.folder / _FINISHED) as file:
            file.writelines(json_line(written._asdict()) for written in self._written.values())

    def _make_ids(self) -> None:
        path = self.folder / IMAGE_IDS
        if path.exists():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20))
            if digest.hexdigest() == self.plan["image_ids"]:
                return
        with atomic_write(path) as file:
            file.writelines(json_line(image_id) for image_id in self.image_ids)

    def _make_rows(self) -> None:
        """Make the file of rows, or give it its form again: damage shows in the checksums."""
        path = self.folder / EMBEDDINGS
        shape = (self.plan["n_images"], self.plan["n_features"])
        offset = _rows_offset(path, shape)
        if offset is None:
            with atomic_write(path) as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                offset = file.tell()
                _reserve(file, self.folder, offset + 4 * shape[0] * shape[1])
        self._offset = offset
        size = offset + 4 * shape[0] * shape[1]
        if path.stat().st_size != size:
            os.truncate(path, size)

    def _rows(self) -> NDArray[np.float32]:
        return np.load(self.folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False)


def _lines_of(manifest: dict[str, Any]) -> list[_Written]:
    """Take the shards of a complete manifest as lines of a journal."""
    errors: dict[int, list] = {}
    for error in manifest["errors"]:
        shard = error["row"] // manifest["shard_size"]
        errors.setdefault(shard, []).append([error["row"], error["cause"]])
    return [
        _Written(start, stop, crc32, errors.get(i, []))
        for i, ((start, stop), crc32) in enumerate(
            zip(shard_bounds(manifest), manifest["crc32"], strict=True)
        )
    ]


def _rows_offset(path: Path, shape: tuple[int, int]) -> int | None:
    """Return where the rows begin in the file, None where it is not the file of such rows."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            found = np.lib.format.read_array_header_1_0(file)
            return file.tell() if found == (shape, False, np.dtype("<f4")) else None
    except Exception:  # numpy parses the header as Python, whose errors are many
        return None


def _reserve(file: BinaryIO, folder: Path, size: int) -> None:
    """Take the room that all rows need now, rather than run out of it hours later."""
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except AttributeError:  # Windows
        file.truncate(size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(
                error.errno, f"The embeddings need {size / 1e6:.1f} MB on the disk", str(folder)
            ) from error
        file.truncate(size)  # a file system that cannot reserve


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
