"""The images room: files to RGB arrays.

It finds image files (`list_images`), decodes them by one set of rules (`load_image`), brings them
to the shape and the value range of a checkpoint (`Preprocessing`), hands them to PyTorch
(`ImageDataset`). Importing it loads numpy and Pillow; torch is loaded only by `ImageDataset`.

An image's file is opened, fetched and digested once a use:

- `ImageRef` says what there is to know of an address. ``ImageRef(path).read()`` gives `ImageBytes`:
  the content, with its ``.digest``, which whatever decodes takes in place of an address. So the
  bytes that are digested are the bytes that are decoded. Where the address names a part of a file
  (``#xywh=``, ``#t=``, ``#page=``, ``#row=``) it is an `ImagePart`, and within a run of `map_ahead`
  the file is read, and decoded, once for the parts near each other.
- ``decode_image(source, decoding, min_size=..., exact=...)`` gives a `DecodedImage`: the ``image``,
  as `load_image` does, and the ``original_size`` of the upright file, also where a large JPEG was
  decoded smaller. `image_size` reads a header alone.
- ``ImageReader(preprocessings, exact_decode=...)`` does the same for threads ahead of a model, and
  returns an `ImageDecodeError` instead of raising it.
- `Decoding` holds every choice of how files become RGB images. Rooms pass it on whole; its
  ``settings()`` belong into a cache's key.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._fragments import Fragment
from ._inputs import check_images
from ._reading import ImageReader, map_ahead, warn_of_clipped, warn_of_crops
from ._references import ImageBytes, ImageDecodeError, ImageRef, find_rows
from ._table import ImageTable
from .decoding import (
    IMAGE_EXTENSIONS,
    MAX_PIXELS,
    DecodedImage,
    Decoding,
    ImageSource,
    decode_image,
    image_size,
    load_image,
    warn_of_failures,
)
from .preprocessing import Preprocessing
from .sources import list_boxes, list_frames, list_images, list_rows

if TYPE_CHECKING:
    from ._dataset import ImageDataset

__all__ = [
    "IMAGE_EXTENSIONS",
    "MAX_PIXELS",
    "DecodedImage",
    "Decoding",
    "Fragment",
    "ImageBytes",
    "ImageDataset",
    "ImageDecodeError",
    "ImageReader",
    "ImageRef",
    "ImageSource",
    "ImageTable",
    "Preprocessing",
    "check_images",
    "decode_image",
    "find_rows",
    "image_size",
    "list_boxes",
    "list_frames",
    "list_images",
    "list_rows",
    "load_image",
    "map_ahead",
    "warn_of_clipped",
    "warn_of_crops",
    "warn_of_failures",
]


def __getattr__(name: str) -> Any:
    if name != "ImageDataset":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("._dataset", __name__).ImageDataset


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
