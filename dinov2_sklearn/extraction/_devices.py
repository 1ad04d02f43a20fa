"""Several devices at once: one worker process for each."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache as once
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from ..images import ImageDecodeError, load_image
from ._embedder import Batch, Recipe, embed_images

if TYPE_CHECKING:
    import torch
    from joblib.externals.loky import ProcessPoolExecutor

__all__ = ["DevicePool"]

# A worker works off this many batches, or an equal share of what there is, before it hands over.
_MAX_BATCHES = 16
_SHARES = 4


class DevicePool:
    """Worker processes, one a device, which start with their first work and end with the block.

    They are started afresh rather than forked, so that each may use its GPU, and need no
    ``if __name__ == "__main__"`` in the user's script.

    Parameters
    ----------
    recipe : Recipe
        What to compute.
    devices : sequence of torch.device
        One process each. Those on the CPU share its threads.
    batch_size, num_workers : int
        As in `embed_images`, for each process.
    """

    def __init__(
        self, recipe: Recipe, devices: Sequence["torch.device"], batch_size: int, num_workers: int
    ) -> None:
        self.recipe = recipe
        self.devices = devices
        self.batch_size = batch_size
        self.num_workers = num_workers
        self._workers: dict[int, ProcessPoolExecutor] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers.values():
            worker.shutdown(wait=True, kill_workers=True)
        self._workers.clear()

    def embed(self, images: Sequence[Any]) -> Iterator[Batch]:
        """Embed images on all devices.

        Parameters
        ----------
        images : sequence
            Paths, PIL images or arrays.

        Yields
        ------
        Batch
            Runs of consecutive images, in the order in which they are finished.

        Raises
        ------
        RuntimeError
            If a worker process dies.
        """
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
                yield _shift(self._result(future, index), start)

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
                [_portable(image) for image in images],
                device,
                self.batch_size,
                self.num_workers,
                Image.MAX_IMAGE_PIXELS,
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

    def _result(self, future: Future, index: int) -> Batch:
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise _worker_died(self.devices[index], error) from error


def _portable(image: Any) -> Any:
    """Decode a PIL image, which may be a file that is not read yet, or say why it cannot be."""
    if not isinstance(image, Image.Image):
        return image
    try:
        return load_image(image)
    except ImageDecodeError as error:
        return error


def _work(
    recipe: Recipe,
    images: Sequence[Any],
    device: "torch.device",
    batch_size: int,
    num_workers: int,
    max_image_pixels: int | None,
    parent: int,
) -> Batch:
    # Ctrl-C reaches all processes of a terminal; the parent answers it, and ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with(parent)
    Image.MAX_IMAGE_PIXELS = max_image_pixels  # as the user has set it in the parent
    batches = list(embed_images(recipe, images, device, batch_size, num_workers))
    return Batch(
        [position for batch in batches for position in batch.positions],
        np.concatenate([batch.rows for batch in batches]),
        {position: error for batch in batches for position, error in batch.errors.items()},
    )


@once
def _end_with(parent: int) -> None:
    """End this process soon after its parent, however that ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="dinov2-sklearn-watch").start()


def _shift(batch: Batch, start: int) -> Batch:
    return Batch(
        [start + position for position in batch.positions],
        batch.rows,
        {start + position: error for position, error in batch.errors.items()},
    )


def _worker_died(device: "torch.device", error: Exception) -> RuntimeError:
    return RuntimeError(
        f"The worker process of device {str(device)!r} died, and what it was computing is lost. "
        "If memory ran out, use a smaller batch_size or fewer devices. What is known of the "
        f"cause: {error}"
    )
