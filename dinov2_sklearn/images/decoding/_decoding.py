"""One file, PIL image or array to one upright 8-bit RGB image."""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from io import BytesIO
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin

from ...utils import warn
from .._fragments import Fragment
from .._references import ImageBytes, ImageDecodeError, ImagePart, ImageRef
from .._video import Video
from ._deep import deep_samples, tiff_pages, tiff_samples
from ._dicom import dicom_pages, dicom_samples, dicom_size
from ._formats import DICOM, READABLE, identify, jxl_size
from ._forms import ImageSource, as_image
from ._mending import with_end_marker, without_text
from ._options import Decoding, RefusedImageError, bomb_advice, no_such_page
from ._pillow import one_at_a_time, pillow_settings
from ._rgb import orientation_of, to_upright_rgb, turned, upright_size
from ._samples import Samples, alpha_of, samples_to_rgb

__all__ = [
    "DecodedImage",
    "decode_image",
    "image_size",
    "load_image",
    "page_count",
    "warn_of_failures",
]


# Pixels up to which an opened image that was given may stay in memory.
_SMALL = 2**18


class DecodedImage(NamedTuple):
    """An upright RGB image, and the size of the picture in its file."""

    image: Image.Image
    """Of mode RGB; smaller than the original where a JPEG was decoded at a reduced size."""
    original_size: tuple[int, int]
    """(width, height) of the upright original; of a box, its own."""
    is_clipped: bool = False
    """Whether it is a box of which a part lies outside the picture, and was left out."""


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


def load_image(
    source: ImageSource,
    *,
    min_size: int | None = None,
    exact: bool = True,
    decoding: Decoding | None = None,
) -> Image.Image:
    """Decode one image to upright 8-bit RGB.

    Parameters
    ----------
    source : str, bytes, PathLike, ImageBytes, dict, PIL.Image.Image, ndarray or torch.Tensor
        - A file, or a URL that fsspec can open, whose format is told by its first bytes and not by
          its name; see `IMAGE_EXTENSIONS` and the guide to formats. A part of one: a box, a page,
          a video's frame, a parquet file's row, as `ImageRef` says.
        - An encoded file's content: bytes, `ImageBytes`, or a dict with "bytes" and "path", as
          data sets of Hugging Face hold images.
        - A PIL image of any mode.
        - An array of shape (height, width) or (height, width, bands), where four bands are red,
          green, blue and alpha; or a tensor of shape (bands, height, width). uint8 is taken as it
          is, and so are wider integers from 0 to 255; floats from 0 to 1 are brightness; other
          values are scaled like a file's of more than 8 bits.

        None of them is changed.
    min_size : int, default=None
        Length in pixels of the shortest edge that a later resize will ask for. Used only for a
        JPEG file and with ``exact=False``.
    exact : bool, default=True
        With False, and with ``min_size``, a JPEG is decoded at a half, a quarter or an eighth of
        its size where that leaves the shortest edge at ``2 * min_size`` or more. This is several
        times faster for camera pictures and changes the resized picture by little.
    decoding : Decoding, default=None
        Bands, range of values, limits.

    Returns
    -------
    PIL.Image.Image
        A new image of mode RGB, with no metadata left.

    Raises
    ------
    ImageDecodeError
        Where the image cannot be had: the file is missing, empty, truncated, damaged, not an
        image, or not readable, has more than ``max_pixels``, needs an extra that is not installed,
        or has bands of which nothing says what they are.
    TypeError
        Where ``source`` is none of the kinds above.
    ValueError
        Where ``min_size`` is below 1.

    Notes
    -----
    - A file's EXIF orientation is applied. A damaged EXIF block counts as none. A PIL image that
      was made from an opened one, by ``rotate`` or ``convert`` say, is taken as it is shown.
    - Transparency, of whatever form, is composited on white; a picture of which nothing darker than
      240 would be seen there, such as a white logo, on black. An alpha channel that is 0 everywhere
      over a picture counts as none.
    - Palette, 1-bit, CMYK, YCbCr, HSV and LAB images are converted; colour profiles are ignored.
    - Values of more than 8 bits, integers and floats, are scaled by one range for all bands: the
      range of the finite values of the image, without "no data" (GDAL's tag, PNG's clear colour,
      DICOM's padding). Its ends are the 0.1 and the 99.9% quantile instead where the true ones lie
      farther out than half the distance between these: so a hot pixel darkens nothing. The values
      between are linear and rounded. So 12 bits in 16 are not nearly black, and two images of
      different exposure cannot be compared, unless `Decoding` fixes ``value_range``. NaN, "no
      data" and minus infinity become 0 and plus infinity 255. An image of one value only becomes
      mid-grey, 128. A DICOM file's own window is its range.
    - Of more than 4 bands, those that the file calls red, green and blue are taken, and others
      refused until `Decoding` chooses ``bands``.
    - Of an animation or a stack of pages, the first frame is taken, unless the address says which.
    - A box is cut from the upright picture. What of it lies outside is left out.
    - A truncated file is an error even where another library has set
      ``PIL.ImageFile.LOAD_TRUNCATED_IMAGES``; but a JPEG that lacks nothing but its end decodes.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn.images import Decoding, load_image
    >>> half_transparent_black = np.array([[[0, 0, 0, 128]]], dtype=np.uint8)
    >>> load_image(half_transparent_black).getpixel((0, 0))
    (127, 127, 127)
    >>> twelve_bits = np.array([[0, 2048, 4095]], dtype=np.uint16)
    >>> load_image(twelve_bits, decoding=Decoding(value_range=(0, 8190))).getpixel((2, 0))
    (128, 128, 128)
    """
    return decode_image(source, decoding, min_size=min_size, exact=exact).image


def decode_image(
    source: ImageSource,
    decoding: Decoding | None = None,
    *,
    min_size: int | None = None,
    exact: bool = True,
) -> DecodedImage:
    """Decode as `load_image`, and tell the size of the original; a file is opened once.

    Parameters
    ----------
    source, min_size, exact
        As in `load_image`.
    decoding : Decoding, default=None
        How files become RGB images.

    Returns
    -------
    DecodedImage
    """
    decoding = decoding or Decoding()
    if min_size is not None and min_size < 1:
        raise ValueError(f"min_size must be 1 or more, got {min_size}.")
    min_size = None if exact else min_size
    if type(source) is not str:
        source = as_image(source)
    if isinstance(source, str) and "#" in source and (ref := ImageRef(source)).is_part:
        source = ref.read(decoding.storage_options)
    if isinstance(source, ImagePart):
        return _decode_part(source, decoding, min_size)
    if isinstance(source, str):
        ref = ImageRef(source)
        # Pillow is given the open file, never the name: this is what makes sure that it is
        # closed, and that it is read rather than memory-mapped, which kills the process when the
        # file shrinks meanwhile.
        with ref.open_image(decoding.storage_options) as file:
            return _decode_file(source, file, decoding, min_size)
    if isinstance(source, ImageBytes):
        return _decode_file(source.address, BytesIO(source.content), decoding, min_size)
    if isinstance(source, Image.Image):
        return _decode_pil(source, decoding)
    assert isinstance(source, np.ndarray)
    return _whole(_decode_array(source, decoding))


def image_size(source: ImageSource) -> tuple[int, int]:
    """Return the upright (width, height) of an image's file, from its header.

    Parameters
    ----------
    source : str, bytes, PathLike or ImageBytes
        The file, a URL, or what was read there.

    Returns
    -------
    (int, int)

    Raises
    ------
    ImageDecodeError
        If it cannot be read, or is no image.
    """
    source = as_image(source)
    if isinstance(source, ImageBytes):
        return _read_size(source.address, BytesIO(source.content))
    if not isinstance(source, str):
        raise TypeError(f"image_size takes a file, got an object of type {type(source).__name__}.")
    ref = ImageRef(source)
    if (fragment := ref.fragment) is not None:
        whole = replace(fragment, box=None)
        if whole != Fragment():
            return decode_image(source).original_size
        left, upper, right, lower = _edges(source, fragment, image_size(ref.file))[0]
        return right - left, lower - upper
    with ref.open_image() as file:
        return _read_size(ref.address, file)


def page_count(path: str) -> int:
    """Return how many pages or frames a file of images has.

    Raises
    ------
    ImageDecodeError
        If it cannot be read, or is no image.
    """
    with ImageRef(path).open_image() as file:
        name = identify(path, file)
        with _explained(path, f"{name} file"):
            if name == DICOM:
                return dicom_pages(file)
            if name == "TIFF":
                return tiff_pages(file)
            return getattr(Image.OPEN[name][0](file, ""), "n_frames", 1)


def _decode_part(part: ImagePart, decoding: Decoding, min_size: int | None) -> DecodedImage:
    fragment, file = part.fragment, part.file
    if fragment.box is None:
        with file.lock:
            return _decode_whole(part, decoding, min_size)
    wanted = decoding, replace(fragment.within_row, box=None)
    with file.lock:
        if file.picture[0] != wanted:
            # In full: a small box must not be cut from a small picture.
            file.picture = wanted, _decode_whole(part, decoding, None).image
        picture: Image.Image = file.picture[1]
    edges, is_clipped = _edges(part.address, fragment, picture.size)
    box = picture.crop(edges)
    return DecodedImage(box, box.size, is_clipped)


def _decode_whole(part: ImagePart, decoding: Decoding, min_size: int | None) -> DecodedImage:
    """Decode all of the picture that a part lies in."""
    content, time = part.file.content, part.fragment.time
    if isinstance(content, Video):
        assert time is not None
        try:
            decoding.refuse_bomb(*content.size)
            with content.lock:
                return _whole(content.frame(time))
        except ValueError as error:
            raise ImageDecodeError(part.address, str(error)) from error
    if time is not None:
        raise ImageDecodeError(part.address, "a row holds an image, not a video")
    page = part.fragment.page or 1
    return _decode_file(part.address, BytesIO(content.content), decoding, min_size, page - 1)


def _edges(
    address: str, fragment: Fragment, size: tuple[int, int]
) -> tuple[tuple[int, int, int, int], bool]:
    try:
        return fragment.pixels(*size)
    except ValueError as error:
        raise ImageDecodeError(address, str(error)) from error


def _whole(image: Image.Image) -> DecodedImage:
    return DecodedImage(image, image.size)


def _read_size(path: str, file: IO[bytes]) -> tuple[int, int]:
    name = identify(path, file)
    with _explained(path, f"{name} file"):
        if name == DICOM:
            return dicom_size(file)
        try:
            return upright_size(Image.OPEN[name][0](file, ""))
        except Exception:
            if name != "TIFF":
                raise
            return _tiff(file, Decoding(max_pixels=None)).size


def _decode_file(
    path: str, file: IO[bytes], decoding: Decoding, min_size: int | None, page: int = 0
) -> DecodedImage:
    name = identify(path, file)
    with _explained(path, f"{name} file"), _settings(decoding):
        try:
            return _decode(name, file, decoding, min_size, page)
        except (OSError, ValueError, SyntaxError) as error:
            if isinstance(error, RefusedImageError):
                raise
            mended = _mended(name, file, error)
            if mended is None:
                raise
            return _decode(name, BytesIO(mended), decoding, min_size, page)


def _settings(decoding: Decoding) -> AbstractContextManager[None]:
    return pillow_settings(decoding.truncated == "accept", decoding.max_pixels)


def _mended(name: str, file: IO[bytes], error: Exception) -> bytes | None:
    if name == "JPEG" and "truncated" in str(error):
        file.seek(0)
        return with_end_marker(file.read())
    if name == "PNG" and "text" in str(error).lower():
        file.seek(0)
        return without_text(file.read())
    return None


def _decode(
    name: str, file: IO[bytes], decoding: Decoding, min_size: int | None, page: int
) -> DecodedImage:
    if name == DICOM:
        return _whole(samples_to_rgb(dicom_samples(file, decoding, page), decoding))
    if name == "JXL":  # whose add-on decodes it when it is opened
        decoding.refuse_bomb(*jxl_size(file))
    try:
        # Not Image.open, which answers a size between one and two times its limit with a
        # warning: filters of warnings are process-wide and cannot be set for one thread. Its
        # registry of formats gives the same image without that step; also, formats that start
        # other programs (EPS) are out of reach of a file that lies about its name.
        image = Image.OPEN[name][0](file, "")
    except Exception:
        if name != "TIFF":  # of which tifffile knows more kinds
            raise
        return _whole(_tiff(file, decoding, page))
    if page:
        _turn_to(image, page)
    decoding.refuse_bomb(*image.size)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        size = upright_size(image)
        if min_size is not None:
            image.draft("RGB", (2 * min_size, 2 * min_size))
        return DecodedImage(to_upright_rgb(image, decoding), size)
    samples = deep_samples(image, file, decoding, page)
    if samples is None:
        return _whole(to_upright_rgb(image, decoding))
    return _whole(turned(samples_to_rgb(samples, decoding), orientation_of(image)))


def _turn_to(image: Image.Image, page: int) -> None:
    n_pages = getattr(image, "n_frames", 1)
    if page >= n_pages:
        raise RefusedImageError(no_such_page(page, n_pages))
    image.seek(page)


def _tiff(file: IO[bytes], decoding: Decoding, page: int = 0) -> Image.Image:
    samples, orientation = tiff_samples(file, decoding, page)
    return turned(samples_to_rgb(samples, decoding), orientation)


@contextmanager
def _explained(source: str, what: str) -> Iterator[None]:
    try:
        yield
    except (ImageDecodeError, MemoryError):
        raise
    except RefusedImageError as error:
        raise ImageDecodeError(source, str(error)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        reason = f"{error} Its {bomb_advice(Image.MAX_IMAGE_PIXELS)}"
        raise ImageDecodeError(source, reason) from error
    except Exception as error:
        cause = str(error) or type(error).__name__
        reason = f"the {what} is truncated or damaged ({cause})"
        raise ImageDecodeError(source, reason) from error


def _decode_pil(image: Image.Image, decoding: Decoding) -> DecodedImage:
    name = getattr(image, "filename", "") or f"PIL image of mode {image.mode} and size {image.size}"
    if not isinstance(name, str):
        name = os.fsdecode(name)
    if 0 in image.size:
        raise ImageDecodeError(name, "the image has no pixels")
    with one_at_a_time(image):
        content = _undecoded(image)
        if content is None:
            with _explained(name, "image"), _settings(decoding):
                # What was made of an opened image is as it is shown, although most methods copy
                # the orientation that its file had.
                turn = isinstance(image, ImageFile.ImageFile)
                return _whole(to_upright_rgb(image, decoding, turn=turn))
        if image.width * image.height <= _SMALL:
            # Then Pillow closes its file, which few callers do.
            with suppress(Exception), _settings(decoding):
                image.load()
    return _decode_file(name, BytesIO(content), decoding, None)


def _undecoded(image: Image.Image) -> bytes | None:
    """Return the file of an image that was opened and not loaded, which a large one stays.

    Loading it would keep its pixels for as long as the caller keeps the image.
    """
    known = vars(image)
    if (
        not isinstance(image, ImageFile.ImageFile)
        or image.format not in READABLE
        or known.get("_im", known.get("im")) is not None
    ):
        return None
    file: Any = image.fp
    try:
        if image.tell() != 0:
            return None
        position = file.tell()
        file.seek(0)
        content = file.read()
        file.seek(position)
    except (AttributeError, OSError, ValueError):  # it was closed: loading says so
        return None
    return content


def _decode_array(array: NDArray[Any], decoding: Decoding) -> Image.Image:
    name = f"array of shape {array.shape} and dtype {array.dtype}"
    if array.size == 0:
        raise ImageDecodeError(name, "the image has no pixels")
    values = array[..., None] if array.ndim == 2 else array
    if values.ndim != 3 or array.dtype.kind not in "buif":
        raise ImageDecodeError(
            name, "an image array is of numbers and of shape (height, width[, bands])"
        )
    if values.shape[0] in (1, 3, 4) and values.shape[2] > 4:
        raise ImageDecodeError(
            name,
            "its first axis looks like the bands: give it as (height, width, bands), by "
            "array.transpose(1, 2, 0)",
        )
    with _explained(name, "array"):
        values = _bytes_where_meant(values, decoding)
        if values.shape[2] != 4 or decoding.bands is not None:
            return samples_to_rgb(Samples(values), decoding)
        if values.dtype == np.uint8:
            return to_upright_rgb(Image.fromarray(np.ascontiguousarray(values)), decoding)
        alpha = alpha_of(values[..., 3])
        return samples_to_rgb(Samples(values[..., :3], alpha), decoding)


def _bytes_where_meant(values: NDArray[Any], decoding: Decoding) -> NDArray[Any]:
    """Take floats from 0 to 1 for brightness, and wide integers from 0 to 255 for bytes."""
    kind, auto = values.dtype.kind, decoding.value_range == "auto"
    if kind == "f" and auto and values.min() >= 0 and values.max() <= 1:
        return np.rint(values * 255).astype(np.uint8)
    wide = kind in "ui" and values.dtype.itemsize > 2
    if wide and auto and values.min() >= 0 and values.max() <= 255:
        return values.astype(np.uint8)
    return values
