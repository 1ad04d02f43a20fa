"""load_image: what each hard image must become, and which error a bad one must give."""

import math
import os
import pickle
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import ExifTags, Image, ImageFile

from dinov2_sklearn.images import Decoding, ImageDecodeError, Preprocessing, load_image
from dinov2_sklearn.images.decoding._pillow import _OneAtATime, _Settings

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
SIZE = (6, 4)


def wide(values, dtype):
    """A row of values as a grey image of more than 8 bits."""
    return Image.fromarray(np.array([values], dtype=dtype))


def palette_image(transparency):
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    image.info["transparency"] = transparency
    return image


def keyed(mode, values, transparency):
    image = Image.new(mode, (len(values), 1))
    image.putdata(values)
    image.info["transparency"] = transparency
    return image


def greys(*values):
    return [(v, v, v) for v in values]


# name: (file name, image, arguments of save, RGB of the first row, tolerance)
CASES = {
    "rgb png": ("a.png", Image.new("RGB", SIZE, RED), {}, [RED] * 6, 0),
    "bmp": ("a.bmp", Image.new("RGB", SIZE, RED), {}, [RED] * 6, 0),
    "cmyk jpeg, stored inverted": (
        "a.jpg",
        Image.new("CMYK", SIZE, (0, 255, 255, 0)),
        {"quality": 95},
        [RED] * 6,
        3,
    ),
    "cmyk tiff": ("a.tif", Image.new("CMYK", SIZE, (255, 0, 255, 0)), {}, [GREEN] * 6, 0),
    # CIE: sRGB red is L* 54.3, a* 80.8, b* 69.9 under D50; white is 100, 0, 0.
    "lab tiff, red": ("a.tif", Image.new("LAB", SIZE, (138, 209, 198)), {}, [RED] * 6, 6),
    "lab tiff, white": ("a.tif", Image.new("LAB", SIZE, (255, 128, 128)), {}, [WHITE] * 6, 1),
    "ycbcr tiff": ("a.tif", Image.new("YCbCr", SIZE, (76, 85, 255)), {}, [RED] * 6, 3),
    "palette": ("a.png", palette_image(None), {}, [RED, GREEN, BLUE], 0),
    "palette, one clear entry": ("a.png", palette_image(1), {}, [RED, WHITE, BLUE], 0),
    "palette, alpha of each entry": (
        "a.png",
        palette_image(bytes([255, 0, 128])),
        {},
        [RED, WHITE, (127, 127, 255)],
        0,
    ),
    "palette gif, one clear entry": ("a.gif", palette_image(1), {}, [RED, WHITE, BLUE], 0),
    "rgba, half clear": ("a.png", Image.new("RGBA", SIZE, (0, 0, 0, 128)), {}, greys(127) * 6, 0),
    "rgba webp, clear": (
        "a.webp",
        Image.new("RGBA", SIZE, (9, 9, 9, 0)),
        {"lossless": True},
        [WHITE] * 6,
        0,
    ),
    "la": ("a.png", Image.new("LA", SIZE, (0, 64)), {}, greys(191) * 6, 0),
    "grey with a clear value": ("a.png", keyed("L", [7, 8], 7), {}, greys(255, 8), 0),
    "rgb with a clear value": ("a.png", keyed("RGB", [RED, BLUE], RED), {}, [WHITE, BLUE], 0),
    "1-bit": ("a.png", keyed("1", [0, 255], None), {}, greys(0, 255), 0),
    "1-bit tiff": ("a.tif", keyed("1", [0, 255], None), {}, greys(0, 255), 0),
    "1-bit with a clear value": ("a.png", keyed("1", [0, 255], 0), {}, greys(255, 255), 0),
    "12 bits in a 16-bit png": ("a.png", wide([0, 1024, 4095], "u2"), {}, greys(0, 64, 255), 0),
    "16-bit png, offset": ("a.png", wide([500, 510, 520], "u2"), {}, greys(0, 128, 255), 0),
    "16-bit tiff": ("a.tif", wide([0, 32768, 65535], "u2"), {}, greys(0, 128, 255), 0),
    "16-bit tiff, compressed": (
        "a.tif",
        wide([0, 32768, 65535], "u2"),
        {"compression": "tiff_lzw"},
        greys(0, 128, 255),
        0,
    ),
    "16-bit big-endian tiff": ("a.tif", wide([1, 2, 5], ">u2"), {}, greys(0, 64, 255), 0),
    "32-bit tiff": ("a.tif", wide([-10, 0, 10], "i4"), {}, greys(0, 128, 255), 0),
    "float tiff": ("a.tif", wide([-1.0, 0.0, 3.0], "f4"), {}, greys(0, 64, 255), 0),
    "float tiff with holes": (
        "a.tif",
        wide([np.nan, 0.25, 0.5, 0.75, np.inf, -np.inf], "f4"),
        {},
        greys(0, 0, 128, 255, 255, 0),
        0,
    ),
    "float tiff of one value": ("a.tif", wide([7.5, 7.5, np.nan], "f4"), {}, greys(128, 128, 0), 0),
    "float tiff of holes": ("a.tif", wide([np.nan, np.nan], "f4"), {}, greys(0, 0), 0),
    "16-bit png of one value": ("a.png", wide([300, 300], "u2"), {}, greys(128, 128), 0),
    "png named jpg": ("a.jpg", Image.new("RGB", SIZE, BLUE), {"format": "PNG"}, [BLUE] * 6, 0),
    "no extension": ("picture", Image.new("RGB", SIZE, BLUE), {"format": "PNG"}, [BLUE] * 6, 0),
}
if int(PIL.__version__.split(".")[0]) < 13:
    del CASES["ycbcr tiff"]  # it cannot read the one that it has written
FRAMES = [Image.new("RGB", SIZE, colour) for colour in (RED, GREEN, BLUE)]
for name, arguments in {
    "a.gif": {},
    "a.webp": {"lossless": True},
    "a.png": {},
    "a.tif": {},
}.items():
    CASES[f"frames of {name}"] = (
        name,
        FRAMES[0],
        {"save_all": True, "append_images": FRAMES[1:], **arguments},
        [RED] * 6,
        0,
    )


def save_case(case, folder):
    name, image, arguments, expected, tolerance = CASES[case]
    path = folder / name
    image.save(path, **arguments)
    return path, expected, tolerance


@pytest.mark.parametrize("case", CASES)
def test_hard_image_becomes_what_it_shows(case, tmp_path):
    path, expected, tolerance = save_case(case, tmp_path)
    image = load_image(path)
    assert image.mode == "RGB"
    assert image.info == {}
    assert_allclose(np.asarray(image)[0].astype(int), expected, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_pil_image_is_as_its_file_and_is_not_changed(case, tmp_path):
    path, _, _ = save_case(case, tmp_path)
    with Image.open(path) as image:
        image.load()
        before = image.tobytes(), image.mode, dict(image.info)
        result = load_image(image)
        assert (image.tobytes(), image.mode, dict(image.info)) == before
        assert result is not image
    assert_array_equal(result, load_image(path))


def test_16_bit_key_is_white_and_does_not_count_for_the_range(tmp_path):
    path = tmp_path / "a.png"
    image = wide([60000, 100, 200], "u2")
    image.save(path)
    # A tRNS chunk, which Pillow does not write for this mode, goes in front of the pixel data.
    raw, chunk = path.read_bytes(), b"tRNS" + struct.pack(">H", 60000)
    chunk = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    at = raw.index(b"IDAT") - 4
    path.write_bytes(raw[:at] + chunk + raw[at:])
    assert_array_equal(np.asarray(load_image(path))[0], greys(255, 0, 255))


@pytest.mark.parametrize("mode", ["HSV", "RGBX", "RGBa", "La", "PA"])
def test_modes_that_only_memory_holds(mode):
    opaque = {
        "HSV": (0, 255, 255),
        "RGBX": (*RED, 0),
        "RGBa": (128, 0, 0, 128),
        "La": (0, 255),
        "PA": None,
    }
    expected = {"RGBa": (255, 127, 127), "La": (0, 0, 0)}.get(mode, RED)
    if mode == "PA":
        image = Image.new("RGB", SIZE, RED).convert("P").convert("PA")
    else:
        image = Image.new(mode, SIZE, opaque[mode])
    assert load_image(image).getpixel((0, 0)) == expected


def test_16_bit_tiff_with_zero_as_white_is_inverted(tmp_path):
    path = tmp_path / "a.tif"
    wide([0, 25, 100], "u2").save(path)
    raw = bytearray(path.read_bytes())
    entry = raw.index(struct.pack("<HHI", 262, 3, 1))
    assert raw[entry + 8] == 1
    raw[entry + 8] = 0
    path.write_bytes(raw)
    assert_array_equal(np.asarray(load_image(path))[0], greys(255, 191, 0))


# From the EXIF standard: which side of the scene the stored first row and first column are.
ROW_AND_COLUMN = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def store(scene, orientation):
    """Rearrange an upright array into rows and columns as a camera would store them."""
    row, column = ROW_AND_COLUMN[orientation]
    stored = scene if row in ("top", "bottom") else scene.transpose(1, 0, 2)
    if row in ("bottom", "right"):
        stored = stored[::-1]
    return stored[:, ::-1] if column in ("bottom", "right") else stored


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("a.jpg", {"quality": 95, "subsampling": 0}),
        ("a.png", {}),
        ("a.webp", {"lossless": True}),
        ("a.tif", {}),
        ("b.tif", {"compression": "tiff_lzw"}),
    ],
)
def test_exif_orientation(orientation, name, arguments, tmp_path):
    scene = np.zeros((32, 48, 3), dtype=np.uint8)
    scene[:16, :24], scene[:16, 24:], scene[16:, :24] = RED, GREEN, BLUE
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / name
    stored = Image.fromarray(np.ascontiguousarray(store(scene, orientation)))
    stored.save(path, exif=exif, **arguments)
    image = load_image(path)
    assert image.size == (48, 32)
    assert_allclose(np.asarray(image).astype(int), scene.astype(int), atol=4)
    assert_array_equal(load_image(image), image)  # not turned a second time
    with Image.open(path) as opened:
        assert_array_equal(load_image(opened), image)


def test_damaged_exif_counts_as_none(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", SIZE, RED).save(path, exif=b"Exif\0\0II*\0\xff\xff")
    assert_allclose(load_image(path).getpixel((0, 0)), RED, atol=3)


def test_arrays():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert_array_equal(load_image(rgb), rgb)
    assert_array_equal(load_image(rgb[::-1, ::2]), rgb[::-1, ::2])
    assert_array_equal(load_image(rgb[..., 0]), rgb[..., [0, 0, 0]])
    opaque = np.concatenate([rgb, np.full((5, 7, 1), 255, np.uint8)], axis=2)
    assert_array_equal(load_image(opaque), rgb)
    result = load_image(rgb)
    result.putpixel((0, 0), (1, 2, 3))
    assert not np.array_equal(np.asarray(result), rgb)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), complex),
        np.zeros((3, 40, 50), np.uint8),
        np.array([["a"]]),
        np.zeros(4, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
    ],
)
def test_array_that_is_no_image(array):
    with pytest.raises(ImageDecodeError, match=r"array of shape .* and dtype"):
        load_image(array)


@pytest.mark.parametrize("source", [None, 3, [1], 2.5])
def test_source_of_another_type(source):
    with pytest.raises(TypeError, match=f"type {type(source).__name__}"):
        load_image(source)


def test_empty_pil_image():
    with pytest.raises(ImageDecodeError, match="no pixels"):
        load_image(Image.new("RGB", (0, 5)))


def make_png(width, height):
    """A valid all-black 1-bit PNG, made without holding its pixels."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    compressor, row = zlib.compressobj(1), bytes(1 + (width + 7) // 8)
    pixels = b"".join(compressor.compress(row * 100) for _ in range(height // 100))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
        + chunk(b"IDAT", pixels + compressor.flush())
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("width", [18_000, 40_000])
def test_bomb_is_an_error_without_a_warning(width, tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(make_png(width, 10_000))
    assert path.stat().st_size < 1_000_000
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ImageDecodeError) as info:
            load_image(path)
    assert caught == []
    for part in (f"{width} x 10000", "max_pixels=178956970", "bomb.png"):
        assert part in str(info.value)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "gif", "bmp", "jpg"])
def test_bomb_limit_is_ours_and_not_pillows(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (40, 30)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert load_image(path).size == (40, 30)
    assert load_image(path, decoding=Decoding(max_pixels=1200)).size == (40, 30)
    assert load_image(path, decoding=Decoding(max_pixels=None)).size == (40, 30)
    for limit in (1199, 100):
        with pytest.raises(
            ImageDecodeError, match=f"1200.* pixels are more than max_pixels={limit}"
        ):
            load_image(path, decoding=Decoding(max_pixels=limit))


def cut(name, folder, **arguments):
    path = folder / name
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **arguments)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


def bad_files(folder):
    """Every kind of file that must fail, with a word that its error must have."""
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("this is no picture at all")
    (folder / "page.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n")
    (folder / "folder.jpg").mkdir()
    (folder / "head.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "link.jpg").symlink_to("nowhere.jpg")
    return {
        folder / "empty.jpg": "empty",
        folder / "text.jpg": "begins with b'this is no pictu'",
        folder / "page.eps": "not an image that can be read",
        folder / "folder.jpg": "a folder",
        folder / "head.png": "truncated or damaged",
        folder / "link.jpg": "link to 'nowhere.jpg', which is missing",
        folder / "missing.jpg": "no such file",
        folder / ("x" * 300): "cannot be read",
        folder / "nul\0byte.jpg": "null",
        cut("cut.jpg", folder): "JPEG file is truncated or damaged",
        cut("cut.png", folder): "PNG file is truncated or damaged",
        cut("cut.gif", folder): "GIF file is truncated or damaged",
        cut("cut.tif", folder): "TIFF file is truncated or damaged",
        cut("cut.webp", folder, lossless=True): "WEBP file is truncated or damaged",
        cut("cut.bmp", folder): "BMP file is truncated or damaged",
    }


def test_bad_files_are_named_with_their_cause(tmp_path):
    for path, word in bad_files(tmp_path).items():
        with pytest.raises(ImageDecodeError) as info:
            load_image(path)
        assert word in str(info.value), str(info.value)
        assert repr(str(path)) in str(info.value)
        assert info.value.source == str(path)
        copy = pickle.loads(pickle.dumps(info.value))
        assert (type(copy), str(copy), copy.reason) == (
            ImageDecodeError,
            str(info.value),
            info.value.reason,
        )


def test_unreadable_file(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", SIZE).save(path)
    path.chmod(0o444)
    assert load_image(path).size == SIZE
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(ImageDecodeError, match="permission"):
        load_image(path)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_name_that_is_no_text(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff\xfe.png"
    Path(os.fsdecode(name)).write_bytes(make_png(16, 100))
    assert load_image(name).size == load_image(os.fsdecode(name)).size == (16, 100)


def open_files():
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs a list of open files")
def test_files_are_closed_whatever_happens(tmp_path):
    paths = []
    for i, case in enumerate(CASES):
        folder = tmp_path / str(i)
        folder.mkdir()
        paths.append(save_case(case, folder)[0])
    bad = bad_files(tmp_path)
    before = open_files()
    images = [load_image(path) for path in paths]
    errors = []
    for path in bad:
        try:
            load_image(path)
        except ImageDecodeError as error:  # kept, with the frames that it refers to
            errors.append(error)
    assert len(images) == len(paths)
    assert len(errors) == len(bad)
    assert open_files() == before


def test_truncated_file_is_an_error_although_another_library_allows_it(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    paths = [cut("cut.jpg", tmp_path), cut("cut.png", tmp_path)] * 20

    def fails(path):
        try:
            load_image(path)
        except ImageDecodeError:
            return True
        return False

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(fails, paths))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_switch_is_put_back_in_a_forked_child(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    switch = _Settings()
    inside = switch(False, 100)
    inside.__enter__()
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    switch.reset()  # as the child does, whose parent was in the middle of a decode
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    with switch(False, 100):
        assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def scene_jpeg(path, width, height):
    """A picture with shapes and texture, as a JPEG."""
    rng = np.random.default_rng(width)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    picture = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    picture[height // 3 : height // 2, width // 4 : width // 2] = (200, 30, 60)
    picture += rng.integers(-12, 13, picture.shape)
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(path, quality=92)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 300))
def test_draft_never_goes_below_twice_the_target(tmp_path_factory, width, height, min_size):
    path = tmp_path_factory.getbasetemp() / "draft.jpg"
    Image.new("RGB", (width, height)).save(path)
    draft = load_image(path, min_size=min_size, exact=False)
    assert min(draft.size) >= min(2 * min_size, width, height)
    step = max(s for s in (1, 2, 4, 8) if s == 1 or min(width, height) >= 2 * min_size * s)
    assert draft.size == (math.ceil(width / step), math.ceil(height / step))
    assert load_image(path, min_size=min_size).size == (width, height)
    assert load_image(path, exact=False).size == (width, height)


@pytest.mark.parametrize(("width", "height", "factor"), [(1600, 1200, 2), (2400, 3200, 4)])
def test_draft_changes_what_the_model_sees_by_little(tmp_path, width, height, factor):
    path = tmp_path / "a.jpg"
    scene_jpeg(path, width, height)
    preprocessing = Preprocessing()
    draft = load_image(path, min_size=preprocessing.min_size, exact=False)
    assert draft.size == (width // factor, height // factor)
    seen = preprocessing.to_display(draft).astype(int)
    exact = preprocessing.to_display(load_image(path)).astype(int)
    assert np.abs(seen - exact).mean() < 1.0
    assert np.corrcoef(seen.ravel(), exact.ravel())[0, 1] > 0.999


def test_target_below_one_pixel_is_refused():
    with pytest.raises(ValueError, match="min_size must be 1 or more, got 0"):
        load_image("a.jpg", min_size=0)


def test_draft_leaves_other_formats_alone(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (400, 400)).save(path)
    assert load_image(path, min_size=10, exact=False).size == (400, 400)


def test_threads_decode_as_one_does(tmp_path):
    paths = []
    for i in range(12):
        paths.append(tmp_path / f"{i}.jpg")
        scene_jpeg(paths[-1], 100 + i, 80)
    one = [np.asarray(load_image(path)) for path in paths]
    with ThreadPoolExecutor(6) as pool:
        for expected, image in zip(one * 4, pool.map(load_image, paths * 4), strict=True):
            assert_array_equal(image, expected)


def test_threads_share_an_image_that_is_not_decoded_yet(tmp_path):
    scene_jpeg(tmp_path / "a.jpg", 640, 480)
    expected = np.asarray(load_image(tmp_path / "a.jpg"))
    for _ in range(5):
        with Image.open(tmp_path / "a.jpg") as image, ThreadPoolExecutor(4) as pool:
            for got in pool.map(load_image, [image] * 8):
                assert_array_equal(got, expected)


def test_no_image_stays_locked_in_a_forked_child():
    locks, image = _OneAtATime(), Image.new("RGB", SIZE)
    assert locks(image) is locks(image)
    with locks(image):
        locks.reset()  # as the child does, where the thread that holds the lock is not
        assert locks(image).acquire(blocking=False)


def test_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageDecodeError, match="no regular file, but a pipe"):
        load_image(tmp_path / "pipe.jpg")
