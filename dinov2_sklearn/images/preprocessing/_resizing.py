"""Resize, then crop at the centre, as image processors do it."""

import math
from dataclasses import dataclass

from PIL import Image

__all__ = ["resize_and_crop"]

# Pixels of a resized image above which only the part that the crop keeps is computed.
_MAX_RESIZED_PIXELS = 2**24
# Pillow's widest filter (MKS2021) looks 4.5 pixels, or 4.5 scale factors, to either side.
_FILTER_REACH = 5


def resize_and_crop(
    image: Image.Image, size: tuple[int, int], crop: tuple[int, int] | None, resample: int
) -> Image.Image:
    """Resize an image and cut its centre.

    Parameters
    ----------
    image : PIL.Image.Image
        The image; it is not changed.
    size : (int, int)
        (height, width) to resize to.
    crop : (int, int) or None
        (height, width) to cut from the resized image; where it is smaller, it is padded with
        black.
    resample : int
        One of ``PIL.Image.Resampling``.

    Returns
    -------
    PIL.Image.Image
    """
    height, width = size
    if crop is None:
        return image.resize((width, height), resample)
    top, left = (height - crop[0]) // 2, (width - crop[1]) // 2
    window = (left, top, left + crop[1], top + crop[0])
    if height * width > _MAX_RESIZED_PIXELS:
        return _resize_window(image, (width, height), window, resample)
    # Not resize(box=), although it would compute less: Pillow (from version 13) picks the order of
    # its two passes by the sizes, and after the other order hard edges are tens of levels apart.
    # Outside the image, crop fills with black.
    return image.resize((width, height), resample).crop(window)


def _resize_window(
    image: Image.Image,
    size: tuple[int, int],
    window: tuple[int, int, int, int],
    resample: int,
) -> Image.Image:
    """Compute ``image.resize(size).crop(window)`` from the part of the image that it shows."""
    spans = [
        _Span.of(image.size[axis], size[axis], window[axis], window[axis + 2]) for axis in (0, 1)
    ]
    x, y = spans
    part = image.crop((x.first, y.first, x.last, y.last))
    resized = part.resize(
        (x.stop - x.start, y.stop - y.start), resample, box=(x.low, y.low, x.high, y.high)
    )
    left, top, right, bottom = window
    return resized.crop((left - x.start, top - y.start, right - x.start, bottom - y.start))


@dataclass(frozen=True)
class _Span:
    """Along one axis: pixels start to stop of the result, made from first to last of the source.

    ``low`` and ``high`` are the exact ends, relative to ``first``: Pillow holds them in single
    precision, which would be too coarse for positions in the whole of a very long image.
    """

    start: int
    stop: int
    first: int
    last: int
    low: float
    high: float

    @classmethod
    def of(cls, source: int, target: int, start: int, stop: int) -> "_Span":
        start, stop = max(start, 0), min(stop, target)
        scale = source / target
        low, high = start * scale, stop * scale
        reach = _FILTER_REACH * max(scale, 1.0) + 1
        first = max(0, math.floor(low - reach))
        last = min(source, math.ceil(high + reach))
        return cls(start, stop, first, last, low - first, min(high - first, last - first))
