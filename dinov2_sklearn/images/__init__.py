"""The images room: files to RGB arrays.

It finds image files (`list_images`), decodes them by one set of rules (`load_image`), brings them
to the shape and the value range of a checkpoint (`Preprocessing`), hands them to PyTorch
(`ImageDataset`). An `ImageRef` says what there is to know of an image's address. Importing it
loads numpy and Pillow; torch is loaded only by `ImageDataset`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._inputs import check_images
from ._references import ImageRef
from .decoding import ImageDecodeError, load_image
from .preprocessing import Preprocessing
from .sources import IMAGE_EXTENSIONS, list_images

if TYPE_CHECKING:
    from ._dataset import ImageDataset

__all__ = [
    "IMAGE_EXTENSIONS",
    "ImageDataset",
    "ImageDecodeError",
    "ImageRef",
    "Preprocessing",
    "check_images",
    "list_images",
    "load_image",
]


def __getattr__(name: str) -> Any:
    if name != "ImageDataset":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("._dataset", __name__).ImageDataset


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
