"""Any PIL image to an upright 8-bit RGB one."""

from typing import Any

import numpy as np
from PIL import Image

__all__ = ["to_upright_rgb", "upright_size"]

_EXIF_ORIENTATION = 0x0112
_TIFF_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_upright_rgb(image: Image.Image) -> Image.Image:
    """Load an image, convert it to RGB and apply its EXIF orientation.

    The rules are those that `load_image` documents.

    Parameters
    ----------
    image : PIL.Image.Image
        An image of any mode, loaded or not. It is not changed.

    Returns
    -------
    PIL.Image.Image
        A new image of mode RGB, with no metadata left.
    """
    image.load()
    orientation = _orientation(image)  # after load, by which Pillow has turned a TIFF already
    rgb = _to_rgb(image)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    if rgb is image:
        rgb = image.copy()
    rgb.info = {}  # the orientation, for one, must not be applied again
    return rgb


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return the (width, height) that an image has after `to_upright_rgb`, from its header."""
    width, height = image.size
    turned = _orientation(image) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:  # the pixels are sound all the same, and viewers show them unturned
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode == "F" or mode.startswith("I"):
        return _grey_by_range(image)
    if mode == "LAB":
        return _lab_to_srgb(image)
    if mode in ("RGBa", "La"):  # premultiplied
        image = image.convert({"RGBa": "RGBA", "La": "LA"}[mode])
    keyed = image.info.get("transparency") is not None and mode in ("1", "L", "P", "RGB")
    if keyed or image.mode in ("RGBA", "LA", "PA"):
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if mode == "RGB" else image.convert("RGB")


def _grey_by_range(image: Image.Image) -> Image.Image:
    direct = image.mode in ("F", "I", "I;16", "I;16L", "I;16B")
    raw = np.asarray(image if direct else image.convert("I"))
    key = image.info.get("transparency")
    transparent = raw == key if isinstance(key, int) else np.zeros(raw.shape, dtype=bool)
    grey = _scale_to_bytes(raw, usable=np.isfinite(raw) & ~transparent)
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16") and tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey  # Pillow inverts these only where they have 8 bits or fewer
    grey[transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _scale_to_bytes(raw: np.ndarray, usable: np.ndarray) -> np.ndarray:
    values = raw[usable]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    scaled = raw.astype(np.float64)
    if low == high:
        scaled[usable] = 127.5
    else:
        scaled -= low
        scaled *= 255.0 / (high - low)
    scaled = np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    return np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)


def _lab_to_srgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.profileToProfile(
        image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None  # it is None only for a conversion in place
    return converted
