"""Colours that stay apart, also for the colour-blind."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Okabe and Ito's without the two that are hard to see on white or taken by outlines and text, and
# a wine red of Tol's: told apart without red and without green cones.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255")
MOST_COLORS = 100
LIGHTNESS = (0.42, 0.82)  # visible on white and on a dark ground
FEWEST_LEVELS = 18  # of each channel, in the cube from which colours are taken

# Linear RGB as seen without the red and without the green cones: Vienot, Brettel and Mollon (1999).
PROTAN = ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0))
DEUTAN = ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0))


def distinct_colors(n_colors: int) -> tuple[str, ...]:
    """Give colours as unlike each other as can be, at most `MOST_COLORS`.

    The first are those of `PALETTE`. Each further one is, of the colours of a fine grid, the one
    farthest from all before it. How far two colours are is their distance in Oklab, the mean of
    that with full colour vision and the smallest without red or without green cones.

    Parameters
    ----------
    n_colors : int

    Returns
    -------
    tuple of str
    """
    return _all_colors()[:n_colors]


def color_distances(colors: tuple[str, ...]) -> NDArray[np.float64]:
    """Give the distance of each colour to each, as `distinct_colors` measures it."""
    return _distances(_linear(colors), _linear(colors))


@lru_cache(maxsize=1)
def _all_colors() -> tuple[str, ...]:
    steps = np.linspace(0, 255, FEWEST_LEVELS).round()
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness = _oklab(_to_linear(grid))[:, 0]
    grid = grid[(lightness > LIGHTNESS[0]) & (lightness < LIGHTNESS[1])]
    candidates, colors = _to_linear(grid), list(PALETTE)
    nearest = _distances(candidates, _linear(PALETTE)).min(axis=1)
    while len(colors) < MOST_COLORS:
        best = int(nearest.argmax())
        colors.append("#" + "".join(f"{int(channel):02X}" for channel in grid[best]))
        nearest = np.minimum(nearest, _distances(candidates, candidates[best : best + 1])[:, 0])
    return tuple(colors)


def _distances(rgb: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    full = _far(rgb, others)
    reduced = [_far(rgb @ np.transpose(m), others @ np.transpose(m)) for m in (PROTAN, DEUTAN)]
    return (full + np.minimum(*reduced)) / 2


def _far(rgb: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(_oklab(rgb)[:, None] - _oklab(others)[None], axis=2)


def _linear(colors: tuple[str, ...]) -> NDArray[np.float64]:
    channels = [[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors]
    return _to_linear(np.array(channels, dtype=np.float64).reshape(-1, 3))


def _to_linear(channels: NDArray[np.float64]) -> NDArray[np.float64]:
    share = channels / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _oklab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn linear RGB into Oklab, whose distances go by how unlike colours look."""
    # Ottosson (2020), A perceptual color space for image processing.
    to_cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.cbrt(rgb @ np.transpose(to_cones)) @ np.transpose(to_lab)
