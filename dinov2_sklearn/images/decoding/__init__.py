"""One file, PIL image or array to one upright 8-bit RGB image."""

from ._decoding import (
    DecodedImage,
    Decoding,
    ImageSource,
    decode_image,
    image_size,
    load_image,
    warn_of_failures,
)

__all__ = [
    "DecodedImage",
    "Decoding",
    "ImageSource",
    "decode_image",
    "image_size",
    "load_image",
    "warn_of_failures",
]
