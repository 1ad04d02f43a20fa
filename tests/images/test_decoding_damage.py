"""Whatever is done to the bytes of a file, load_image gives an image or an ImageDecodeError."""

import io
import warnings

import imagecodecs
import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 - registers itself
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dinov2_sklearn.images import Decoding, ImageDecodeError, load_image

pillow_heif.register_heif_opener()
Image.init()
SAVED = Image.SAVE.keys() | {"MPO"}
DEEP = np.random.default_rng(0).integers(0, 4096, (12, 17, 5), dtype=np.uint16)


def deep_png(_):
    return imagecodecs.png_encode(np.ascontiguousarray(DEEP[..., :3]))


def deep_tiff(arguments):
    buffer = io.BytesIO()
    planes = np.moveaxis(DEEP, -1, 0) if "planarconfig" in arguments else DEEP
    tifffile.imwrite(buffer, planes, **arguments)
    return buffer.getvalue()


def dicom(_):
    """A plane of 12 bits with a window."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    dataset.Rows, dataset.Columns = DEEP.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.PixelData = DEEP[..., 0].tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


FORMATS = {
    "jpeg": ("RGB", {"format": "JPEG"}),
    "jpeg, progressive cmyk": ("CMYK", {"format": "JPEG", "progressive": True}),
    "png": ("RGBA", {"format": "PNG"}),
    "png, palette": ("P", {"format": "PNG", "transparency": 3}),
    "png, 16 bits": ("I;16", {"format": "PNG"}),
    "gif": ("P", {"format": "GIF", "save_all": True, "transparency": 3}),
    "tiff": ("RGB", {"format": "TIFF"}),
    "tiff, float": ("F", {"format": "TIFF"}),
    "tiff, compressed": ("RGB", {"format": "TIFF", "compression": "tiff_lzw"}),
    "tiff, lab": ("LAB", {"format": "TIFF"}),
    "webp": ("RGB", {"format": "WEBP"}),
    "bmp": ("P", {"format": "BMP"}),
    "jpeg 2000": ("RGB", {"format": "JPEG2000"}),
    "avif": ("RGBA", {"format": "AVIF"}),
    "ppm": ("RGB", {"format": "PPM"}),
    "ico": ("RGBA", {"format": "ICO", "sizes": [(12, 12)]}),
    "dds": ("RGBA", {"format": "DDS"}),
    "qoi": ("RGB", {"format": "QOI"}),
    "sgi": ("RGB", {"format": "SGI"}),
    "pcx": ("P", {"format": "PCX"}),
    "mpo": ("RGB", {"format": "MPO", "save_all": True}),
    "heif": ("RGB", {"format": "HEIF"}),
    "jpeg xl": ("RGB", {"format": "JXL"}),
    "png, 16 bits rgb": (deep_png, None),
    "tiff, 16 bits, 5 bands": (deep_tiff, {"photometric": "rgb"}),
    "tiff, 16 bits, planes": (
        deep_tiff,
        {"photometric": "rgb", "planarconfig": "separate", "bigtiff": True},
    ),
    "tiff, tiles, deflate": (
        deep_tiff,
        {"photometric": "rgb", "tile": (16, 16), "compression": "zlib", "predictor": True},
    ),
    "dicom": (dicom, None),
}
FORMATS = {  # without those that this Pillow cannot write
    name: (mode, how)
    for name, (mode, how) in FORMATS.items()
    if callable(mode) or how["format"] in SAVED
}


def encode(mode, arguments):
    if callable(mode):
        return mode(arguments)
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(0, 256, (12, 17, 3), dtype=np.uint8))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 5000, (12, 17), dtype=np.uint16))
    elif mode in ("CMYK", "LAB"):
        image = Image.merge(mode, [pixels.getchannel(i % 3) for i in range(len(mode))])
    else:
        image = pixels.convert(mode)
    arguments = dict(arguments)
    if arguments["format"] in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        exif[ExifTags.Base.Make] = "camera"
        arguments["exif"] = exif
    if arguments.get("save_all"):
        arguments["append_images"] = [image.transpose(Image.Transpose.ROTATE_180)]
    buffer = io.BytesIO()
    image.save(buffer, **arguments)
    return buffer.getvalue()


SOUND = {name: encode(*how) for name, how in FORMATS.items()}


@st.composite
def damages(draw):
    """A list of (where, how) with places as fractions, so that they fit any file."""
    place = st.floats(0, 1, exclude_max=True)
    near_start = st.floats(0, 0.1)  # where headers are
    change = st.one_of(
        st.tuples(st.just("set"), place | near_start, st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("insert"), place | near_start, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("drop"), place | near_start, st.integers(1, 40)),
        st.tuples(st.just("cut"), place, st.none()),
    )
    return draw(st.lists(change, min_size=1, max_size=4))


def damage(raw, changes):
    raw = bytearray(raw)
    for kind, place, what in changes:
        at = int(place * len(raw))
        if kind == "set":
            raw[at : at + len(what)] = what
        elif kind == "insert":
            raw[at:at] = what
        elif kind == "drop":
            del raw[at : at + what]
        else:
            del raw[at:]
    return bytes(raw)


@pytest.mark.parametrize("name", FORMATS)
def test_sound_bytes_decode(name, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(SOUND[name])
    width, height = load_image(path).size
    assert sorted([width, height]) == [12, 17] or name == "ico"


@pytest.mark.parametrize("action", ["error", "ignore"])
@pytest.mark.parametrize("name", FORMATS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=damages())
@example(changes=[("cut", 0.5, None)])
@example(changes=[("set", 0.02, b"\xff\xff\xff\xff")])
@example(changes=[("cut", 0.0, None), ("set", 0.0, b"\n")])  # shorter than what formats look at
def test_damaged_bytes_give_an_image_or_our_error(name, action, changes, tmp_path):
    decoding = Decoding(max_pixels=10**6)  # sizes are damaged too
    path = tmp_path / "image"
    path.write_bytes(damage(SOUND[name], changes))
    with warnings.catch_warnings():
        # Pillow warns of some damage that it can live with; both ways must hold.
        warnings.simplefilter(action)
        try:
            image, message = load_image(path, min_size=4, exact=False, decoding=decoding), None
        except ImageDecodeError as error:
            image, message = None, str(error)
    if image is None:
        assert message.startswith(f"Cannot decode {str(path)!r}: ")
        assert len(message) > len(str(path)) + 30
    else:
        assert image.mode == "RGB"
        assert 0 < image.width * image.height <= 10**6
        assert len(image.tobytes()) == 3 * image.width * image.height
