"""The files of an extraction that can be interrupted.

- ``embeddings.npy``: all rows, from the start as large as they will be.
- ``image_ids.jsonl``: what each row is the embedding of, a JSON string a line.
- ``manifest.json``: what is being made; at the end also each shard's checksum, and the errors.
- ``finished.jsonl``: while it is being made, one line for each run of rows that is on the disk.

Rows count as written only once their line is there with their checksum, and that is written after
the rows are synced.
"""

import contextlib
import errno
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from ..utils import atomic_write, left_over
from ._manifest import (
    EMBEDDINGS,
    IMAGE_IDS,
    check_folder,
    json_line,
    locked,
    manifest_file,
    read_manifest,
    refuse_other,
    shard_bounds,
    write_manifest,
)

__all__ = ["ShardFolder", "verify_rows"]

_FINISHED = "finished.jsonl"
_RUN = {"start": int, "stop": int, "crc32": int, "errors": list}


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
        self._row_bytes = 4 * plan["n_features"]
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> Self:
        is_new = check_folder(self.folder)
        if not is_new:
            refuse_other(self.folder, self.plan, self.image_ids)
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(self.folder))
            if is_new:
                self._begin()
            self._resume()
            self._opened = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.close()

    def missing(self) -> Iterator[tuple[int, int]]:
        """Yield the runs of rows (start, stop) that are not written, none across two shards."""
        written = np.zeros(self.plan["n_images"], dtype=bool)
        for run in self._finished:
            written[run["start"] : run["stop"]] = True
        for start, stop in shard_bounds(self.plan):
            for begin, end in _runs(~written[start:stop]):
                yield start + begin, start + end

    def failed(self) -> list[int]:
        """Return the written rows whose image could not be decoded."""
        return sorted(row for run in self._finished for row, _ in run["errors"])

    def write(self, start: int, rows: np.ndarray, done: np.ndarray, errors: dict[int, str]) -> None:
        """Write rows, then note that they are there.

        Parameters
        ----------
        start : int
            Position of the first row.
        rows : ndarray of shape (n, n_features), float32
            The rows; NaN where the image has an error.
        done : ndarray of shape (n,), bool
            Which of them to write.
        errors : dict of int to str
            Positions and causes.

        Raises
        ------
        OSError
            If the disk is full. What was written before stays.
        """
        noted = []
        with (self.folder / EMBEDDINGS).open("r+b") as file:
            for begin, end in _runs(done):
                data = np.ascontiguousarray(rows[begin:end], dtype="<f4").tobytes()
                self._seek(file, start + begin)
                file.write(data)
                run = {"start": start + begin, "stop": start + end, "crc32": zlib.crc32(data)}
                causes = [[i, errors[i]] for i in range(*_bounds(run)) if i in errors]
                noted.append({**run, "errors": causes})
            _sync(file)
        with (self.folder / _FINISHED).open("ab") as file:
            file.writelines(json_line(run) for run in noted)
            _sync(file)
        self._finished += noted

    def mend(self, rows: dict[int, np.ndarray]) -> None:
        """Put rows in the place of ones that had failed.

        Killed meanwhile, the runs that they stand in fail their checksum and are made again.
        """
        if not rows:
            return
        if self.complete:
            self._reopen()
        with (self.folder / EMBEDDINGS).open("r+b") as file:
            for position, row in rows.items():
                self._seek(file, position)
                file.write(np.asarray(row, dtype="<f4").tobytes())
            _sync(file)
            for run in self._finished:
                if any(run["start"] <= position < run["stop"] for position in rows):
                    run["errors"] = [entry for entry in run["errors"] if entry[0] not in rows]
                    run["crc32"] = self._checksum(file, run)
        self._write_finished()

    def finish(self) -> None:
        """Enter the checksums and the errors into the manifest: all rows are there."""
        if self.complete:
            return
        causes = {row: cause for run in self._finished for row, cause in run["errors"]}
        errors = [
            {"row": row, "image_id": self.image_ids[row], "cause": causes[row]}
            for row in sorted(causes)
        ]
        with (self.folder / EMBEDDINGS).open("rb") as file:
            checksums = _checksums(file, self._offset, self.plan)
        write_manifest(self.folder, self.plan, complete=True, crc32=checksums, errors=errors)
        (self.folder / _FINISHED).unlink(missing_ok=True)

    def _begin(self) -> None:
        write_manifest(self.folder, self.plan, complete=False)
        try:
            self._make_rows()
        except OSError:
            manifest_file(self.folder).unlink()
            raise

    def _resume(self) -> None:
        """Find out which rows are there, and hold them to their checksums."""
        for path in left_over(self.folder):
            path.unlink()
        manifest = read_manifest(self.folder)
        noted = _runs_of(manifest) if manifest["complete"] else self._read_finished()
        self._make_ids()
        self._make_rows()
        with (self.folder / EMBEDDINGS).open("rb") as file:
            self._finished = [run for run in noted if self._checksum(file, run) == run["crc32"]]
        self.complete = manifest["complete"]
        if not self.complete:
            self._write_finished()
        elif len(self._finished) < len(noted):
            self._reopen()

    def _reopen(self) -> None:
        self._write_finished()
        write_manifest(self.folder, self.plan, complete=False)
        self.complete = False

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
                _reserve(file, self.folder, offset + shape[0] * self._row_bytes)
        self._offset = offset
        size = offset + shape[0] * self._row_bytes
        if path.stat().st_size != size:
            os.truncate(path, size)

    def _read_finished(self) -> list[dict[str, Any]]:
        path = self.folder / _FINISHED
        # What does not end in a line break was cut off by the end of the process.
        *lines, _ = path.read_bytes().split(b"\n") if path.exists() else [b""]
        runs = []
        with contextlib.suppress(KeyError, TypeError, ValueError):
            for line in lines:
                run = json.loads(line)
                if not all(isinstance(run[key], kind) for key, kind in _RUN.items()):
                    break  # what follows a damaged line is made again
                runs.append(run)
        return runs

    def _write_finished(self) -> None:
        with atomic_write(self.folder / _FINISHED) as file:
            file.writelines(json_line(run) for run in self._finished)

    def _seek(self, file: BinaryIO, row: int) -> None:
        file.seek(self._offset + row * self._row_bytes)

    def _checksum(self, file: BinaryIO, run: dict[str, Any]) -> int:
        self._seek(file, run["start"])
        return zlib.crc32(file.read((run["stop"] - run["start"]) * self._row_bytes))


def verify_rows(folder: Path, manifest: dict[str, Any]) -> bool:
    """Tell whether the rows of a finished folder have their checksums."""
    path = folder / EMBEDDINGS
    offset = _rows_offset(path, (manifest["n_images"], manifest["n_features"]))
    if offset is None:
        return False
    with path.open("rb") as file:
        return _checksums(file, offset, manifest) == manifest["crc32"]


def _rows_offset(path: Path, shape: tuple[int, int]) -> int | None:
    """Return where the rows begin in the file, None where it is not the file of such rows."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            found = np.lib.format.read_array_header_1_0(file)
            return file.tell() if found == (shape, False, np.dtype("<f4")) else None
    except Exception:  # numpy parses the header as Python, whose errors are many
        return None


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return the runs (start, stop) of True."""
    edges = np.diff(mask.astype(np.int8), prepend=0, append=0)
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def _runs_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Take the shards of a complete manifest as runs, to be held to their checksums."""
    errors = [[error["row"], error["cause"]] for error in manifest["errors"]]
    return [
        {
            "start": start,
            "stop": stop,
            "crc32": crc32,
            "errors": [error for error in errors if start <= error[0] < stop],
        }
        for (start, stop), crc32 in zip(shard_bounds(manifest), manifest["crc32"], strict=True)
    ]


def _bounds(run: dict[str, Any]) -> tuple[int, int]:
    return run["start"], run["stop"]


def _checksums(file: BinaryIO, offset: int, plan: dict[str, Any]) -> list[int]:
    """Return the checksum of each shard."""
    file.seek(offset)
    row_bytes = 4 * plan["n_features"]
    return [zlib.crc32(file.read((stop - start) * row_bytes)) for start, stop in shard_bounds(plan)]


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
