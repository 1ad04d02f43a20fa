"""One file, PIL image or array to one upright 8-bit RGB image."""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from os import PathLike
from types import TracebackType
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np

# The plugins are imported by name because importing them is what registers their formats.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from ...utils import warn
from .._references import ImageBytes, ImageDecodeError, ImageRef
from ._rgb import to_upright_rgb, upright_size

__all__ = [
    "DecodedImage",
    "Decoding",
    "ImageSource",
    "decode_image",
    "image_size",
    "load_image",
    "warn_of_failures",
]

ImageSource: TypeAlias = str | bytes | PathLike[Any] | ImageBytes | Image.Image | np.ndarray

_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")


@dataclass(frozen=True)
class Decoding:
    """How files become RGB images: one object for all rooms, so that a new choice is made once.

    Parameters
    ----------
    storage_options : mapping, default=None
        What fsspec's file systems are given to open URLs.

    Examples
    --------
    >>> from dinov2_sklearn.images import Decoding
    >>> Decoding().settings()
    {}
    """

    storage_options: Mapping[str, Any] | None = field(default=None, hash=False, repr=False)

    def settings(self) -> dict[str, Any]:
        """Return what pixel values depend on, where it is not the default, for a cache's key."""
        return {}


class DecodedImage(NamedTuple):
    """An upright RGB image, and the size of the picture in its file."""

    image: Image.Image
    """Of mode RGB; smaller than the original where a JPEG was decoded at a reduced size."""
    original_size: tuple[int, int]
    """(width, height) of the upright original."""


def warn_of_failures(errors: Iterable[ImageDecodeError], told: str, *, max_shown: int = 10) -> None:
    """Warn once of all images that could not be decoded.

    Parameters
    ----------
    errors : iterable of ImageDecodeError
        The failures; equal ones are named once.
    told : str
        How many there are, and what became of them.
    max_shown : int, default=10
        How many are named.
    """
    causes = list(dict.fromkeys(f"  {error}" for error in errors))
    if len(causes) > max_shown:
        causes[max_shown:] = [f"  ... and {len(causes) - max_shown} more"]
    warn(":\n".join([told, "\n".join(causes)]))


class _StrictTruncation:
    """Holds Pillow's LOAD_TRUNCATED_IMAGES at False while some thread decodes here.

    Other libraries set that process-wide switch, and then the missing part of a truncated file
    turns grey in silence. A decode that finds it on turns it off; the last to leave restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._found = False

    def __enter__(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._found = False
            if ImageFile.LOAD_TRUNCATED_IMAGES:
                self._found = True
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._found:
                ImageFile.LOAD_TRUNCATED_IMAGES = True

    def reset(self) -> None:
        """Start afresh in a forked child, where no other thread is left to leave."""
        if self._depth and self._found:
            ImageFile.LOAD_TRUNCATED_IMAGES = True
        self._lock, self._depth = threading.Lock(), 0


class _OneAtATime:
    """Keeps threads from decoding one PIL image together, which mixes up its pixels.

    An image that was opened is only decoded when it is first used, and may stand in a list twice.
    Images share a few locks, since they cannot be the keys of a table that forgets them.
    """

    def __init__(self) -> None:
        self.reset()

    def __call__(self, image: Image.Image) -> threading.Lock:
        return self._locks[id(image) // 64 % len(self._locks)]

    def reset(self) -> None:
        """Start afresh in a forked child, where no other thread is left to release a lock."""
        self._locks = [threading.Lock() for _ in range(61)]


_strict_truncation = _StrictTruncation()
_one_at_a_time = _OneAtATime()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_strict_truncation.reset)
    os.register_at_fork(after_in_child=_one_at_a_time.reset)


def load_image(
    source: ImageSource,
    *,
    min_size: int | None = None,
    exact: bool = True,
) -> Image.Image:
    """Decode one image to upright 8-bit RGB.

    Parameters
    ----------
    source : str, bytes, PathLike, ImageBytes, PIL.Image.Image or ndarray
        A file or a URL that fsspec can open, whose format is told by its first bytes and not by
        its name: JPEG, PNG, TIFF, WebP, BMP or GIF; or a PIL image of any mode; or a uint8 array
        of shape (height, width), (height, width, 3) for RGB or (height, width, 4) for RGBA.
        Neither a PIL image nor an array is changed.
    min_size : int, default=None
        Length in pixels of the shortest edge that a later resize will ask for. Used only for a
        JPEG file and with ``exact=False``.
    exact : bool, default=True
        With False, and with ``min_size``, a JPEG is decoded at a half, a quarter or an eighth of
        its size where that leaves the shortest edge at ``2 * min_size`` or more. This is several
        times faster for camera pictures and changes the resized picture by little.

    Returns
    -------
    PIL.Image.Image
        A new image of mode RGB, with no metadata left.

    Raises
    ------
    ImageDecodeError
        Where the image cannot be had: the file is missing, empty, truncated, damaged, not an
        image, or not readable, or has more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``.
    TypeError
        Where ``source`` is none of the kinds above.
    ValueError
        Where ``min_size`` is below 1.

    Notes
    -----
    - The EXIF orientation is applied. A damaged EXIF block counts as none.
    - Transparency, of whatever form, is composited on white.
    - Palette, 1-bit, CMYK, YCbCr, HSV and LAB images are converted; colour profiles are ignored.
    - 16-bit, 32-bit and float grey images are scaled by their own range: the smallest finite
      value becomes 0, the largest 255, those between are linear and rounded. So 12-bit data
      stored in 16 bits is not nearly black, and two images of different exposure cannot be
      compared by brightness. NaN and minus infinity become 0 and plus infinity 255. An image of
      one value only becomes mid-grey, 128. Pillow cuts 16-bit colour images to their high byte.
    - Of an animation or a stack of pages, the first frame is taken.
    - Pillow's safety limits hold: a truncated file is an error even where another library has set
      ``PIL.ImageFile.LOAD_TRUNCATED_IMAGES``, and an image above ``PIL.Image.MAX_IMAGE_PIXELS``
      is an error, not a warning.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn.images import load_image
    >>> half_transparent_black = np.array([[[0, 0, 0, 128]]], dtype=np.uint8)
    >>> load_image(half_transparent_black).getpixel((0, 0))
    (127, 127, 127)
    """
    return decode_image(source, min_size=min_size, exact=exact).image


def decode_image(
    source: ImageSource,
    decoding: Decoding | None = None,
    *,
    min_size: int | None = None,
    exact: bool = True,
) -> DecodedImage:
    """Decode as `load_image`, and tell the size of the original; a file is opened once."""
    decoding = decoding or Decoding()
    if min_size is not None and min_size < 1:
        raise ValueError(f"min_size must be 1 or more, got {min_size}.")
    if isinstance(source, Image.Image):
        return _whole(_load_pil(source))
    if isinstance(source, np.ndarray):
        return _whole(_load_array(source))
    wanted = None if exact else min_size
    if isinstance(source, ImageBytes):
        with BytesIO(source.content) as content:
            return _load_file(source.address, content, wanted)
    if not isinstance(source, (str, bytes, PathLike)):
        raise TypeError(
            "load_image takes a path, a PIL image or a uint8 array, got an object of type "
            f"{type(source).__name__}."
        )
    ref = ImageRef(os.fsdecode(source))
    # Pillow is given the open file, never the name: this is what makes sure that it is closed,
    # and that it is read rather than memory-mapped, which kills the process when the file shrinks
    # meanwhile.
    with ref.open_image(decoding.storage_options) as file:
        return _load_file(ref.address, file, wanted)


def image_size(source: ImageBytes | str | bytes | PathLike[Any]) -> tuple[int, int]:
    """Return the upright (width, height) of an image's file, from its header.

    Raises
    ------
    ImageDecodeError
        If it cannot be read, or is no image.
    """
    if isinstance(source, ImageBytes):
        return _read_size(source.address, BytesIO(source.content))
    ref = ImageRef(os.fsdecode(source))
    with ref.open_image() as file:
        return _read_size(ref.address, file)


def _whole(image: Image.Image) -> DecodedImage:
    return DecodedImage(image, image.size)


def _read_size(path: str, file: IO[bytes]) -> tuple[int, int]:
    with _explained(path, name := _identify(path, file)):
        return upright_size(Image.OPEN[name][0](file, ""))


def _load_file(path: str, file: IO[bytes], min_size: int | None) -> DecodedImage:
    try:
        with _strict_truncation:
            return _decode(path, file, min_size)
    except (OSError, ValueError) as error:
        if isinstance(error, ImageDecodeError):
            raise
        raise ImageDecodeError(path, f"the file cannot be read ({error})") from error


def _decode(path: str, file: IO[bytes], min_size: int | None) -> DecodedImage:
    name = _identify(path, file)
    with _explained(path, name):
        # Not Image.open, which answers a size between one and two times its limit with a
        # warning: filters of warnings are process-wide and cannot be set for one thread. Its
        # registry of formats gives the same image without that step; also, formats that start
        # other programs (EPS) are out of reach of a file that lies about its name.
        image = Image.OPEN[name][0](file, "")
        _refuse_bomb(path, image.size)
        if min_size is None or not isinstance(image, JpegImagePlugin.JpegImageFile):
            return _whole(to_upright_rgb(image))
        size = upright_size(image)
        image.draft("RGB", (2 * min_size, 2 * min_size))
        return DecodedImage(to_upright_rgb(image), size)


@contextmanager
def _explained(path: str, name: str) -> Iterator[None]:
    try:
        yield
    except (ImageDecodeError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageDecodeError(path, f"{error} {_BOMB_ADVICE}") from error
    except Exception as error:
        cause = str(error) or type(error).__name__
        raise ImageDecodeError(
            path, f"the {name} file is truncated or damaged ({cause})"
        ) from error


def _identify(path: str, file: IO[bytes]) -> str:
    prefix = file.read(16)
    if not prefix:
        raise ImageDecodeError(path, "the file is empty (0 bytes)")
    file.seek(0)
    for name in _FORMATS:
        accept = Image.OPEN[name][1]
        accepted = accept is not None and accept(prefix)
        if isinstance(accepted, str):  # how a plugin says that its library is not there
            raise ImageDecodeError(path, accepted)
        if accepted:
            return name
    raise ImageDecodeError(
        path,
        f"not an image that can be read ({', '.join(_FORMATS)}); the file begins with {prefix!r}",
    )


_BOMB_ADVICE = (
    "If you trust the file, raise PIL.Image.MAX_IMAGE_PIXELS, or make a smaller copy of the image."
)


def _refuse_bomb(path: str, size: tuple[int, int]) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    width, height = size
    if limit is not None and width * height > limit:
        raise ImageDecodeError(
            path,
            f"{width} x {height} = {width * height} pixels are more than Pillow's limit of "
            f"{limit}, which guards against decompression bombs. {_BOMB_ADVICE}",
        )


def _load_pil(image: Image.Image) -> Image.Image:
    name = getattr(image, "filename", "") or f"PIL image of mode {image.mode} and size {image.size}"
    if not isinstance(name, str):
        name = os.fsdecode(name)
    if 0 in image.size:
        raise ImageDecodeError(name, "the image has no pixels")
    try:
        with _one_at_a_time(image), _strict_truncation:
            return to_upright_rgb(image)
    except (ImageDecodeError, MemoryError):
        raise
    except Exception as error:
        raise ImageDecodeError(name, str(error) or type(error).__name__) from error


def _load_array(array: np.ndarray) -> Image.Image:
    name = f"array of shape {array.shape} and dtype {array.dtype}"
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not shaped:
        raise ImageDecodeError(
            name, "an image array is uint8 of shape (height, width[, 3 or 4]), values 0 to 255"
        )
    if array.size == 0:
        raise ImageDecodeError(name, "the image has no pixels")
    return to_upright_rgb(Image.fromarray(np.ascontiguousarray(array)))
