"""Embeddings kept on disk, so that no image is embedded twice.

What is known of a file is its content's digest, remembered together with its size and times, so
that an unchanged file is not read again. What is known of a content is its embedding, for each
setting that it was computed with.
"""

import hashlib
import json
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..images import ImageRef
from ..utils import warn

__all__ = ["CacheInfo", "CacheSession", "EmbeddingCache"]

_FILE_NAME = "embeddings.sqlite3"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, signature TEXT NOT NULL, digest BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, description TEXT NOT NULL,
    last_used REAL NOT NULL, hits INTEGER NOT NULL DEFAULT 0, misses INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS embeddings (
    setting INTEGER NOT NULL, digest BLOB NOT NULL, embedding BLOB NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (setting, digest)
) WITHOUT ROWID;
"""
_BUSY_SECONDS = 60
# A file that changed this recently can change again within the same tick of its file system's
# clock: its digest is used, but not remembered under its times.
_RECENT_NANOSECONDS = 2_000_000_000


@dataclass(frozen=True)
class CacheInfo:
    """What an embedding cache holds and how often it helped.

    Attributes
    ----------
    hits, misses : int
        Distinct images that were found, and that had to be embedded, since the cache was made.
    n_embeddings : int
        Embeddings in the cache.
    n_settings : int
        Different settings (model, layer, image size, ...) that they were computed with.
    n_bytes : int
        Size on disk in bytes.
    """

    hits: int
    misses: int
    n_embeddings: int
    n_settings: int
    n_bytes: int


class EmbeddingCache:
    """The embeddings that `DINOv2Transformer` keeps in a folder.

    Parameters
    ----------
    folder : str or PathLike
        The folder given as ``embedding_cache``.

    See Also
    --------
    DINOv2Transformer : Fills the cache and reads from it.

    Examples
    --------
    >>> import tempfile
    >>> from dinov2_sklearn import EmbeddingCache
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     EmbeddingCache(folder).info().n_embeddings
    0
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()

    def info(self) -> CacheInfo:
        """Count what the cache holds.

        Returns
        -------
        CacheInfo
            All zeros where there is no cache yet.

        Raises
        ------
        sqlite3.Error
            If the cache's file is damaged.
        """
        if not self._file.is_file():
            return CacheInfo(0, 0, 0, 0, 0)
        with self.connection() as database:
            counts = database.execute(
                "SELECT COALESCE(SUM(hits), 0), COALESCE(SUM(misses), 0), COUNT(*) FROM settings"
            ).fetchone()
            (n_embeddings,) = database.execute("SELECT COUNT(*) FROM embeddings").fetchone()
        hits, misses, n_settings = counts
        n_bytes = sum(path.stat().st_size for path in self.folder.glob(f"{_FILE_NAME}*"))
        return CacheInfo(hits, misses, n_embeddings, n_settings, n_bytes)

    def prune(self, unused_days: float = 30.0) -> CacheInfo:
        """Drop embeddings whose settings were not used lately, and files that are gone.

        Parameters
        ----------
        unused_days : float, default=30.0
            Settings last used longer ago than this are dropped with all their embeddings; 0
            drops everything.

        Returns
        -------
        CacheInfo
            What is left.

        Raises
        ------
        ValueError
            If `unused_days` is negative or NaN.
        sqlite3.Error
            If the cache's file is damaged, or another process keeps it busy for a minute.

        Notes
        -----
        A run that uses the cache meanwhile is not harmed: it embeds what it does not find.
        """
        if not unused_days >= 0:
            raise ValueError(f"unused_days must be 0 or more, got {unused_days!r}.")
        if not self._file.is_file():
            return self.info()
        with self.connection() as database:
            oldest = time.time() - unused_days * 86_400
            with database:
                database.execute("DELETE FROM settings WHERE last_used <= ?", (oldest,))
                database.execute(
                    "DELETE FROM embeddings WHERE setting NOT IN (SELECT id FROM settings)"
                )
                paths = database.execute("SELECT path FROM files").fetchall()
                gone = [
                    row
                    for row in paths
                    if not os.path.exists(_file(row[0]))  # noqa: PTH110
                ]
                database.executemany("DELETE FROM files WHERE path = ?", gone)
            database.execute("VACUUM")
        return self.info()

    @property
    def _file(self) -> Path:
        return self.folder / _FILE_NAME

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Open the cache's file, making it where there is none, and close it at the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._file, timeout=_BUSY_SECONDS, check_same_thread=False)
        try:
            # With a write-ahead log several processes read while one writes, and a process that
            # is killed leaves the file whole.
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.executescript(_SCHEMA)
            yield database
        finally:
            database.close()


class CacheSession:
    """One call's use of a cache: what is known of its images is found, what is new is stored.

    The settings, plain data, are what embeddings depend on apart from the image and the model,
    whose files count by their content. Without a folder nothing is found or stored; neither is it
    after something failed in the cache, of which one warning tells. Pickled, a session can be used
    by another process.
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
            if folder.exists() and not folder.is_dir():
                raise ValueError(
                    f"embedding_cache={os.fspath(folder)!r} is a file. Name a folder, which is "
                    "made if it does not exist."
                )
        self._folder = folder
        self._settings = settings
        self._model_files = model_files
        self._description: str | None = None
        self._database: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        self._read: list[tuple[bytes, str, bytes]] = []
        self._n_hits = 0

    def __enter__(self) -> Self:
        if self._folder is not None:
            self._opened = EmbeddingCache(self._folder).connection()
            self._guarded(self._open)
        return self

    def __exit__(self, *exception: object) -> None:
        self.store([])
        self._close()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self._folder if self.is_open else None, "setting": self._description}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]
        self._description = state["setting"]

    @property
    def is_open(self) -> bool:
        """Whether there is a cache, and it works."""
        return self._database is not None

    def known(self, paths: Mapping[int, str]) -> dict[int, NDArray[np.float32]]:
        """Return the embeddings of files that did not change since they were read."""
        return (self.is_open and self._guarded(lambda: self._known(paths))) or {}

    def find(self, path: str, stamp: Any, digest: bytes) -> NDArray[np.float32] | None:
        """Return the embedding of a content, read from a file of this stamp; thread-safe."""
        with self._lock:
            if self._database is None:
                return None
            try:
                if not _is_recent(stamp):
                    self._read.append((_absolute(path), _signature(stamp), digest))
                row = _embedding(
                    self._database.execute(
                        "SELECT embedding, checksum FROM embeddings "
                        "WHERE setting = ? AND digest = ?",
                        (self._setting, digest),
                    )
                )
            except sqlite3.Error as error:  # warned of where the user is
                self._failure = error
                return None
            self._n_hits += row is not None
            return row

    def store(self, items: Sequence[tuple[bytes, NDArray[np.float32]]]) -> None:
        """Keep embeddings, given with the digest of what they were computed from."""
        if self.is_open and (items or self._read or self._n_hits or self._failure):
            self._guarded(lambda: self._store(items))

    def _guarded(self, work: Callable[[], Any]) -> Any:
        """Do work on the database; when it fails, warn and go on without the cache."""
        try:
            if self._failure is not None:
                raise self._failure
            with self._lock:
                return work()
        except (sqlite3.Error, OSError) as error:
            self._close()
            warn(
                f"The embedding cache in {os.fspath(self._folder or '')!r} cannot be used "
                f"({type(error).__name__}: {error}); embeddings are computed without it. Free "
                "space or make the folder writable; a damaged cache can be deleted.",
            )
            return None

    def _close(self) -> None:
        with self._lock:
            if self._database is not None:
                self._database = None
                self._opened.__exit__(None, None, None)

    def _open(self) -> None:
        database = self._opened.__enter__()
        self._database = database
        if self._description is None:
            model = [digest and digest.hex() for digest in map(self._digest, self._model_files)]
            description = {"settings": self._settings, "model": model}
            self._description = json.dumps(description, sort_keys=True)
        key = hashlib.sha256(self._description.encode()).digest()
        # The number comes from the settings: one that was given to others after a `prune` would
        # let a process that still runs store its embeddings as theirs.
        number = int.from_bytes(key[:8]) >> 1
        with database:
            database.execute(
                "INSERT INTO settings (id, key, description, last_used) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET last_used = excluded.last_used",
                (number, key, self._description, time.time()),
            )
        (self._setting,) = database.execute(
            "SELECT id FROM settings WHERE key = ?", (key,)
        ).fetchone()

    def _digest(self, path: str) -> bytes | None:
        """Digest a file of the model, which is read only if it changed since the last time."""
        assert self._database is not None
        stamp = ImageRef(path).stamp()
        row = self._database.execute(
            "SELECT digest FROM files WHERE path = ? AND signature = ?",
            (_absolute(path), _signature(stamp)),
        ).fetchone()
        digest = row[0] if row is not None else ImageRef(path).digest()
        if row is None and digest and not _is_recent(stamp):
            self._read.append((_absolute(path), _signature(stamp), digest))
        return digest

    def _known(self, paths: Mapping[int, str]) -> dict[int, NDArray[np.float32]]:
        assert self._database is not None
        found = {}
        for position, path in paths.items():
            row = _embedding(
                self._database.execute(
                    "SELECT embedding, checksum FROM files JOIN embeddings USING (digest) "
                    "WHERE path = ? AND signature = ? AND setting = ?",
                    (_absolute(path), _signature(ImageRef(path).stamp()), self._setting),
                )
            )
            if row is not None:
                found[position] = row
        self._n_hits += len(found)
        return found

    def _store(self, items: Sequence[tuple[bytes, NDArray[np.float32]]]) -> None:
        assert self._database is not None
        rows = [
            (self._setting, digest, data := row.tobytes(), zlib.crc32(data))
            for digest, row in items
        ]
        with self._database as database:
            database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", self._read)
            database.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?)", rows)
            database.execute(
                "UPDATE settings SET last_used = ?, hits = hits + ?, misses = misses + ? "
                "WHERE id = ?",
                (time.time(), self._n_hits, len(rows), self._setting),
            )
        self._read.clear()
        self._n_hits = 0


def _embedding(cursor: sqlite3.Cursor) -> NDArray[np.float32] | None:
    """Return the one that was found, unless it is damaged."""
    row = cursor.fetchone()
    if row is None or zlib.crc32(row[0]) != row[1]:
        return None
    return np.frombuffer(row[0], dtype=np.float32)


def _absolute(path: str) -> bytes:
    # Whatever a str holds. abspath, of URLs too, as caches were written before.
    return os.path.abspath(path).encode("utf-8", "surrogatepass")  # noqa: PTH100


def _file(path: bytes) -> str:
    return ImageRef(path.decode("utf-8", "surrogatepass")).file


def _signature(stamp: Any) -> str:
    # The version of the digests: those of 0.1.0 knew no images that are decoded otherwise since.
    return ",".join(map(str, (2, *(stamp or ()))))


def _is_recent(stamp: Any) -> bool:
    if stamp is None:  # a URL, or a file that came into being after its stamp was taken
        return True
    _, modified, changed, _ = stamp
    return time.time_ns() - max(modified, changed) < _RECENT_NANOSECONDS
