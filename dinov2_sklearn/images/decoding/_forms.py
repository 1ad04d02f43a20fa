"""The many forms in which an image can be given."""

import os
from collections.abc import Mapping
from os import PathLike
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .._references import ImageBytes, ImageDecodeError, ImagePart

__all__ = ["ImageSource", "LazyImage", "as_image"]


class LazyImage:
    """An image that is read when it is wanted, such as a row of a data set of Hugging Face.

    Parameters
    ----------
    rows : object
        Its element at `number` is the image, in any form.
    number : int
    """

    __slots__ = ("number", "rows")

    def __init__(self, rows: Any, number: int) -> None:
        self.rows, self.number = rows, number

    def read(self) -> Any:
        """Return the image, encoded where it is stored so.

        Raises
        ------
        ImageDecodeError
            If there is none.
        """
        value = self.rows[self.number]
        if value is None:
            raise ImageDecodeError(f"row {self.number}", "it holds no image, but None")
        try:
            image = as_image(value)
        except TypeError as error:
            raise ImageDecodeError(f"row {self.number}", str(error)) from error
        if isinstance(image, ImageBytes):
            return ImageBytes(image.content, f"row {self.number}")
        return image


ImageSource: TypeAlias = (
    str
    | bytes
    | PathLike[Any]
    | ImageBytes
    | ImagePart
    | LazyImage
    | Mapping[str, Any]
    | Image.Image
    | NDArray[Any]
)


def as_image(source: Any) -> Any:
    """Bring an image's many forms to few: an address, its content, a PIL image or an array.

    Raises
    ------
    TypeError
        If it is none.
    """
    if isinstance(source, Mapping) and {"bytes", "path"} & source.keys():
        # As data sets of Hugging Face hold images.
        content, path = source.get("bytes"), source.get("path")
        if content is not None:
            return ImageBytes(bytes(content), path or _shortened(content))
        source = path
    if isinstance(source, (bytearray, memoryview)) or (
        # No path holds a zero, or is as long as an image.
        isinstance(source, bytes) and (b"\0" in source or len(source) > 4096)
    ):
        return ImageBytes(bytes(source), _shortened(source))
    if isinstance(source, (str, bytes, PathLike)):
        return str(os.fsdecode(source))
    if isinstance(source, LazyImage):
        return source.read()
    if isinstance(source, (ImageBytes, ImagePart, Image.Image, np.ndarray)):
        return source
    if hasattr(source, "detach") and hasattr(source, "numpy"):
        return _from_tensor(source)
    raise TypeError(
        "load_image takes a path, encoded bytes, a PIL image or an array, got an object of type "
        f"{type(source).__name__}."
    )


def _from_tensor(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    try:
        array = np.asarray(tensor.numpy())
    except TypeError:  # numpy has no bfloat16
        array = np.asarray(tensor.float().numpy())
    if array.ndim == 3 and array.shape[0] in (1, 2, 3, 4):
        array = np.moveaxis(array, 0, -1)
    return array


def _shortened(content: Any) -> str:
    return f"{len(content)} bytes that begin with {bytes(content[:16])!r}"
