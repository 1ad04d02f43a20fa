"""Formats beyond the usual, files that only look damaged, and images in other forms than files."""

import gc
import io
import os
import resource
import struct
import subprocess
import sys

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 - registers itself
import pytest
from numpy.testing import assert_array_equal
from PIL import ExifTags, Image, PngImagePlugin, features
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from sklearn.datasets import load_sample_image

from dinov2_sklearn import list_images
from dinov2_sklearn.images import Decoding, ImageBytes, ImageDecodeError, ImageRef, load_image
from dinov2_sklearn.images.decoding._formats import jxl_size

pillow_heif.register_heif_opener()
PHOTO = load_sample_image("china.jpg")[100:228, 200:392]


def encoded(format, image=None, **arguments):
    buffer = io.BytesIO()
    (image or Image.fromarray(PHOTO)).save(buffer, format, **arguments)
    return buffer.getvalue()


FILES = {
    "a.jfif": lambda: encoded("JPEG", quality=95),
    "a.jpe": lambda: encoded("JPEG", quality=95),
    "a.mpo": lambda: encoded("MPO", quality=95),
    "a.jp2": lambda: encoded("JPEG2000"),
    "a.j2k": lambda: encoded("JPEG2000", no_jp2=True),
    "a.ppm": lambda: encoded("PPM"),
    "a.pgm": lambda: encoded("PPM", Image.fromarray(PHOTO).convert("L")),
    "a.pbm": lambda: encoded("PPM", Image.fromarray(PHOTO).convert("1")),
    "a.dds": lambda: encoded("DDS"),
    "a.sgi": lambda: encoded("SGI"),
    "a.tga": lambda: encoded("TGA"),
    "a.pcx": lambda: encoded("PCX"),
    "a.ico": lambda: encoded("ICO", sizes=[(192, 128)]),
    "a.heic": lambda: encoded("HEIF", quality=95),
    "a.jxl": lambda: encoded("JXL", quality=95),
}
if "avif" in features.modules and features.check("avif"):  # unknown to older versions of Pillow
    FILES["a.avif"] = lambda: encoded("AVIF", quality=95)


@pytest.mark.parametrize("name", FILES)
def test_formats_are_listed_and_decoded(name, tmp_path):
    (tmp_path / name).write_bytes(FILES[name]())
    (path,) = list_images(tmp_path)
    seen = np.asarray(load_image(path)).astype(int)
    expected = PHOTO
    if name in ("a.pgm", "a.pbm"):
        mode = {"a.pgm": "L", "a.pbm": "1"}[name]
        expected = np.asarray(Image.fromarray(PHOTO).convert(mode).convert("RGB"))
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).mean() < 4


@pytest.mark.parametrize("name", ["a.jp2", "a.ppm", "a.dds", "a.sgi", "a.tga", "a.heic", "a.jxl"])
def test_a_bomb_of_each_format_is_refused(name, tmp_path):
    (tmp_path / name).write_bytes(FILES[name]())
    with pytest.raises(ImageDecodeError, match=r"pixels are more than max_pixels=1000"):
        load_image(tmp_path / name, decoding=Decoding(max_pixels=1000))


@pytest.mark.parametrize("size", [(1, 1), (8, 16), (640, 480), (300, 300), (70_000, 9)])
def test_the_size_of_jpeg_xl_is_read_before_it_is_decoded(size):
    content = encoded("JXL", Image.new("RGB", size, "red"))
    assert jxl_size(io.BytesIO(content)) == size


def test_an_add_on_that_is_missing_is_named(tmp_path):
    (tmp_path / "a.heic").write_bytes(FILES["a.heic"]())
    (tmp_path / "b.png").write_bytes(encoded("PNG"))
    code = (
        "import sys, warnings; sys.modules['pillow_heif'] = None\n"
        "import importlib.util as util; real = util.find_spec\n"
        "import dinov2_sklearn.images.decoding._formats as formats\n"
        "formats.find_spec = lambda name: None if name == 'pillow_heif' else real(name)\n"
        "from dinov2_sklearn.images import list_images, load_image\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    print(len(list_images(sys.argv[1])), caught[0].message)\n"
        "try: load_image(sys.argv[1] + '/a.heic')\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, tmp_path], capture_output=True, text=True
    )
    first, second = done.stdout.splitlines()
    assert first.startswith("1 1 files in the folder")
    for line in (first, second):
        assert 'pip install "dinov2-sklearn[formats]"' in line


def test_a_plugin_that_raises_gives_our_error(tmp_path):
    class Broken(Image.Image):
        def __init__(self, file, name):
            raise RuntimeError("the plugin broke")

    Image.register_open("BROKEN", Broken, lambda prefix: prefix.startswith(b"brkn"))
    try:
        (tmp_path / "a.png").write_bytes(b"brkn and more")
        with pytest.raises(ImageDecodeError, match="the plugin broke"):
            load_image(tmp_path / "a.png")
    finally:
        Image.ID.remove("BROKEN")
        del Image.OPEN["BROKEN"]


def dicom(values, **fields):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    dataset.Modality = "CT"
    if values is not None:
        dataset.Rows, dataset.Columns = values.shape[-2:]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelRepresentation = 0
        dataset.PixelData = values.astype("<u2").tobytes()
    for name, value in fields.items():
        setattr(dataset, name, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


RAMP = np.arange(0, 4000, 1000).reshape(2, 2)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [0, 85, 170, 255]),
        ({"PhotometricInterpretation": "MONOCHROME1"}, [255, 170, 85, 0]),
        ({"WindowCenter": 1500, "WindowWidth": 1000}, [0, 0, 255, 255]),
        (
            {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 0, "WindowWidth": 2000},
            [0, 255, 255, 255],
        ),
        ({"PixelPaddingValue": 3000}, [0, 128, 255, 0]),
    ],
)
def test_dicom(fields, expected):
    assert np.asarray(load_image(dicom(RAMP, **fields)))[..., 0].ravel().tolist() == expected


def test_dicom_takes_the_first_frame_and_a_given_range(tmp_path):
    content = dicom(np.stack([RAMP, RAMP * 9]), NumberOfFrames=2, WindowCenter=9, WindowWidth=2)
    (tmp_path / "a.dcm").write_bytes(content)
    (path,) = list_images(tmp_path)
    fixed = load_image(path, decoding=Decoding(value_range=(0, 6000)))
    assert np.asarray(fixed)[..., 0].ravel().tolist() == [0, 42, 85, 128]


def test_dicom_without_pixels_says_so():
    with pytest.raises(ImageDecodeError, match=r"has no pixels \(modality SR\)"):
        load_image(dicom(None, Modality="SR"))


def test_a_jpeg_that_lacks_its_end_alone_decodes():
    content = encoded("JPEG", quality=92)
    assert content.endswith(b"\xff\xd9")
    assert_array_equal(load_image(content[:-2]), load_image(content))
    small = load_image(content[:-2], min_size=16, exact=False)
    assert_array_equal(small, load_image(content, min_size=16, exact=False))
    for n_bytes in (10, 40, 400, 4000):
        with pytest.raises(ImageDecodeError, match="truncated"):
            load_image(content[: -2 - n_bytes])


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_truncated_files_are_accepted_where_one_asks_for_it(format):
    content = encoded(format)
    cut = content[: len(content) // 2]
    with pytest.raises(ImageDecodeError, match="truncated"):
        load_image(cut)
    seen = np.asarray(load_image(cut, decoding=Decoding(truncated="accept"))).astype(int)
    assert np.abs(seen[:20] - PHOTO[:20]).mean() < 8
    assert np.abs(seen - PHOTO).mean() > 20
    with pytest.raises(ImageDecodeError, match="truncated"):
        load_image(cut)


@pytest.mark.parametrize("kind", ["zTXt", "tEXt", "iTXt"])
def test_text_is_no_part_of_the_picture(kind):
    note = PngImagePlugin.PngInfo()
    if kind == "iTXt":
        note.add_itxt("history", "x" * 3_000_000, zip=True)
    else:
        note.add_text("history", "x" * 3_000_000, zip=kind == "zTXt")
    assert_array_equal(load_image(encoded("PNG", pnginfo=note)), PHOTO)


def test_an_alpha_that_nobody_filled_in_counts_as_none(tmp_path):
    blank = np.zeros((*PHOTO.shape[:2], 1), np.uint8)
    bgra = np.concatenate([PHOTO[::-1, :, ::-1], blank], axis=2)
    height, width = PHOTO.shape[:2]
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, bgra.nbytes, 0, 0, 0, 0)
    head += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + b"\0" * 48
    start = struct.pack("<IHHI", 14 + len(head) + bgra.nbytes, 0, 0, 14 + len(head))
    assert_array_equal(load_image(b"BM" + start + head + bgra.tobytes()), PHOTO)
    rgba = Image.fromarray(np.concatenate([PHOTO, blank], axis=2))
    for format in ("PNG", "TGA", "TIFF"):
        (tmp_path / "a.tga").write_bytes(encoded(format, rgba))
        assert_array_equal(load_image(tmp_path / "a.tga"), PHOTO)


def test_encoded_bytes_in_all_forms(tmp_path):
    content = encoded("PNG")
    (tmp_path / "a.png").write_bytes(content)
    path = str(tmp_path / "a.png")
    read = ImageRef(path).read()
    assert read.digest == ImageRef(path).digest()
    forms = [content, bytearray(content), read, {"bytes": content, "path": None}]
    forms += [{"bytes": None, "path": path}, memoryview(content)]
    for form in forms:
        assert_array_equal(load_image(form), PHOTO)
    with pytest.raises(ImageDecodeError) as info:
        load_image(b"\0no image" * 10_000)
    assert "90000 bytes that begin with" in str(info.value)
    assert len(str(info.value)) < 400
    with pytest.raises(ImageDecodeError, match=r"'b.jpg': not an image"):
        load_image(ImageBytes(b"words", "b.jpg"))


def test_what_is_decoded_otherwise_than_before_is_no_content_that_a_cache_knows(tmp_path):
    same = [encoded("JPEG"), encoded("PNG"), encoded("GIF"), encoded("BMP"), encoded("WEBP")]
    deep = Image.fromarray(np.arange(6, dtype=np.uint16).reshape(2, 3))
    other = [encoded("PNG", deep), encoded("TIFF", deep), encoded("PNG", Image.new("RGBA", (1, 1)))]
    for content in [*same, *other]:
        (tmp_path / "a").write_bytes(content)
        plain = ImageRef(str(tmp_path / "a")).digest()  # as 0.1.0 made it
        assert (ImageBytes(content, "a").digest == plain) is (content in same)


def test_an_image_made_from_an_opened_one_is_as_it_is_shown(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(PHOTO).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        assert load_image(opened).size == (128, 192)
        by_hand = opened.rotate(-90, expand=True)
        assert_array_equal(load_image(by_hand), by_hand)
        assert_array_equal(load_image(opened), by_hand)


def test_opened_images_stay_unloaded_and_memory_flat(tmp_path):
    paths = []
    for format in ("jpg", "png", "tif", "webp", "gif", "bmp"):
        paths.append(tmp_path / f"a.{format}")
        Image.fromarray(PHOTO).resize((1600, 1200)).save(paths[-1])
    images = [Image.open(path) for path in paths * 6]
    expected = [np.asarray(load_image(path)) for path in paths]
    for image, pixels in zip(images[: len(paths)], expected, strict=True):
        assert_array_equal(load_image(image), pixels)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for image in images:
        load_image(image)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 60_000  # kilobytes; their pixels are 200,000
    for image in images:
        image.close()


def test_frames_that_are_sought_are_the_ones_shown(tmp_path):
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.tif") as image:
        image.seek(1)
        assert load_image(image).getpixel((0, 0)) == (0, 0, 255)
        image.seek(0)
        assert load_image(image).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.skipif(os.name == "nt", reason="reads the list of open files")
def test_no_file_stays_open(tmp_path):
    for name in FILES:
        (tmp_path / name).write_bytes(FILES[name]())
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for path in list_images(tmp_path):
        load_image(path)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
