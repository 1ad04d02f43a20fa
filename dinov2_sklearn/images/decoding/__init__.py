"""One file, PIL image or array to one upright 8-bit RGB image."""

from ._decoding import (
    DecodedImage,
    decode_image,
    image_size,
    load_image,
    page_count,
    warn_of_failures,
)
from ._formats import IMAGE_EXTENSIONS, image_extensions, needs_extra
from ._forms import ImageSource, LazyImage, as_image
from ._options import MAX_PIXELS, Decoding

__all__ = [
    "IMAGE_EXTENSIONS",
    "MAX_PIXELS",
    "DecodedImage",
    "Decoding",
    "ImageSource",
    "LazyImage",
    "as_image",
    "decode_image",
    "image_extensions",
    "image_size",
    "load_image",
    "needs_extra",
    "page_count",
    "warn_of_failures",
]
