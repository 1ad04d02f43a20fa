"""The files of an extraction that can be interrupted.

- ``embeddings.npy``: all rows, from the start as large as they will be.
- ``image_ids.jsonl``: what each row is the embedding of, a JSON string a line.
- ``manifest.json``: what is being made; at the end also each shard's checksum, and the errors.
- ``finished.jsonl``: while it is being made, one line for each run of rows that is on the disk.

Rows count as written only once their line is there, and that is written after the rows are synced.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from filelock import FileLock, Timeout

from .._files import atomic_write

__all__ = ["FORMAT", "ShardFolder", "ids_digest", "read_manifest"]

FORMAT = "dinov2_sklearn shards"
MANIFEST, EMBEDDINGS, IMAGE_IDS = "manifest.json", "embeddings.npy", "image_ids.jsonl"
_FINISHED, _LOCK = "finished.jsonl", ".lock"
_LEFT_OVER = re.compile(r"\.[0-9a-f]{32}\.tmp")


class ShardFolder:
    """A folder being filled with rows; a context manager that keeps other processes out.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    plan : dict
        What is being made, as data that JSON can hold: ``n_images``, ``n_features``,
        ``shard_size``, and all that the rows depend on.
    image_ids : sequence of str
        What each row is the embedding of.

    Raises
    ------
    ValueError
        On entering, if the folder holds something else.
    RuntimeError
        On entering, if another process is filling it.
    OSError
        On entering, if the disk has no room for the rows.
    """

    def __init__(self, folder: Path, plan: dict[str, Any], image_ids: Sequence[str]) -> None:
        self.folder = folder
        self.plan = plan
        self.image_ids = image_ids
        self._lock = FileLock(folder / _LOCK, timeout=0)
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> Self:
        _make_folder(self.folder)
        try:
            self._opened.enter_context(self._lock)
        except Timeout:
            raise RuntimeError(
                f"Another process is writing to {str(self.folder)!r}. Wait for it, or name "
                "another folder."
            ) from None
        with contextlib.ExitStack() as stack:
            stack.push(self.__exit__)
            self._begin()
            stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.close()

    def missing(self) -> Iterator[tuple[int, int]]:
        """Yield the runs of rows (start, stop) that are not written, none across two shards."""
        written = np.zeros(self.plan["n_images"], dtype=bool)
        for run in self._finished:
            written[run["start"] : run["stop"]] = True
        for start, stop in self._shards():
            edges = np.diff(written[start:stop].astype(np.int8), prepend=1, append=1)
            begins, ends = np.flatnonzero(edges == -1), np.flatnonzero(edges == 1)
            yield from zip((start + begins).tolist(), (start + ends).tolist(), strict=True)

    def write(self, start: int, rows: np.ndarray, errors: dict[int, str]) -> None:
        """Write consecutive rows, then note that they are there.

        Parameters
        ----------
        start : int
            Position of the first row.
        rows : ndarray of shape (n, n_features), float32
            The rows; NaN where the image has an error.
        errors : dict of int to str
            Positions and causes.

        Raises
        ------
        OSError
            If the disk is full. What was written before stays.
        """
        data = np.ascontiguousarray(rows, dtype="<f4").tobytes()
        with (self.folder / EMBEDDINGS).open("r+b") as file:
            file.seek(self._offset + start * self._row_bytes)
            file.write(data)
            _sync(file)
        run = {
            "start": start,
            "stop": start + len(rows),
            "crc32": zlib.crc32(data),
            "errors": [[position, errors[position]] for position in sorted(errors)],
        }
        with (self.folder / _FINISHED).open("ab") as file:
            file.write(_json_line(run))
            _sync(file)
        self._finished.append(run)

    def finish(self) -> None:
        """Enter the checksums and the errors into the manifest: all rows are there."""
        if self.complete:
            return
        causes = {position: cause for run in self._finished for position, cause in run["errors"]}
        with (self.folder / EMBEDDINGS).open("rb") as file:
            file.seek(self._offset)
            checksums = [
                zlib.crc32(file.read((stop - start) * self._row_bytes))
                for start, stop in self._shards()
            ]
        errors = [
            {"row": row, "image_id": self.image_ids[row], "cause": causes[row]}
            for row in sorted(causes)
        ]
        self._write_manifest(complete=True, crc32=checksums, errors=errors)
        (self.folder / _FINISHED).unlink(missing_ok=True)

    def _begin(self) -> None:
        found = [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        manifest: dict[str, Any] = {"complete": False}
        if (self.folder / MANIFEST).exists():
            manifest = read_manifest(self.folder)
            self._refuse_other(manifest)
        elif found:
            raise ValueError(
                f"{str(self.folder)!r} holds other files, such as {found[0].name!r}. Name an "
                "empty folder, or one that does not exist."
            )
        for path in self.folder.glob(".*.tmp"):
            if _LEFT_OVER.fullmatch(path.name):  # of a process that was killed
                path.unlink()
        noted = self._runs_of(manifest) if manifest["complete"] else self._read_finished()
        if not found:
            self._write_manifest(complete=False)
        self._make_files()
        with (self.folder / EMBEDDINGS).open("rb") as file:
            self._finished = [run for run in noted if self._checksum(file, run) == run["crc32"]]
        self.complete = manifest["complete"] and len(self._finished) == len(noted)
        if not self.complete:
            self._write_finished()
        if manifest["complete"] and not self.complete:
            self._write_manifest(complete=False)

    def _refuse_other(self, manifest: dict[str, Any]) -> None:
        there, now = _flat(manifest), _flat(json.loads(json.dumps(self.plan)))
        differing = [key for key in now if there.get(key) != now[key]]
        if differing:
            differences = "; ".join(
                "the images are others"
                if key == "image_ids"
                else f"{key} was {there.get(key)!r} and is {now[key]!r}"
                for key in differing[:5]
            )
            raise ValueError(
                f"{str(self.folder)!r} was begun with other images or settings: {differences}. "
                "Name another folder, or run with what it was begun with."
            )

    def _make_files(self) -> None:
        if not (self.folder / IMAGE_IDS).exists():
            with atomic_write(self.folder / IMAGE_IDS) as file:
                file.writelines(_json_line(image_id) for image_id in self.image_ids)
        path = self.folder / EMBEDDINGS
        shape = (self.plan["n_images"], self.plan["n_features"])
        self._row_bytes = 4 * shape[1]
        if not path.exists():
            with atomic_write(path) as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                _reserve(file, self.folder, file.tell() + shape[0] * self._row_bytes)
        self._offset = path.stat().st_size - shape[0] * self._row_bytes

    def _runs_of(self, manifest: dict[str, Any]) -> list[dict[str, Any]]:
        """Take the shards of a complete manifest as runs, to be held to their checksums."""
        errors = [[error["row"], error["cause"]] for error in manifest["errors"]]
        return [
            {
                "start": start,
                "stop": stop,
                "crc32": crc32,
                "errors": [error for error in errors if start <= error[0] < stop],
            }
            for (start, stop), crc32 in zip(self._shards(), manifest["crc32"], strict=True)
        ]

    def _read_finished(self) -> list[dict[str, Any]]:
        path = self.folder / _FINISHED
        # What does not end in a line break was cut off by the end of the process.
        *lines, _ = path.read_bytes().split(b"\n") if path.exists() else [b""]
        runs = []
        with contextlib.suppress(ValueError):  # what follows a damaged line is made again
            for line in lines:
                runs.append(json.loads(line))
        return runs

    def _write_finished(self) -> None:
        with atomic_write(self.folder / _FINISHED) as file:
            file.writelines(_json_line(run) for run in self._finished)

    def _checksum(self, file: Any, run: dict[str, Any]) -> int:
        file.seek(self._offset + run["start"] * self._row_bytes)
        return zlib.crc32(file.read((run["stop"] - run["start"]) * self._row_bytes))

    def _shards(self) -> Iterator[tuple[int, int]]:
        n_images, size = self.plan["n_images"], self.plan["shard_size"]
        for start in range(0, n_images, size):
            yield start, min(start + size, n_images)

    def _write_manifest(self, **more: Any) -> None:
        manifest = {"format": FORMAT, **self.plan, **more}
        with atomic_write(self.folder / MANIFEST) as file:
            file.write(json.dumps(manifest, indent=1).encode("ascii"))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a folder's manifest.

    Raises
    ------
    ValueError
        If it is damaged, or another program's.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["format"] != FORMAT:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{str(folder / MANIFEST)!r} is damaged, or was not written by extract_to_shards."
        ) from None
    return manifest


def ids_digest(image_ids: Sequence[str]) -> str:
    """Return one digest of all ids and their order."""
    digest = hashlib.blake2b(digest_size=20)
    for image_id in image_ids:
        digest.update(_json_line(image_id))
    return digest.hexdigest()


def _make_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is a file. Name a folder for the shards.")
    folder.mkdir(parents=True, exist_ok=True)


def _reserve(file: Any, folder: Path, size: int) -> None:
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


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _json_line(value: Any) -> bytes:
    return json.dumps(value).encode("ascii") + b"\n"


def _flat(plan: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plan.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
