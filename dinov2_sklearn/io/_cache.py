"""Embeddings kept on disk, so that no image is embedded twice.

What is known of a file is its content's digest, remembered together with its size and times, so
that an unchanged file is not read again. What is known of a content is its embedding, for each
setting that it was computed with.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CacheInfo", "EmbeddingCache"]

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
                    if not os.path.exists(row[0].decode("utf-8", "surrogatepass"))  # noqa: PTH110
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
        database = sqlite3.connect(self._file, timeout=_BUSY_SECONDS)
        try:
            # With a write-ahead log several processes read while one writes, and a process that
            # is killed leaves the file whole.
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.executescript(_SCHEMA)
            yield database
        finally:
            database.close()
