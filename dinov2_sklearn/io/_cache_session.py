"""One run's use of an embedding cache: what is known of its files, found, and stored."""

import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..images import ImageRef, map_ahead
from ..utils import warn
from ._cache import EmbeddingCache

__all__ = ["CacheSession"]

# A file that changed this recently can change again within the same tick of its file system's
# clock: its digest is used, but not remembered under its times.
_RECENT_NANOSECONDS = 2_000_000_000


class CacheSession:
    """One call's use of a cache: digests of its files, embeddings found, embeddings stored.

    Whatever fails in the cache leads to one warning, after which nothing is found or stored: the
    embeddings are computed as if there were no cache.

    Parameters
    ----------
    folder : str, PathLike or None
        The cache's folder. None finds and stores nothing.
    settings : dict, default=None
        What the embeddings depend on apart from the image and the model, as plain data.
    model_files : sequence of str, default=()
        The model's files; they count by their content.

    Raises
    ------
    ValueError
        If the folder is a file.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        settings: dict[str, Any] | None = None,
        model_files: Sequence[str] = (),
    ) -> None:
        if folder is not None:
            if not os.fspath(folder):
                raise ValueError("embedding_cache is an empty text. Name a folder, or give None.")
            folder = Path(folder).expanduser()
        if folder is not None and Path(folder).exists() and not Path(folder).is_dir():
            raise ValueError(
                f"embedding_cache={os.fspath(folder)!r} is a file. Name a folder, which is made "
                "if it does not exist."
            )
        self._folder = folder
        self._settings = settings
        self._model_files = model_files
        self._database: sqlite3.Connection | None = None
        self._signatures: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._folder is not None:
            self._opened = EmbeddingCache(self._folder).connection()
            self._guarded(self._open)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._database is not None:
            self._database = None
            self._opened.__exit__(None, None, None)

    def identify(self, images: Sequence[Any], num_workers: int = 0) -> list[Any]:
        """Return a key for each image: equal keys mean equal embeddings.

        Parameters
        ----------
        images : sequence
            Paths, or images in memory, which have no key and are never cached.
        num_workers : int, default=0
            Threads that read files.

        Returns
        -------
        list of bytes, str or None
            The digest of each file's content; the path where there is no cache or the file cannot
            be read; None for images in memory.
        """
        self._signatures.clear()
        paths = list(dict.fromkeys(image for image in images if isinstance(image, str)))
        digests: list[bytes | None] = [None] * len(paths)
        if self._database is not None:
            found = self._guarded(lambda: self._digests(paths, num_workers))
            digests = digests if found is None else found
        keys = dict(zip(paths, digests, strict=True))
        return [keys[i] or i if isinstance(i, str) else None for i in images]

    def find(self, keys: Sequence[Any]) -> dict[int, np.ndarray]:
        """Return the embeddings that are known, by their position among the keys."""
        if self._database is None:
            return {}
        return self._guarded(lambda: self._find(keys)) or {}

    def store(self, items: Iterable[tuple[Any, Any, np.ndarray]]) -> None:
        """Keep embeddings, given as (image, key, embedding).

        An embedding is kept only where the file has been the same since it was identified.
        """
        if self._database is None:
            return
        rows = [
            (self._setting, key, data := embedding.tobytes(), zlib.crc32(data))
            for image, key, embedding in items
            if isinstance(key, bytes) and _signature(image) == self._signatures[image]
        ]
        self._guarded(lambda: self._store(rows))

    def _guarded(self, work: Callable[[], Any]) -> Any:
        """Do work on the database; when it fails, warn and go on without the cache."""
        try:
            return work()
        except (sqlite3.Error, OSError) as error:
            self.__exit__()
            warn(
                f"The embedding cache in {os.fspath(self._folder or '')!r} cannot be used "
                f"({type(error).__name__}: {error}); embeddings are computed without it. Free "
                "space or make the folder writable; a damaged cache can be deleted.",
            )
            return None

    def _open(self) -> None:
        database = self._opened.__enter__()
        self._database = database
        model = [digest and digest.hex() for digest in self._digests(self._model_files)]
        description = json.dumps({"settings": self._settings, "model": model}, sort_keys=True)
        key = hashlib.sha256(description.encode()).digest()
        # The number comes from the settings: one that was given to others after a `prune` would
        # let a process that still runs store its embeddings as theirs.
        number = int.from_bytes(key[:8]) >> 1
        with database:
            database.execute(
                "INSERT INTO settings (id, key, description, last_used) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET last_used = excluded.last_used",
                (number, key, description, time.time()),
            )
        (self._setting,) = database.execute(
            "SELECT id FROM settings WHERE key = ?", (key,)
        ).fetchone()

    def _digests(self, paths: Sequence[str], num_workers: int = 0) -> list[bytes | None]:
        """Digest files' contents, reading only those that changed since the last time."""
        database = self._database
        assert database is not None
        known: dict[str, bytes] = {}
        changed = []
        for path in paths:
            self._signatures[path] = _signature(path)
            row = database.execute(
                "SELECT digest FROM files WHERE path = ? AND signature = ?",
                (_absolute(path), self._signatures[path]),
            ).fetchone()
            if row is None:
                changed.append(path)
            else:
                known[path] = row[0]
        read = map_ahead(_digest, changed, num_workers=num_workers, ahead=1000)
        fresh = {path: digest for path, digest in zip(changed, read, strict=True) if digest}
        rows = [
            (_absolute(path), self._signatures[path], digest)
            for path, digest in fresh.items()
            if not _is_recent(self._signatures[path])
        ]
        if rows:
            with database:
                database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)
        return [known.get(path) or fresh.get(path) for path in paths]

    def _find(self, keys: Sequence[Any]) -> dict[int, np.ndarray]:
        database = self._database
        assert database is not None
        found: dict[int, np.ndarray] = {}
        for position, key in enumerate(keys):
            if not isinstance(key, bytes):
                continue
            row = database.execute(
                "SELECT embedding, checksum FROM embeddings WHERE setting = ? AND digest = ?",
                (self._setting, key),
            ).fetchone()
            if row is not None and zlib.crc32(row[0]) == row[1]:
                found[position] = np.frombuffer(row[0], dtype=np.float32)
        self._count(hits=len(found), misses=len(keys) - len(found))
        return found

    def _count(self, *, hits: int, misses: int) -> None:
        assert self._database is not None
        with self._database:
            self._database.execute(
                "UPDATE settings SET hits = hits + ?, misses = misses + ? WHERE id = ?",
                (hits, misses, self._setting),
            )

    def _store(self, rows: list[tuple[int, bytes, bytes, int]]) -> None:
        assert self._database is not None
        with self._database:
            self._database.execute(
                "UPDATE settings SET last_used = ? WHERE id = ?", (time.time(), self._setting)
            )
            self._database.executemany(
                "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?)", rows
            )


def _digest(path: str) -> bytes | None:
    return ImageRef(path).digest()


def _absolute(path: str) -> bytes:
    # Whatever a str holds. abspath, of URLs too, as caches were written before.
    return os.path.abspath(path).encode("utf-8", "surrogatepass")  # noqa: PTH100


def _signature(path: str) -> str:
    return ",".join(map(str, ImageRef(path).stamp() or ()))


def _is_recent(signature: str) -> bool:
    if not signature:  # the file came into being after its signature was taken
        return True
    _, modified, changed, _ = map(int, signature.split(","))
    return time.time_ns() - max(modified, changed) < _RECENT_NANOSECONDS
