"""A run over images: each distinct one once, known ones from the cache, the rest on the devices."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import cache as once
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from ..images import ImageDecodeError, load_image, warn_of_clipped, warn_of_crops
from ..images.decoding import LazyImage
from ..io._cache import CacheSession
from ._embedder import Decoded, EmbeddedBatch, Recipe, embed_images

if TYPE_CHECKING:
    import torch
    from joblib.externals.loky import ProcessPoolExecutor

__all__ = ["Extraction"]

# A worker works off this many batches, or an equal share of what there is, before it hands over.
_MAX_BATCHES = 16
_SHARES = 4
_LOOKED_UP = 1000


class Extraction:
    """Embeds images; a context manager, since it may hold a cache open and processes running.

    Several devices get a process each, one is used in this process. With ``on_error="raise"`` an
    image that cannot be decoded raises, else it is reported in its batch.
    """

    def __init__(
        self,
        recipe: Recipe,
        devices: Sequence["torch.device"],
        *,
        batch_size: int,
        num_workers: int,
        cache_folder: str | PathLike[str] | None,
        on_error: str,
    ) -> None:
        self.recipe = recipe
        self.devices = devices
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.on_error = on_error
        self._cache = CacheSession(cache_folder, recipe.settings(), recipe.checkpoint.files)
        self._pool = _DevicePool(recipe, devices, batch_size, num_workers, self._cache)
        self._opened = ExitStack()
        self._decoded = Decoded()

    def __enter__(self) -> Self:
        self._opened.enter_context(self._cache)
        self._opened.enter_context(self._pool)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._opened.close()
        # Once a run. Of one image, whoever asked for it knows.
        n_images, n_cut, n_clipped = self._decoded
        if kind is None and n_images > 1 and 2 * n_cut > n_images:
            warn_of_crops(n_cut, n_images)
        if kind is None and n_clipped:
            warn_of_clipped(n_clipped)

    def describe(self) -> dict[str, Any]:
        """Return the form of the rows and all that they depend on, as data that JSON can hold."""
        checkpoint = self.recipe.checkpoint
        return {
            "n_features": self.recipe.n_outputs,
            "model_name": checkpoint.name,
            "settings": {**self.recipe.settings(), "model": checkpoint.digests},
        }

    def embed(self, images: Sequence[Any]) -> Iterator[EmbeddedBatch]:
        """Embed images (paths, PIL images or arrays), equal ones once.

        What is known comes first, then what is computed; every image is in one batch. An image
        that cannot be decoded raises after the batch with the others of its forward pass.
        """
        places = _places(images)
        firsts = [images[place[0]] for place in places]
        todo: list[int] = []
        for start in range(0, len(places), _LOOKED_UP):  # all rows at once need not be in memory
            chunk = range(start, min(start + _LOOKED_UP, len(places)))
            paths = {i: firsts[i] for i in chunk if isinstance(firsts[i], str)}
            if found := self._cache.known(paths):
                yield _spread(EmbeddedBatch.of(found, {}), places)
            todo += [i for i in chunk if i not in found]
        for batch in self._compute([firsts[i] for i in todo]):
            self._decoded = self._decoded.plus(batch.decoded)
            yield from self._checked(_spread(batch.at(todo), places))

    def _compute(self, images: Sequence[Any]) -> Iterator[EmbeddedBatch]:
        if len(self.devices) == 1:
            (device,) = self.devices
            return embed_images(
                self.recipe, images, device, self.batch_size, self.num_workers, self._cache
            )
        return self._pool.embed(images)

    def _checked(self, batch: EmbeddedBatch) -> Iterator[EmbeddedBatch]:
        if not batch.errors or self.on_error == "nan":
            yield batch
            return
        yield batch._replace(errors={})
        raise batch.errors[min(batch.errors)]


def _places(images: Sequence[Any]) -> list[list[int]]:
    """Return the positions of each distinct path, and of each image in memory."""
    places: dict[Any, list[int]] = {}
    for position, image in enumerate(images):
        key = image if isinstance(image, str) else position
        places.setdefault(key, []).append(position)
    return [*places.values()]


def _spread(batch: EmbeddedBatch, places: Sequence[list[int]]) -> EmbeddedBatch:
    """Give what belongs to distinct images to all the positions where they stand."""
    targets = [places[position] for position in batch.positions]
    return EmbeddedBatch(
        [place for target in targets for place in target],
        np.repeat(batch.rows, [len(target) for target in targets], axis=0),
        {place: error for i, error in batch.errors.items() for place in places[i]},
        batch.decoded,
    )


class _DevicePool:
    """Worker processes, one a device, which start with their first work and end with the block.

    They are started afresh rather than forked, so that each may use its GPU, and need no
    ``if __name__ == "__main__"`` in the user's script. Those on the CPU share its threads.
    """

    def __init__(
        self,
        recipe: Recipe,
        devices: Sequence["torch.device"],
        batch_size: int,
        num_workers: int,
        cache: CacheSession,
    ) -> None:
        self.recipe = recipe
        self.devices = devices
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.cache = cache
        self._workers: dict[int, ProcessPoolExecutor] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers.values():
            worker.shutdown(wait=True, kill_workers=True)
        self._workers.clear()

    def embed(self, images: Sequence[Any]) -> Iterator[EmbeddedBatch]:
        """Embed runs of consecutive images on all devices, and yield each as it is finished."""
        chunks = iter(self._chunks(len(images)))
        running: dict[Future, tuple[int, int]] = {}

        def submit(index: int) -> None:
            if (chunk := next(chunks, None)) is not None:
                part = images[chunk.start : chunk.stop]
                running[self._submit(index, part)] = index, chunk.start

        # Two for each, so that no worker waits for the next.
        for index in [*range(len(self.devices))] * 2:
            submit(index)
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                index, start = running.pop(future)
                submit(index)
                chunk = self._result(future, index)
                yield chunk.at(range(start, start + chunk.n_images))

    def _chunks(self, n_images: int) -> list[range]:
        share = n_images / (len(self.devices) * _SHARES * self.batch_size)
        size = self.batch_size * int(np.clip(np.ceil(share), 1, _MAX_BATCHES))
        return [range(start, min(start + size, n_images)) for start in range(0, n_images, size)]

    def _submit(self, index: int, images: Sequence[Any]) -> Future:
        if index not in self._workers:
            self._workers[index] = self._start(self.devices[index])
        device = self.devices[index]
        try:
            return self._workers[index].submit(
                _work,
                self.recipe,
                [_portable(image, self.recipe) for image in images],
                device,
                self.batch_size,
                self.num_workers,
                self.cache,
                os.getpid(),
            )
        except BrokenProcessPool as error:
            raise _worker_died(device, error) from error

    def _start(self, device: "torch.device") -> "ProcessPoolExecutor":
        import torch
        from joblib.externals.loky import ProcessPoolExecutor

        n_sharing = Counter(device.type for device in self.devices)["cpu"]
        n_threads = str(max(1, torch.get_num_threads() // max(1, n_sharing)))
        env = {"OMP_NUM_THREADS": n_threads, "MKL_NUM_THREADS": n_threads}
        return ProcessPoolExecutor(max_workers=1, env=env if device.type == "cpu" else None)

    def _result(self, future: Future, index: int) -> EmbeddedBatch:
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise _worker_died(self.devices[index], error) from error


def _portable(image: Any, recipe: Recipe) -> Any:
    """Decode a PIL image, which may be a file that is not read yet, or say why it cannot be.

    What is read when it is wanted is read.
    """
    try:
        if isinstance(image, LazyImage):
            image = image.read()
        if not isinstance(image, Image.Image):
            return image
        return load_image(image, decoding=recipe.decoding)
    except ImageDecodeError as error:
        return error


def _work(
    recipe: Recipe,
    images: Sequence[Any],
    device: "torch.device",
    batch_size: int,
    num_workers: int,
    cache: CacheSession,
    parent: int,
) -> EmbeddedBatch:
    # Ctrl-C reaches all processes of a terminal; the parent answers it, and ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with(parent)
    rows: dict[int, Any] = {}
    errors: dict[int, ImageDecodeError] = {}
    decoded = Decoded()
    with cache:
        for batch in embed_images(recipe, images, device, batch_size, num_workers, cache):
            rows |= dict(zip(batch.positions, batch.rows, strict=True))
            errors |= batch.errors
            decoded = decoded.plus(batch.decoded)
    return EmbeddedBatch.of(rows, errors, decoded)


@once
def _end_with(parent: int) -> None:
    """End this process soon after its parent, however that ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="dinov2-sklearn-watch").start()


def _worker_died(device: "torch.device", error: Exception) -> RuntimeError:
    return RuntimeError(
        f"The worker process of device {str(device)!r} died, and what it was computing is lost. "
        "If memory ran out, use a smaller batch_size or fewer devices. What is known of the "
        f"cause: {error}"
    )
