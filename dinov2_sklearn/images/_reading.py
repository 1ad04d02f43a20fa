"""Decoding and preprocessing in threads, ahead of the model."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..utils import warn
from ._references import ImageDecodeError, ImageRef
from ._shared import SharedFiles
from .decoding import DecodedImage, Decoding, ImageSource, decode_image
from .preprocessing import Preprocessing

__all__ = ["ImageReader", "Pictures", "map_ahead", "warn_of_clipped", "warn_of_crops"]

_Tasks: TypeAlias = "SimpleQueue[tuple[list[Future[Any]], list[Any]] | None]"
_LONGEST_RUN = 16


class Pictures(list[NDArray[np.uint8]]):
    """What the model sees of an image, an array (height, width, 3) a size."""

    is_cut = False
    """Whether the crop hides more than a third of the image, by its shape."""
    is_clipped = False
    """Whether the image is a box of which a part lies outside its picture."""


class ImageReader:
    """Turns an image into what the model takes, once for each of several sizes.

    Parameters
    ----------
    preprocessings : sequence of Preprocessing
        One for each size.
    exact_decode : bool
        Whether large JPEGs are decoded in full; otherwise no smaller than twice what is needed.
    decoding : Decoding, default=None
        How files become RGB images.
    """

    def __init__(
        self,
        preprocessings: Sequence[Preprocessing],
        *,
        exact_decode: bool,
        decoding: Decoding | None = None,
    ) -> None:
        self.preprocessings = preprocessings
        self.exact_decode = exact_decode
        self.decoding = decoding or Decoding()
        sizes = [preprocessing.min_size for preprocessing in preprocessings]
        self._min_size = None if None in sizes else max(size for size in sizes if size is not None)

    def pictures(
        self, source: ImageSource | Pictures | ImageDecodeError
    ) -> Pictures | ImageDecodeError:
        """Return what the model sees, as one uint8 array (height, width, 3) a size.

        What this returned in another process takes the place of an image.
        """
        if isinstance(source, Pictures):
            return source
        decoded = self.decode(source)
        if isinstance(decoded, ImageDecodeError):
            return decoded
        pictures = Pictures(recipe.to_display(decoded.image) for recipe in self.preprocessings)
        pictures.is_cut = self.preprocessings[0].cuts(*decoded.image.size)
        pictures.is_clipped = decoded.is_clipped
        return pictures

    def decode(self, source: ImageSource | ImageDecodeError) -> DecodedImage | ImageDecodeError:
        """Return the image, before any resizing, with its original size, or why there is none."""
        if isinstance(source, ImageDecodeError):
            return source
        try:
            return decode_image(
                source, self.decoding, min_size=self._min_size, exact=self.exact_decode
            )
        except ImageDecodeError as error:
            return error


def warn_of_crops(n_cut: int, n_images: int) -> None:
    """Warn that the crop around the middle hides much of most images."""
    warn(
        f"Of {n_cut} of {n_images} images the model sees less than two thirds: they are far from "
        "square, and their ends are cut off. Set crop_mode='pad' or 'squash' to embed whole "
        "pictures. If the middle is what counts, leave it, and filter this warning out."
    )


def warn_of_clipped(n_clipped: int) -> None:
    """Warn of boxes that leave their pictures."""
    warn(
        f"Of {n_clipped} boxes a part lies outside the picture, and was left out. Do they count "
        "pixels of another copy of it, or of one that was not turned upright?"
    )


def map_ahead(
    function: Callable[[Any], Any], items: Sequence[Any], *, num_workers: int, ahead: int
) -> Iterator[Any]:
    """Apply a function in threads, ahead of what is consumed, in order.

    What follows each other and is part of one file goes to one thread, and the file is read and
    decoded once for it.

    Parameters
    ----------
    function : callable
        Applied to each item. Its exceptions are raised where the item would be yielded.
    items : sequence
        What to apply it to.
    num_workers : int
        Threads; 0 applies the function in the calling thread.
    ahead : int
        How many results may wait, or a few more; this bounds the memory.

    Yields
    ------
    object
        ``function(item)`` for each item, in the order of the items.
    """
    if num_workers == 0:
        files = SharedFiles(2)
        for item in items:
            with files.used():
                result = function(item)
            yield result
        return
    waiting: deque[Future[Any]] = deque()
    tasks: _Tasks = SimpleQueue()
    files = SharedFiles(num_workers + 1)
    for number in range(num_workers):
        # Daemons: what is being done when the program is interrupted may be a read from a server
        # that does not answer, and the threads of an executor are waited for at exit.
        name = f"dinov2-sklearn-read-{number}"
        arguments = (function, tasks, files)
        threading.Thread(target=_work, args=arguments, name=name, daemon=True).start()
    try:
        for run in _runs(items):
            futures: list[Future[Any]] = [Future() for _ in run]
            waiting += futures
            tasks.put((futures, run))
            while len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Where the consumer stops early, what is queued is not worth doing.
        for future in waiting:
            future.cancel()
        for _ in range(num_workers):
            tasks.put(None)


def _runs(items: Sequence[Any]) -> Iterator[list[Any]]:
    """Put parts of one file that follow each other together, for the thread that decodes it."""
    run: list[Any] = []
    file = None
    for item in items:
        ref = ImageRef(item) if isinstance(item, str) and "#" in item else None
        its_file = ref.file if ref is not None and ref.is_part else None
        if run and (its_file is None or its_file != file or len(run) == _LONGEST_RUN):
            yield run
            run = []
        run.append(item)
        file = its_file
    if run:
        yield run


def _work(function: Callable[[Any], Any], tasks: _Tasks, files: SharedFiles) -> None:
    while (task := tasks.get()) is not None:
        with files.used():
            for future, item in zip(*task, strict=True):
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    future.set_result(function(item))
                except BaseException as error:
                    future.set_exception(error)
        del task, future, item  # which may be large, while the next one is waited for
