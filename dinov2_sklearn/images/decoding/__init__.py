"""One file, PIL image or array to one upright 8-bit RGB image."""

from ._decoding import (
    DecodedImage,
    ImageSource,
    as_image,
    decode_image,
    image_size,
    load_image,
    warn_of_failures,
)
from ._formats import IMAGE_EXTENSIONS, image_extensions, needs_extra
from ._options import MAX_PIXELS, Decoding

__all__ = [
    "IMAGE_EXTENSIONS",
    "MAX_PIXELS",
    "DecodedImage",
    "Decoding",
    "ImageSource",
    "as_image",
    "decode_image",
    "image_extensions",
    "image_size",
    "load_image",
    "needs_extra",
    "warn_of_failures",
]
