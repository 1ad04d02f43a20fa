"""Samples of any depth and number of bands to 8-bit RGB: the one rule for values beyond a byte."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ._options import Decoding, RefusedImageError

__all__ = ["BLANK_FROM", "Samples", "alpha_of", "choose_bands", "samples_to_rgb"]

# What the darkest and the brightest are taken to be, in percent: fewer pixels than these may be
# hot or dead.
_ENDS = (0.1, 99.9)
# Values that decide; of more, they are taken at even steps.
_N_DECIDING = 2**20
# GDAL's usual "no data" of floats is the least of them, of which copies in other precisions differ.
_NO_FLOAT = 3e38
# White on nothing, as logos often are, would be blank on white: what is this light lies on black.
BLANK_FROM = 240
_N_AT_ONCE = 2**22


@dataclass
class Samples:
    """An image as it was measured."""

    values: NDArray[Any]
    """Of shape (height, width, bands)."""
    alpha: NDArray[np.float32] | None = None
    """Of shape (height, width), 0 clear to 1 opaque."""
    ignored: NDArray[np.bool_] | None = None
    """Where, of shape (height, width), nothing was measured."""
    white_is_zero: bool = False
    premultiplied: bool = False
    limits: tuple[float, float] | None = None
    """What is black and what white, where the file says so."""


def choose_bands(n_bands: int, bands: tuple[int, ...] | None) -> list[int]:
    """Return which bands, from 0, are grey or red, green and blue.

    Raises
    ------
    RefusedImageError
        If one of those asked for is not there, or nothing says which are colours.
    """
    if bands is not None:
        if max(bands) > n_bands:
            has = "1 band" if n_bands == 1 else f"{n_bands} bands, 1 to {n_bands}"
            raise RefusedImageError(f"the image has {has}; bands={bands} asks for others")
        return [band - 1 for band in bands]
    if n_bands == 1:
        return [0]
    if n_bands in (3, 4):
        return [0, 1, 2]
    raise RefusedImageError(
        f"the image has {n_bands} bands, and nothing says which of them are red, green and blue. "
        "Choose with bands=(3, 2, 1), say, counted from 1, or one of them with bands=(1,)"
    )


def samples_to_rgb(samples: Samples, decoding: Decoding) -> Image.Image:
    """Make an RGB image of the bands that are chosen, all by one range of values."""
    values = samples.values
    if values.dtype.kind == "b":
        values = values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "uif":
        raise RefusedImageError(f"values of dtype {values.dtype} are no brightness")
    chosen = choose_bands(values.shape[2], decoding.bands)
    if chosen != list(range(values.shape[2])):
        values = values[..., chosen]
    pixels = values if values.dtype == np.uint8 else _to_bytes(values, samples, decoding)
    if samples.white_is_zero:
        pixels = 255 - pixels
    if samples.ignored is not None and values.dtype != np.uint8:
        pixels[samples.ignored] = 0
    if samples.alpha is not None and samples.alpha.any():
        pixels = _composited(pixels, samples)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return Image.fromarray(np.ascontiguousarray(pixels))


def _to_bytes(values: NDArray[Any], samples: Samples, decoding: Decoding) -> NDArray[np.uint8]:
    usable = np.isfinite(values)
    if values.dtype.kind == "f" and values.dtype.itemsize > 2:
        usable &= np.abs(values) < _NO_FLOAT
    if samples.ignored is not None:
        usable &= ~samples.ignored[..., None]
    if decoding.value_range != "auto":
        low, high = map(float, decoding.value_range)
    else:
        low, high = samples.limits or _robust_range(values[usable])
    if values.dtype in (np.uint16, np.int16):
        # One look-up a sample, and no wider copy.
        every = np.arange(-(2**15) if values.dtype == np.int16 else 0, 2**16)[: 2**16]
        first = int(every[0])
        return _linear(every, low, high)[values.astype(np.int32) - first]
    pixels = np.empty(values.shape, np.uint8)
    n_rows = max(1, _N_AT_ONCE // max(1, values[0].size))
    for start in range(0, len(values), n_rows):
        part = values[start : start + n_rows]
        found = usable[start : start + n_rows]
        scaled = _linear(np.where(found, part, low), low, high)
        pixels[start : start + n_rows] = np.where(found, scaled, 255 * (part == np.inf))
    return pixels


def _robust_range(found: NDArray[Any]) -> tuple[float, float]:
    """Return the ends of what was measured, without a few values that lie far away from the rest.

    The true ends, unless one of them is farther from nearly all values than these are spread.
    """
    if not found.size:
        return 0.0, 0.0
    low, high = float(found.min()), float(found.max())
    step = found.size // _N_DECIDING + 1
    near_low, near_high = map(float, np.percentile(found[::step].astype(np.float64), _ENDS))
    reach = (near_high - near_low) / 2
    if reach == 0:  # nearly all of one value: what differs is all there is to see
        return low, high
    return near_low if near_low - low > reach else low, (
        near_high if high - near_high > reach else high
    )


def _linear(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    if low == high:
        return np.full(values.shape, 128, np.uint8)
    # Halves first: the difference of two large floats may be none.
    scaled = (values.astype(np.float64) / 2 - low / 2) * (255.0 / (high / 2 - low / 2))
    return np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)


def _composited(pixels: NDArray[np.uint8], samples: Samples) -> NDArray[np.uint8]:
    assert samples.alpha is not None
    alpha = samples.alpha[..., None]
    seen = pixels.astype(np.float32) * (1 if samples.premultiplied else alpha)
    on_white = seen + 255 * (1 - alpha)
    on_paper = seen if on_white.min() >= BLANK_FROM else on_white
    return np.clip(np.rint(on_paper), 0, 255).astype(np.uint8)


def alpha_of(values: NDArray[Any]) -> NDArray[np.float32]:
    """Scale to 0 to 1; as deep as it is filled, since 12 bits are often kept in 16."""
    if values.dtype.kind == "f":
        return np.clip(np.nan_to_num(values.astype(np.float32)), 0, 1)
    most = int(values.max(initial=0))
    bits = next(bits for bits in (8, 10, 12, 14, 16, 32, 64) if most < 2**bits)
    return values.astype(np.float32) / np.float32(2**bits - 1)
