"""A run over images: each distinct one once, known ones from the cache, the rest on the devices."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..images import ImageDecodeError
from ..io._cache_session import CacheSession
from ._devices import DevicePool
from ._embedder import Batch, Recipe, embed_images

if TYPE_CHECKING:
    import torch

__all__ = ["Extraction"]


class Extraction:
    """Embeds images; a context manager, since it may hold a cache open and processes running.

    Parameters
    ----------
    recipe : Recipe
        What to compute.
    devices : sequence of torch.device
        Where. Several devices get a process each, one is used in this process.
    batch_size : int
        Images in one forward pass, at most.
    num_workers : int
        Threads that read and decode, for each device.
    cache_folder : str or PathLike or None
        The embedding cache.
    on_error : {"raise", "nan"}
        Whether an image that cannot be decoded raises, or is reported in its batch.
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
        self._pool = DevicePool(recipe, devices, batch_size, num_workers)
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        self._opened.enter_context(self._cache)
        self._opened.enter_context(self._pool)
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.close()

    def describe(self) -> dict[str, Any]:
        """Return the form of the rows and all that they depend on, as data that JSON can hold."""
        checkpoint = self.recipe.checkpoint
        return {
            "n_features": self.recipe.n_outputs,
            "model_name": checkpoint.name,
            "settings": {**self.recipe.settings(), "model": checkpoint.digests},
        }

    def embed(self, images: Sequence[Any]) -> Iterator[Batch]:
        """Embed images, equal ones once.

        Parameters
        ----------
        images : sequence
            Paths, PIL images or arrays.

        Yields
        ------
        Batch
            What is known first, then what is computed. Every image is in one batch.

        Raises
        ------
        ImageDecodeError
            With ``on_error="raise"``, after the batch with the other images of its forward pass.
        RuntimeError
            If the worker process of a device dies.
        """
        keys = self._cache.identify(images, self.num_workers)
        places = _places(keys)
        known = self._cache.find([keys[place[0]] for place in places])
        found = {i: row for i, row in known.items() if len(row) == self.recipe.n_outputs}
        if found:
            yield _spread(Batch([*found], np.stack([*found.values()]), {}), places, images)
        todo = [place for i, place in enumerate(places) if i not in found]
        for batch in self._compute([images[place[0]] for place in todo]):
            first = [todo[position][0] for position in batch.positions]
            self._cache.store(
                (images[i], keys[i], row) for i, row in zip(first, batch.rows, strict=True)
            )
            yield from self._checked(_spread(batch, todo, images))

    def _compute(self, images: Sequence[Any]) -> Iterator[Batch]:
        if len(self.devices) == 1:
            (device,) = self.devices
            return embed_images(self.recipe, images, device, self.batch_size, self.num_workers)
        return self._pool.embed(images)

    def _checked(self, batch: Batch) -> Iterator[Batch]:
        if not batch.errors or self.on_error == "nan":
            yield batch
            return
        yield batch._replace(errors={})
        raise batch.errors[min(batch.errors)]


def _places(keys: Sequence[Any]) -> list[list[int]]:
    """Return the positions of each distinct key; images in memory have none and are distinct."""
    places: list[list[int]] = []
    seen: dict[Any, list[int]] = {}
    for position, key in enumerate(keys):
        if key is not None and key in seen:
            seen[key].append(position)
            continue
        places.append([position])
        if key is not None:
            seen[key] = places[-1]
    return places


def _spread(batch: Batch, places: Sequence[list[int]], images: Sequence[Any]) -> Batch:
    """Give what belongs to distinct images to all the positions where they stand."""
    targets = [places[position] for position in batch.positions]
    errors: dict[int, ImageDecodeError] = {
        place: _renamed(error, images[place])
        for position, error in batch.errors.items()
        for place in places[position]
    }
    return Batch(
        [place for target in targets for place in target],
        np.repeat(batch.rows, [len(target) for target in targets], axis=0),
        errors,
    )


def _renamed(error: ImageDecodeError, image: Any) -> ImageDecodeError:
    """Name the file itself where an error was found in one of the same content."""
    return ImageDecodeError(image, error.reason) if isinstance(image, str) else error
