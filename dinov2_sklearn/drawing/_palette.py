"""Colours that stay apart, also for the colour-blind."""

import re

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLORS", "PALETTE", "color_distances"]

# Each is, of the colours of a fine grid that show on white and on a dark ground, the farthest from
# all before it by `color_distances`. Published palettes as long are for full colour vision alone.
# The first seven are Okabe and Ito's without the two that are hard to see on white or taken by
# outlines and text, and a wine red of Tol's.
_HEX = """
    #0072B2 #E69F00 #009E73 #CC79A7 #56B4E9 #D55E00 #882255 #0000FF #C30FFF #00E196 #006900 #7800B4
    #FF69FF #FFA5B4 #C31E96 #B41E00 #00C300 #3C87FF #005A69 #876969 #FF0069 #4B4BF0 #788700 #FF00C3
    #87B496 #3C96B4 #A569D2 #FF7869 #78E100 #004BA5 #87D2D2 #D2C387 #5A4B2D #963CC3 #784B87 #E1A5F0
    #C31E5A #B4965A #00785A #C387E1 #3C1ED2 #78692D #968787 #B4A5C3 #E14BF0 #96001E #870087 #A5C34B
    #A5784B #E10F2D #E13C96 #875AF0 #3CB469 #3C7887 #8700E1 #8769A5 #00C3C3 #2DD2FF #FF78C3 #87A51E
    #874B4B #D200D2 #F0780F #8796FF #0087D2 #E16978 #FF3C3C #D29687 #FFB400 #00873C #2D5AC3 #A51E78
    #9687C3 #B45A87 #B44B3C #5A3C96 #FFA569 #874B00 #5A69D2 #5A00FF #69A5A5 #B469FF #FF4B96 #3C5A96
    #5A4B5A #A500A5 #2DD25A #3C69FF #4B8778 #C3C3B4 #00A53C #B44BB4 #FF7896 #D24B5A #D2B4D2 #961EFF
    #00A5F0 #003CF0 #3CD2B4 #B48700
"""
COLORS = tuple(re.findall("#......", _HEX))
PALETTE = COLORS[:7]

# Linear RGB as seen without the red and without the green cones: Vienot, Brettel and Mollon (1999).
PROTAN = ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0))
DEUTAN = ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0))


def color_distances(colors: tuple[str, ...]) -> NDArray[np.float64]:
    """Say how unlike each colour is to each: their distance in Oklab.

    It is the mean of that with full colour vision and the smaller of those without red and without
    green cones.
    """
    rgb = _linear(colors)
    reduced = [_far(rgb @ np.transpose(cones)) for cones in (PROTAN, DEUTAN)]
    return (_far(rgb) + np.minimum(*reduced)) / 2


def _far(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    lab = _oklab(rgb)
    return np.linalg.norm(lab[:, None] - lab, axis=2)


def _linear(colors: tuple[str, ...]) -> NDArray[np.float64]:
    channels = [[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors]
    share = np.array(channels).reshape(-1, 3) / 255
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
