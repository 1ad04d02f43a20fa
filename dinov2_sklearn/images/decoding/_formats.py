"""Which formats are read, and how a file tells that it is of one."""

import struct
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import PurePath
from typing import IO

# The plugins are imported by name because importing them is what registers their formats.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from .._references import ImageDecodeError

__all__ = [
    "DICOM",
    "IMAGE_EXTENSIONS",
    "READABLE",
    "identify",
    "image_extensions",
    "jxl_size",
    "needs_extra",
]

# In the order in which they are looked for.
_COMMON = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")
# Pillow's other rasters of which no file starts a program, follows a path or is guessed.
_OTHERS = {
    "AVIF": "Avif",
    "JPEG2000": "Jpeg2K",
    "PPM": "Ppm",
    "ICO": "Ico",
    "DDS": "Dds",
    "QOI": "Qoi",
    "PSD": "Psd",
    "SGI": "Sgi",
    "SUN": "Sun",
    "PCX": "Pcx",
}
# It has no mark at its beginning: the name must say it.
_BY_NAME = {".tga": "TGA"}
DICOM = "DICOM"
READABLE = frozenset({*_COMMON, *_OTHERS, *_BY_NAME.values(), "MPO"})
"""What Pillow's own images call their formats."""
_LENGTH = 132  # bytes at the beginning, by which a format is told

# What add-ons read: their extensions, and the extra that installs them.
_ADD_ONS = {
    "pillow_heif": ((".heic", ".heif", ".hif"), "formats"),
    "pillow_jxl": ((".jxl",), "formats"),
    "pydicom": ((".dcm", ".dicom"), "dicom"),
}

# fmt: off
IMAGE_EXTENSIONS = frozenset({
    ".apng", ".avif", ".bmp", ".dds", ".gif", ".ico", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc",
    ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pcx", ".pfm", ".pgm", ".png",
    ".pnm", ".ppm", ".psd", ".qoi", ".ras", ".sgi", ".tga", ".tif", ".tiff", ".webp",
})
# fmt: on
"""What is listed in any case; see `image_extensions`."""


def image_extensions() -> frozenset[str]:
    """Return the extensions of files that can be decoded here, add-ons of Pillow's included."""
    installed = (
        extension
        for package, (extensions, _) in _ADD_ONS.items()
        if find_spec(package) is not None
        for extension in extensions
    )
    added = (extension for extension, name in Image.EXTENSION.items() if _is_added(name))
    return IMAGE_EXTENSIONS.union(installed, added)


def needs_extra(extension: str) -> str | None:
    """Return what has to be installed for files of an extension, if that would be enough."""
    for extensions, extra in _ADD_ONS.values():
        if extension in extensions:
            return f'pip install "dinov2-sklearn[{extra}]"'
    return None


def identify(path: str, file: IO[bytes]) -> str:
    """Return the name of a file's format, by its first bytes.

    Raises
    ------
    ImageDecodeError
        If it is none that can be read.
    """
    prefix = file.read(_LENGTH)
    if not prefix:
        raise ImageDecodeError(path, "the file is empty (0 bytes)")
    file.seek(0)
    for name in _candidates(prefix):
        accepted = _accepts(name, prefix[:16])
        if isinstance(accepted, str):  # how a plugin says that its library is not there
            raise ImageDecodeError(path, accepted)
        if accepted:
            return name
    if prefix[128:] == b"DICM":
        return DICOM
    by_name = _BY_NAME.get(PurePath(path).suffix.lower())
    if by_name is not None:
        _register(by_name.title())
        return by_name
    raise ImageDecodeError(path, _explain_unknown(prefix))


def _accepts(name: str, prefix: bytes) -> bool | str:
    accept = Image.OPEN[name][1] if name in Image.OPEN else None
    try:
        return accept is not None and accept(prefix)
    except (SyntaxError, IndexError, TypeError, struct.error):  # too short for it; as Pillow does
        return False


def _candidates(prefix: bytes) -> Iterator[str]:
    yield from _COMMON
    for name, module in _OTHERS.items():
        if _register(module):
            yield name
    package = _add_on(prefix)
    if package is not None:
        _register_add_on(package)
    yield from [name for name in Image.OPEN if _is_added(name)]


@cache
def _register(module: str) -> bool:
    try:
        import_module(f"PIL.{module}ImagePlugin")
    except ImportError:  # of a later Pillow
        return False
    return True


@cache
def _register_add_on(package: str) -> None:
    if find_spec(package) is None:
        return
    module = import_module(package)  # which registers itself, or says how to be registered
    if hasattr(module, "register_heif_opener"):
        module.register_heif_opener()


def _is_added(name: str) -> bool:
    return name in Image.OPEN and not Image.OPEN[name][0].__module__.startswith("PIL.")


def _add_on(prefix: bytes) -> str | None:
    if prefix[:2] == b"\xff\x0a" or prefix[4:8] == b"JXL ":
        return "pillow_jxl"
    return "pillow_heif" if prefix[4:8] == b"ftyp" else None


def _explain_unknown(prefix: bytes) -> str:
    package = _add_on(prefix)
    if prefix[4:12] in (b"ftypavif", b"ftypavis"):
        return "an AVIF file, which Pillow reads from version 11.3 on"
    if package is not None and find_spec(package) is None:
        kind = {"pillow_heif": "HEIF", "pillow_jxl": "JPEG XL"}[package]
        extensions, _ = _ADD_ONS[package]
        return f"a file of the kind {kind}, which needs an add-on: {needs_extra(extensions[0])}"
    names = ", ".join([*_COMMON, *_OTHERS, *_BY_NAME.values(), DICOM])
    return f"not an image that can be read ({names}); the file begins with {prefix[:16]!r}"


def jxl_size(file: IO[bytes]) -> tuple[int, int]:
    """Read (width, height) from a JPEG XL file's header, whose add-on decodes all to tell them."""
    content = file.read(2**16)
    file.seek(0)
    # Bare, or in the first of the boxes that hold a codestream.
    start = 0 if content[:2] == b"\xff\x0a" else content.find(b"\xff\x0a", content.find(b"jxl", 12))
    if start < 0:
        return 0, 0
    bits, at = int.from_bytes(content[start + 2 : start + 14], "little"), 0

    def read(n_bits: int) -> int:
        nonlocal at
        at += n_bits
        return (bits >> (at - n_bits)) & (2**n_bits - 1)

    small = read(1)

    def edge() -> int:
        return 8 * (1 + read(5)) if small else 1 + read((9, 13, 18, 30)[read(2)])

    height = edge()
    ratio = read(3)
    if ratio == 0:
        return edge(), height
    across, down = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height * across // down, height
