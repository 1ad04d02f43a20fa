"""What fsspec reads: archives and other machines, each opened once in a process."""

import os
import re
import shutil
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, TypeAlias

__all__ = ["Options", "explained", "fetch", "file_system"]

Options: TypeAlias = Mapping[str, Any] | None

_DELAYS = (0.5, 1.0, 2.0)  # seconds before another attempt
_CONNECT_SECONDS, _SILENT_SECONDS = 15, 30
_WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOST_OPEN = 16
# Of these, zipfile alone reads in several threads at once.
_READS_TOGETHER = frozenset({"zip"})


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn whatever a file system raises into an OSError or an ImportError in plain words."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"Reading {url!r} needs a package that is not installed: {error}"
        ) from error
    except (OSError, MemoryError):
        raise
    except Exception as error:  # each file system has its own
        raise OSError(f"{type(error).__name__}: {error}") from error


class _Container(NamedTuple):
    """An archive that is held open."""

    files: Any
    stamp: tuple[int, ...] | None
    lock: AbstractContextManager[Any]


class _Containers:
    """The archives that this process has opened, so that an index is read once."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start afresh, as in a forked child, which would share its parent's place in each file."""
        self._open: dict[tuple[str, str, str], _Container] = {}
        self._lock = threading.Lock()

    def get(self, scheme: str, archive: str, options: Mapping[str, Any]) -> _Container:
        """Return an archive's file system, opened anew where the archive has changed."""
        key = scheme, _absolute(archive), repr(sorted(options.items()))
        stamp = _stamp(archive)
        with self._lock:
            known = self._open.get(key)
            if known is None or known.stamp != stamp:
                lock = nullcontext() if scheme in _READS_TOGETHER else threading.Lock()
                files = _open_archive(scheme, archive, options)
                known = self._open[key] = _Container(files, stamp, lock)
                while len(self._open) > _MOST_OPEN:
                    del self._open[next(iter(self._open))]
            return known


_containers = _Containers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_containers.reset)


def file_system(url: str, storage_options: Options = None) -> tuple[Any, str, str]:
    """Return the file system, the name within it, and what comes after the name in the URL."""
    inner, separator, archive = url.partition("::")
    options = _with_time_out(url, storage_options)
    if not separator:
        files, name = _url_to_fs(url, options)
        return files, name, ""
    files = _containers.get(inner.partition("://")[0], archive, options).files
    return files, files._strip_protocol(inner), separator + archive


def fetch(url: str, storage_options: Options = None) -> bytes:
    """Return what is at a URL; a server that fails for a moment is asked again."""
    inner, separator, archive = url.partition("::")
    if separator:
        options = _with_time_out(url, storage_options)
        container = _containers.get(inner.partition("://")[0], archive, options)
        with container.lock:
            return container.files.cat_file(container.files._strip_protocol(inner))
    files, name, _ = file_system(url, storage_options)
    for delay in _DELAYS:
        try:
            return files.cat_file(name)
        except Exception as error:
            if not _is_passing(error):
                raise
        time.sleep(delay)
    return files.cat_file(name)


def _is_passing(error: Exception) -> bool:
    """Whether asking again may help."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status in _WORTH_RETRYING
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError)):
        return False
    of_network = type(error).__module__.partition(".")[0] in ("aiohttp", "asyncio", "fsspec")
    return of_network or isinstance(error, (ConnectionError, TimeoutError))


def _url_to_fs(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    return url_to_fs(url, **options)


def _open_archive(scheme: str, archive: str, options: Mapping[str, Any]) -> Any:
    """Return an archive's files; a compressed tar is unpacked first, in the temporary folder.

    Each step back in one would begin at its start again.
    """
    if scheme != "tar" or archive.lower().endswith(".tar") or "://" in archive:
        return _url_to_fs(f"{scheme}://::{archive}", options)[0]
    from fsspec.implementations.tar import TarFileSystem

    unpacked = tempfile.NamedTemporaryFile(suffix=".tar")  # noqa: SIM115 - while it is read
    with tarfile.open(archive) as packed:
        content: Any = packed.fileobj  # what tarfile reads, unpacked
        content.seek(0)
        shutil.copyfileobj(content, unpacked)
    unpacked.seek(0)
    return TarFileSystem(fo=unpacked)


def _with_time_out(url: str, storage_options: Options) -> dict[str, Any]:
    """Add to the options of web servers that silence is not waited out."""
    options = dict(storage_options or {})
    scheme = url.rpartition("::")[2].partition("://")[0]
    if scheme not in ("http", "https"):
        return options
    try:
        from aiohttp import ClientTimeout
    except ImportError:  # fsspec says so
        return options
    limit = ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS)
    # In a chain, each file system has its options under its own name.
    of_web = options.setdefault(scheme, {}) if "::" in url else options
    if "client_kwargs" not in of_web:
        of_web = of_web | {"client_kwargs": {"timeout": limit}}
    return options | {scheme: of_web} if "::" in url else of_web


def _absolute(archive: str) -> str:
    is_url = re.match(r"[a-z][a-z0-9+.-]+://", archive)
    return archive if is_url else os.path.abspath(archive)  # noqa: PTH100


def _stamp(archive: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(archive.removeprefix("file://"))  # noqa: PTH116
    except (OSError, ValueError):  # elsewhere, or not there, which opening tells
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino
