"""Files that several images are parts of, opened and decoded once while they are read."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["SharedFiles", "shared_file"]

_current = threading.local()
# Files that a thread keeps to itself: one of rows, and what is in the row that it is at.
_N_OWN = 2


class SharedFiles:
    """The last few files that the threads of one run have opened, each by one of them."""

    def __init__(self, n_kept: int) -> None:
        self._n_kept = n_kept
        self._kept: OrderedDict[Hashable, tuple[threading.Lock, list[Any]]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let what this thread reads within the block come from here."""
        before = _here()
        _current.here = self, OrderedDict()
        try:
            yield
        finally:
            _current.here = before

    def get(self, key: Hashable, opened: Callable[[], Any]) -> Any:
        """Return what is kept, or open it; what raises is not kept.

        What a thread is at stays open for it, however many files the others open meanwhile.
        """
        own = _here()[1]
        if key not in own:
            own[key] = self._get(key, opened)
        own.move_to_end(key)
        while len(own) > _N_OWN:
            own.popitem(last=False)
        return own[key]

    def _get(self, key: Hashable, opened: Callable[[], Any]) -> Any:
        with self._lock:
            lock, kept = self._kept.setdefault(key, (threading.Lock(), []))
            self._kept.move_to_end(key)
            while len(self._kept) > self._n_kept:
                self._kept.popitem(last=False)
        with lock:
            if not kept:
                kept.append(opened())
            return kept[0]


def _here() -> tuple[SharedFiles | None, OrderedDict[Hashable, Any]]:
    """Return the run of this thread, if any, and what the thread is at."""
    here: tuple[SharedFiles | None, OrderedDict[Hashable, Any]]
    here = getattr(_current, "here", (None, OrderedDict()))
    return here


def shared_file(key: Hashable, opened: Callable[[], Any]) -> Any:
    """Return a file that a run of this thread shares, or a fresh one where there is no run."""
    files = _here()[0]
    return opened() if files is None else files.get(key, opened)
