"""Files of more than 8 bits or 4 bands, which Pillow would cut to bytes: their samples as they are.

Pillow's and tifffile's decoders do the work; imagecodecs what these two lack.
"""

import struct
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from ._options import Decoding, RefusedImageError, no_such_page
from ._samples import Samples, alpha_of

__all__ = ["NO_DATA_TAG", "deep_samples", "nodata_value", "tiff_pages", "tiff_samples"]

NO_DATA_TAG = 42113  # of GDAL, as text
# Of TIFF: what a value means, and what a band beyond the colours is.
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK = 0, 1, 2, 5
_PREMULTIPLIED, _ALPHA = 1, 2
_MOST_BANDS = 256
_EXTRA = 'pip install "dinov2-sklearn[formats]"'


def deep_samples(image: Any, file: IO[bytes], decoding: Decoding, page: int = 0) -> Samples | None:
    """Return an opened image's samples, or None where Pillow's own bytes are all there is."""
    if image.format == "PNG":
        return _png_samples(image, file)
    if image.format == "TIFF":
        chosen = decoding.bands is not None and image.tag_v2.get(277, 1) > 1
        return tiff_samples(file, decoding, page)[0] if chosen or _exceeds_pillow(image) else None
    if image.format == "PPM":
        return _ppm_samples(image, file)
    if image.format == "JPEG2000":
        return _jpeg2000_samples(image, file)
    if isinstance(image, ImageFile.ImageFile) and ";16" in _rawmode(image) and image.mode != "I;16":
        raise RefusedImageError(
            f"it has 16 bits a channel, of which a {image.format} file gives 8; save it as TIFF or "
            "PNG"
        )
    return None


def _rawmode(image: ImageFile.ImageFile) -> str:
    arguments = image.tile[0][3] if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _png_samples(image: Any, file: IO[bytes]) -> Samples | None:
    raw = _rawmode(image)
    if not raw.endswith(";16B") or image.mode.startswith("I"):
        return None
    key = image.info.get("transparency")
    if raw == "LA;16B":  # the 4 bytes of a pixel, whatever they are called
        pairs = _decode_as(image, "RGBA").view(">u2").astype(np.uint16)
        return Samples(pairs[..., :1], alpha_of(pairs[..., 1]))
    # Taken for little-endian, Pillow's high byte is the low one.
    high = _decode_as(image, raw).astype(np.uint16)
    file.seek(0)
    low = _decode_as(Image.OPEN["PNG"][0](file, ""), raw.replace("16B", "16L"))
    values = (high << 8) | low
    if values.shape[2] == 4:
        return Samples(values[..., :3], alpha_of(values[..., 3]))
    if isinstance(key, tuple):
        clear = (values == np.array(key, dtype=np.uint16)).all(axis=2)
        return Samples(values, (~clear).astype(np.float32), clear)
    return Samples(values)


def _decode_as(image: Any, rawmode: str) -> NDArray[np.uint8]:
    image.tile = [type(tile)(*tile[:3], rawmode) for tile in image.tile]
    return np.asarray(image)


def _ppm_samples(image: Any, file: IO[bytes]) -> Samples | None:
    name, _, offset, arguments = image.tile[0]
    if name != "ppm" or image.mode != "RGB" or arguments[1] < 256:
        return None
    width, height = image.size
    file.seek(offset)
    values = np.frombuffer(file.read(width * height * 6), ">u2").astype(np.uint16)
    return Samples(values.reshape(height, width, 3))


def _jpeg2000_samples(image: Image.Image, file: IO[bytes]) -> Samples | None:
    if image.mode.startswith("I") or image.mode == "L":
        return None
    file.seek(0)
    content = file.read()
    # In the codestream's SIZ marker, which stands first: number of bands, and bits less one.
    at = content.find(b"\xff\x4f\xff\x51")
    n_bands, bits = struct.unpack(">HB", content[at + 40 : at + 43])
    if bits & 127 < 8:
        return None
    try:
        from imagecodecs import jpeg2k_decode
    except ImportError as error:
        raise RefusedImageError(
            f"it has {(bits & 127) + 1} bits a channel, which imagecodecs reads: {_EXTRA}"
        ) from error
    values = jpeg2k_decode(content).reshape(image.height, image.width, n_bands)
    if n_bands in (2, 4):
        return Samples(values[..., :-1], alpha_of(values[..., -1]))
    return Samples(values)


def _exceeds_pillow(image: Any) -> bool:
    """Whether Pillow opens a TIFF, but would cut its samples or take them for others."""
    tags = image.tag_v2
    if tags.get(254, 0) & 1 and 330 in tags:
        raise RefusedImageError(
            "its first page is a thumbnail, as in a camera's raw file; develop it to TIFF or JPEG"
        )
    bits, forms, n_bands = tags.get(258, (1,)), tags.get(339, (1,)), tags.get(277, 1)
    if n_bands > 1:
        said_nothing = n_bands == 2 and tags.get(338, (0,))[0] == 0
        return max(bits) > 8 or n_bands > 4 or said_nothing
    return (bits, forms) in (((32,), (1,)), ((8,), (2,)))


def nodata_value(text: Any) -> float | None:
    """Read what GDAL's tag says."""
    try:
        return float(str(text).strip(" \0"))
    except ValueError:
        return None


def tiff_pages(file: IO[bytes]) -> int:
    """Return how many pages a TIFF has."""
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        return len(tiff.pages)


def tiff_samples(file: IO[bytes], decoding: Decoding, number: int = 0) -> tuple[Samples, int]:
    """Return the samples of a TIFF's page, and its orientation."""
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        if number and number >= len(tiff.pages):
            raise RefusedImageError(no_such_page(number, len(tiff.pages)))
        page: Any = tiff.pages[number]
        _refuse_page(page, decoding)
        try:
            values = page.asarray(squeeze=False, maxworkers=1)
        except (ValueError, RuntimeError, ImportError) as error:
            if "imagecodecs" in str(error):
                raise RefusedImageError(f"its compression needs imagecodecs: {_EXTRA}") from error
            raise
        if values is None:
            raise RefusedImageError("its page has no data")
        # Bands that are stored apart stand first, those of a pixel last, and depth second.
        planes = np.moveaxis(values[:, 0], 0, -1)
        samples = _of_page(page, planes.reshape(*planes.shape[:2], -1), decoding.bands)
        tag = page.tags.get(274)
        return samples, 1 if tag is None else int(tag.value)


def _of_page(page: Any, values: NDArray[Any], bands: tuple[int, ...] | None) -> Samples:
    photometric, n_bands = int(page.photometric), values.shape[2]
    if photometric == _CMYK:  # inks are meant from none to all
        inks = (values[..., :4] >> (8 * values.dtype.itemsize - 8)).astype(np.uint8)
        return Samples(np.asarray(Image.fromarray(inks, "CMYK").convert("RGB")))
    ignored = None
    tag = page.tags.get(NO_DATA_TAG)
    if tag is not None and (value := nodata_value(tag.value)) is not None:
        ignored = (values == np.float64(value).astype(values.dtype)).all(axis=2)
    white_is_zero = photometric == _WHITE_IS_ZERO
    if bands is not None:
        return Samples(values, None, ignored, white_is_zero)
    extra = [int(kind) for kind in page.extrasamples or ()]
    n_colours = 1 if n_bands == 2 else 3
    after = dict(zip(range(n_bands - len(extra), n_bands), extra, strict=True)).get(n_colours)
    if after in (_PREMULTIPLIED, _ALPHA):
        alpha = alpha_of(values[..., n_colours])
        colours = values[..., :n_colours]
        return Samples(colours, alpha, ignored, white_is_zero, after == _PREMULTIPLIED)
    return Samples(values[..., :3] if photometric == _RGB else values, None, ignored, white_is_zero)


def _refuse_page(page: Any, decoding: Decoding) -> None:
    photometric, n_bands = int(page.photometric), int(page.samplesperpixel)
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK):
        kind = getattr(page.photometric, "name", photometric)
        raise RefusedImageError(f"its colours are of the kind {kind}; save it as RGB or grey")
    if n_bands > _MOST_BANDS:
        raise RefusedImageError(
            f"it has {n_bands} bands, more than the {_MOST_BANDS} of an image; write those that "
            "you want to a file of their own"
        )
    decoding.refuse_bomb(page.imagewidth, page.imagelength)
    if page.is_tiled:
        decoding.refuse_bomb(page.tilewidth, page.tilelength)
    if decoding.max_pixels is not None and page.size > 4 * decoding.max_pixels:
        raise RefusedImageError(
            f"it has {page.size} values in {n_bands} bands, more than four for each of "
            f"max_pixels={decoding.max_pixels}; raise max_pixels if you trust the file"
        )
