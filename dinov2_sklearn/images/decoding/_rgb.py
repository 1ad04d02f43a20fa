"""Any PIL image to an upright 8-bit RGB one."""

from typing import Any

import numpy as np
from PIL import Image

from ._deep import NO_DATA_TAG, nodata_value
from ._options import Decoding
from ._samples import BLANK_FROM, Samples, choose_bands, samples_to_rgb

__all__ = ["orientation_of", "to_upright_rgb", "turned", "upright_size"]

_EXIF_ORIENTATION = 0x0112
_TIFF_PHOTOMETRIC = 262
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_upright_rgb(image: Image.Image, decoding: Decoding, *, turn: bool = True) -> Image.Image:
    """Load an image, which is not changed, and make a new one by the rules of `load_image`."""
    image.load()
    # After load, by which Pillow has turned a TIFF already.
    orientation = orientation_of(image) if turn else 1
    rgb = turned(_to_rgb(image, decoding), orientation)
    if rgb is image:
        rgb = image.copy()
    rgb.info = {}  # the orientation, for one, must not be applied again
    return rgb


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image as EXIF's orientation says."""
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return the (width, height) that an image has after `to_upright_rgb`, from its header."""
    width, height = image.size
    return (height, width) if orientation_of(image) in (5, 6, 7, 8) else (width, height)


def orientation_of(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 where there is none."""
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:  # the pixels are sound all the same, and viewers show them unturned
        return 1


def _to_rgb(image: Image.Image, decoding: Decoding) -> Image.Image:
    mode = image.mode
    if mode == "F" or mode.startswith("I"):
        return samples_to_rgb(_grey_samples(image), decoding)
    rgb = _bytes_to_rgb(image)
    if decoding.bands is None:
        return rgb
    bands = choose_bands(1 if mode in ("1", "L", "LA", "La") else 3, decoding.bands)
    return Image.merge("RGB", [rgb.getchannel(band) for band in (bands * 3)[:3]])


def _bytes_to_rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode == "LAB":
        return _lab_to_srgb(image)
    if mode in ("RGBa", "La"):  # premultiplied
        image = image.convert({"RGBa": "RGBA", "La": "LA"}[mode])
    keyed = image.info.get("transparency") is not None and mode in ("1", "L", "P", "RGB")
    if keyed or image.mode in ("RGBA", "LA", "PA"):
        return _composited(image.convert("RGBA"), keyed)
    return image if mode == "RGB" else image.convert("RGB")


def _composited(image: Image.Image, keyed: bool) -> Image.Image:
    extrema: Any = image.getextrema()
    if extrema[3] == (0, 0) and any(low < high for low, high in extrema):
        return image.convert("RGB")  # a picture whose alpha nobody has filled in
    rgb = _over("white", image)
    seen: Any = rgb.getextrema()
    # What is keyed stays as it was in 0.1.0, whose cached rows are read.
    is_blank = not keyed and extrema[3][1] > 0 and min(seen)[0] >= BLANK_FROM
    return _over("black", image) if is_blank else rgb


def _over(paper: str, image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, paper), image).convert("RGB")


def _grey_samples(image: Image.Image) -> Samples:
    direct = image.mode in ("F", "I", "I;16", "I;16L", "I;16B")
    raw = np.asarray(image if direct else image.convert("I"))
    tags: Any = getattr(image, "tag_v2", {})
    key = image.info.get("transparency")
    clear = raw == key if isinstance(key, int) else None
    nothing = nodata_value(tags.get(NO_DATA_TAG))
    return Samples(
        raw[..., None],
        alpha=None if clear is None else (~clear).astype(np.float32),
        ignored=clear if nothing is None else raw == np.float64(nothing).astype(raw.dtype),
        # Pillow inverts these only where they have 8 bits or fewer.
        white_is_zero=image.mode.startswith("I;16") and tags.get(_TIFF_PHOTOMETRIC) == 0,
    )


def _lab_to_srgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.profileToProfile(
        image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None  # it is None only for a conversion in place
    return converted
