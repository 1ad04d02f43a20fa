"""One file, PIL image or array to one upright 8-bit RGB image."""

from ._decoding import ImageDecodeError, load_image, warn_of_failures
from ._rgb import upright_size

__all__ = ["ImageDecodeError", "load_image", "upright_size", "warn_of_failures"]
