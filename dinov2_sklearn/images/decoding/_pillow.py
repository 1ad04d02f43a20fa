"""What Pillow shares between all threads of a process, kept from doing harm."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageFile

__all__ = ["one_at_a_time", "pillow_settings"]


class _Settings:
    """Holds Pillow's process-wide settings as a decode here wants them.

    Other libraries set LOAD_TRUNCATED_IMAGES, and then the missing part of a truncated file turns
    grey in silence. Plugins hold images within images against MAX_IMAGE_PIXELS. Decodes that want
    other settings wait for each other, and the last to leave puts back what was found.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._n_inside = 0
        self._wanted = self._found = _get()

    @contextmanager
    def __call__(self, truncated: bool, max_pixels: int | None) -> Iterator[None]:
        wanted = truncated, max_pixels
        with self._changed:
            self._changed.wait_for(lambda: self._n_inside == 0 or self._wanted == wanted)
            if self._n_inside == 0 or _get() != wanted:
                self._found = _get()
            self._wanted = wanted
            _set(wanted)
            self._n_inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._n_inside -= 1
                if self._n_inside == 0:
                    _set(self._found)
                    self._changed.notify_all()

    def reset(self) -> None:
        """Start afresh in a forked child, where no other thread is left to leave."""
        if self._n_inside:
            _set(self._found)
        self._changed, self._n_inside = threading.Condition(), 0


def _get() -> tuple[bool, int | None]:
    return ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS


def _set(settings: tuple[bool, int | None]) -> None:
    ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = settings


class _OneAtATime:
    """Keeps threads from decoding one PIL image together, which mixes up its pixels.

    An image that was opened is only decoded when it is first used, and may stand in a list twice.
    Images share a few locks, since they cannot be the keys of a table that forgets them.
    """

    def __init__(self) -> None:
        self.reset()

    def __call__(self, image: Image.Image) -> threading.Lock:
        return self._locks[id(image) // 64 % len(self._locks)]

    def reset(self) -> None:
        """Start afresh in a forked child, where no other thread is left to release a lock."""
        self._locks = [threading.Lock() for _ in range(61)]


pillow_settings = _Settings()
one_at_a_time = _OneAtATime()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pillow_settings.reset)
    os.register_at_fork(after_in_child=one_at_a_time.reset)
