"""The images room: files to RGB arrays.

It finds image files (`list_images`), decodes them by one set of rules (`load_image`), brings them
to the shape and the value range of a checkpoint (`Preprocessing`), hands them to PyTorch
(`ImageDataset`), and shows them (`contact_sheet`). Importing it loads numpy and Pillow; torch is
loaded only by `ImageDataset`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .contact_sheet import contact_sheet
from .decoding import ImageDecodeError, load_image
from .inputs import check_images
from .preprocessing import Preprocessing
from .sources import IMAGE_EXTENSIONS, list_images

if TYPE_CHECKING:
    from .dataset import ImageDataset

__all__ = [
    "IMAGE_EXTENSIONS",
    "ImageDataset",
    "ImageDecodeError",
    "Preprocessing",
    "check_images",
    "contact_sheet",
    "list_images",
    "load_image",
]


def __getattr__(name: str) -> Any:
    if name != "ImageDataset":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(".dataset", __name__).ImageDataset


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
