"""Every choice of how files become RGB images, in one object."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal

__all__ = ["MAX_PIXELS", "Decoding", "RefusedImageError", "bomb_advice", "no_such_page"]

MAX_PIXELS = 178_956_970
"""Where Pillow's own guard against decompression bombs gives an error and not a warning."""


class RefusedImageError(ValueError):
    """A sound image that no rule makes RGB; the message says what is the matter."""


def no_such_page(page: int, n_pages: int) -> str:
    """Say that a page, counted from 0, is not there."""
    return f"it has {n_pages} page{'s' if n_pages != 1 else ''}, and none has the number {page + 1}"


def bomb_advice(limit: int | None) -> str:
    """Say what is the matter with so many pixels."""
    return (
        f"pixels are more than max_pixels={limit}, which guards against decompression bombs. If "
        "you trust the file, raise max_pixels (None lifts it), or make a smaller copy of it"
    )


@dataclass(frozen=True)
class Decoding:
    """How files become RGB images: one object for all rooms, so that a new choice is made once.

    Parameters
    ----------
    bands : tuple of int, default=None
        Which bands are red, green and blue, counted from 1; or the one that is shown in grey. None
        means those that the file says are colours, or the first three of three or four.
    value_range : "auto" or (float, float), default="auto"
        Of more than 8 bits, the values that become black and white. "auto" takes them from each
        image; the same two for all images of a collection keep them comparable.
    max_pixels : int or None, default=178956970
        Files of more pixels are refused before they are decoded. None lifts the limit.
    truncated : {"refuse", "accept"}, default="refuse"
        What becomes of a file that ends too early: an error, or a picture with a grey or black
        rest.
    storage_options : mapping, default=None
        What fsspec's file systems are given to open URLs, such as ``{"headers": {...}}``.

    Raises
    ------
    ValueError
        If a value is out of range.

    Examples
    --------
    >>> from dinov2_sklearn.images import Decoding
    >>> Decoding(bands=(3, 2, 1)).settings()
    {'bands': [3, 2, 1]}
    """

    bands: tuple[int, ...] | None = None
    value_range: tuple[float, float] | Literal["auto"] = "auto"
    max_pixels: int | None = MAX_PIXELS
    truncated: Literal["refuse", "accept"] = "refuse"
    storage_options: Mapping[str, Any] | None = field(default=None, hash=False, repr=False)

    def __post_init__(self) -> None:
        given: dict[str, Any] = vars(self)
        bands, ends, max_pixels = given["bands"], given["value_range"], given["max_pixels"]
        if bands is not None and not (
            _are_numbers(bands, Integral, (1, 3)) and all(band >= 1 for band in bands)
        ):
            raise ValueError(
                "bands must be one or three whole numbers, counted from 1, such as (3, 2, 1), got "
                f"{bands!r}."
            )
        if ends != "auto" and not (_are_numbers(ends, Real, (2,)) and ends[0] < ends[1]):
            raise ValueError(
                "value_range must be 'auto' or two numbers, the lower first, such as (0, 4095), "
                f"got {ends!r}."
            )
        if max_pixels is not None and not (
            isinstance(max_pixels, Integral) and int(max_pixels) >= 1
        ):
            raise ValueError(f"max_pixels must be 1 or more, or None, got {max_pixels!r}.")
        if self.truncated not in ("refuse", "accept"):
            raise ValueError(f"truncated must be 'refuse' or 'accept', got {self.truncated!r}.")

    def settings(self) -> dict[str, Any]:
        """Return what pixel values depend on, where it is not the default, for a cache's key."""
        settings: dict[str, Any] = {}
        if self.bands is not None:
            settings["bands"] = [int(band) for band in self.bands]
        if self.value_range != "auto":
            settings["value_range"] = [float(end) for end in self.value_range]
        if self.truncated != "refuse":
            settings["truncated"] = self.truncated
        return settings

    def refuse_bomb(self, width: int, height: int) -> None:
        """Raise where a header announces more pixels than are allowed."""
        if self.max_pixels is not None and width * height > self.max_pixels:
            raise RefusedImageError(
                f"its {width} x {height} = {width * height} {bomb_advice(self.max_pixels)}"
            )


def _are_numbers(values: Any, kind: Any, lengths: tuple[int, ...]) -> bool:
    return (
        isinstance(values, (tuple, list))
        and len(values) in lengths
        and all(isinstance(value, kind) and math.isfinite(value) for value in values)
    )
