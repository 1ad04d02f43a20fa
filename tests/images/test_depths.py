"""More than 8 bits, more than 3 bands, no data: one rule for all, or an error that helps."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from dinov2_sklearn.images import Decoding, ImageDecodeError, image_size, load_image

PHOTO = np.ascontiguousarray(load_sample_image("china.jpg")[100:200, 200:350])
GREY = PHOTO.mean(axis=2).astype(np.uint8)
# What the rule must make of the photograph, whose values do not reach both ends.
LOW, HIGH = int(PHOTO.min()), int(PHOTO.max())
STRETCHED = np.rint((PHOTO.astype(float) - LOW) * 255 / (HIGH - LOW)).astype(np.uint8)


def load(source, **decoding):
    return np.asarray(load_image(source, decoding=Decoding(**decoding)))


def grey_stretched(values):
    values = values.astype(float)
    grey = np.rint((values - values.min()) * 255 / (values.max() - values.min()))
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def tiff(values, **arguments):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **arguments)
    return buffer.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(values):
    """Write 16 bits of any number of channels."""
    height, width, n_bands = values.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[n_bands]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def ppm(values):
    height, width = values.shape[:2]
    return f"P6 {width} {height} 65535\n".encode() + values.astype(">u2").tobytes()


ALPHA = np.full((*PHOTO.shape[:2], 1), 4095, np.uint16)
TWELVE = PHOTO.astype(np.uint16) * 16
RGB = {"photometric": "rgb"}
COLOUR = {
    "png": png(TWELVE),
    "png, interlaced nothing, alpha": png(np.concatenate([TWELVE, ALPHA], axis=2)),
    "png by another encoder": imagecodecs.png_encode(TWELVE),
    "ppm": ppm(TWELVE),
    "jpeg 2000": imagecodecs.jpeg2k_encode(TWELVE, level=0, reversible=True),
    "tiff": tiff(TWELVE, **RGB),
    "tiff, big-endian": tiff(TWELVE, byteorder=">", **RGB),
    "tiff, planes": tiff(np.moveaxis(TWELVE, -1, 0), planarconfig="separate", **RGB),
    "tiff, tiles, deflate": tiff(TWELVE, tile=(64, 64), compression="zlib", predictor=True, **RGB),
    "tiff, lzw": tiff(TWELVE, compression="lzw", predictor=True, **RGB),
    "tiff, bigtiff": tiff(TWELVE, bigtiff=True, **RGB),
    "tiff, 32 bits": tiff(TWELVE.astype(np.uint32) * 1000, **RGB),
    "tiff, signed": tiff(TWELVE.astype(np.int16) - 2000, **RGB),
    "tiff, float": tiff(PHOTO.astype(np.float32) / 255 - 0.5, **RGB),
    "tiff, half": tiff(TWELVE.astype(np.float16), **RGB),
    "tiff, double": tiff(TWELVE.astype(np.float64), **RGB),
    "tiff, alpha": tiff(np.concatenate([TWELVE, ALPHA], 2), extrasamples=["unassalpha"], **RGB),
    "tiff, 4 bands": tiff(np.concatenate([TWELVE, ALPHA // 9], 2), extrasamples=[0], **RGB),
    "tiff, 5 bands": tiff(np.concatenate([TWELVE, TWELVE[..., :2]], axis=2), **RGB),
    "tiff, 3 bands of no kind": tiff(
        TWELVE, photometric="minisblack", planarconfig="contig", extrasamples=[0, 0]
    ),
}


@pytest.mark.parametrize("name", COLOUR)
def test_colours_share_one_range(name):
    assert np.abs(load(COLOUR[name]).astype(int) - STRETCHED).max() <= 1
    assert_array_equal(load(COLOUR[name], value_range=(0, 1e9)).max(), 1 if "32" in name else 0)


GREYS = {
    "png": png(TWELVE[..., :1]),
    "png, alpha": png(np.concatenate([TWELVE[..., :1], ALPHA], axis=2)),
    "tiff": tiff(TWELVE[..., 0]),
    "tiff, alpha": tiff(
        np.concatenate([TWELVE[..., :1], ALPHA], 2),
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    ),
    "tiff, unsigned 32 bits": tiff(TWELVE[..., 0].astype(np.uint32) << 20),
    "tiff, signed bytes": tiff((PHOTO[..., 0].astype(int) - 128).astype(np.int8)),
    "tiff, float": tiff(PHOTO[..., 0].astype(np.float32)),
    "tiff, stack": tiff(np.stack([TWELVE[..., 0], TWELVE[..., 1]]), photometric="minisblack"),
    "array": TWELVE[..., 0],
    "array with an axis": TWELVE[..., :1],
}


@pytest.mark.parametrize("name", GREYS)
def test_greys(name):
    assert np.abs(load(GREYS[name]).astype(int) - grey_stretched(PHOTO[..., 0])).max() <= 1


def test_white_is_zero():
    assert_array_equal(
        load(tiff(TWELVE[..., 0], photometric="miniswhite")),
        255 - grey_stretched(PHOTO[..., 0]),
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(4, 4000), st.integers(0, 2**31), st.sampled_from([-1, 1]))
def test_a_few_hot_pixels_change_nothing_but_themselves(n_pixels, seed, side):
    rng = np.random.default_rng(seed)
    values = rng.integers(20_000, 24_000, (n_pixels // 20 + 20, 20)).astype(np.uint16)
    hot = values.copy()
    # Fewer than one in a thousand; in an image of few pixels there is no such few.
    n_hot = values.size // 1200
    hot.flat[rng.choice(values.size, n_hot, replace=False)] = 65535 if side > 0 else 0
    seen = load(hot)
    usual = load(values)
    assert np.abs(seen[hot == values].astype(int) - usual[hot == values]).max(initial=0) <= 3


def test_a_range_fixes_what_is_black_and_white_for_a_collection():
    dark = (TWELVE // 4).astype(np.uint16)
    assert np.abs(load(dark).astype(int) - load(TWELVE)).max() <= 2
    fixed = {"value_range": (0, 4080)}
    assert_array_equal(load(TWELVE, **fixed), PHOTO)
    assert abs(load(dark, **fixed).mean() - PHOTO.mean() / 4) < 1
    assert_array_equal(load(PHOTO, **fixed), PHOTO)  # bytes are brightness already


@pytest.mark.parametrize("text", ["-9999", "-9999.0 ", "nan"])
def test_no_data_counts_for_no_range(text):
    hole = PHOTO[..., 0].astype(np.float32)
    hole[:30] = float(text)
    content = tiff(hole, extratags=[(42113, "s", 0, text, True)])
    seen = load(content)
    assert not seen[:30].any()
    assert np.abs(seen[30:].astype(int) - grey_stretched(PHOTO[30:, :, 0])).max() <= 1
    colour = np.repeat(hole[..., None], 3, axis=2)
    content = tiff(colour, extratags=[(42113, "s", 0, text, True)], **RGB)
    assert_array_equal(load(content), seen)


def test_the_least_float_is_no_data():
    hole = PHOTO[..., 0].astype(np.float32)
    hole[:30] = np.finfo(np.float32).min
    assert np.abs(load(hole)[30:].astype(int) - grey_stretched(PHOTO[30:, :, 0])).max() <= 1


@pytest.mark.parametrize("n_bands", [1, 2, 3, 4, 5, 13])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bands_are_chosen_or_asked_for(n_bands, dtype):
    bands = np.stack([np.full((8, 9), 10 * band, dtype) for band in range(1, n_bands + 1)], axis=2)
    layout = {"planarconfig": "contig"} if n_bands > 1 else {}
    content = tiff(bands, photometric="minisblack", **layout)
    if n_bands in (2, 5, 13):
        with pytest.raises(ImageDecodeError, match=f"has {n_bands} bands.*bands="):
            load(content)
    else:
        assert load(content).shape == (8, 9, 3)
    fixed = {"value_range": (0, 255)}
    for chosen in [(n_bands,), (n_bands, 1, max(1, n_bands - 1))]:
        expected = [10 * band for band in (chosen * 3)[:3]]
        assert load(content, bands=chosen, **fixed)[0, 0].tolist() == expected
        assert load(bands, bands=chosen, **fixed)[0, 0].tolist() == expected
    with pytest.raises(ImageDecodeError, match=f"has {n_bands} band.*asks for others"):
        load(content, bands=(n_bands + 1,))


def test_bands_of_usual_files_too(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    assert_array_equal(load(tmp_path / "a.png", bands=(3, 2, 1)), PHOTO[..., ::-1])
    assert_array_equal(load(tmp_path / "a.png", bands=(2,))[..., 0], PHOTO[..., 1])
    Image.fromarray(GREY).save(tmp_path / "b.png")
    with pytest.raises(ImageDecodeError, match="has 1 band"):
        load(tmp_path / "b.png", bands=(1, 2, 3))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_deep_tiffs_are_turned(orientation):
    content = tiff(TWELVE, extratags=[(274, "H", 1, orientation, True)], **RGB)
    upright = Image.fromarray(STRETCHED)
    upright.getexif()[274] = orientation
    assert_array_equal(load(content), ImageOps.exif_transpose(upright))


@pytest.mark.parametrize(
    ("decoding", "word"),
    [
        ({"value_range": (5, 1)}, "the lower first"),
        ({"value_range": (0, float("nan"))}, "two numbers"),
        ({"value_range": "wide"}, "two numbers"),
        ({"bands": (0, 1, 2)}, "counted from 1"),
        ({"bands": (1, 2)}, "one or three"),
        ({"max_pixels": 0}, "max_pixels must be 1"),
        ({"truncated": "maybe"}, "'refuse' or 'accept'"),
    ],
)
def test_impossible_choices(decoding, word):
    with pytest.raises(ValueError, match=word):
        Decoding(**decoding)


def test_only_what_is_not_the_default_is_in_a_caches_key():
    assert Decoding(max_pixels=None, storage_options={"key": "secret"}).settings() == {}
    assert Decoding(value_range=(0, 4095)).settings() == {"value_range": [0.0, 4095.0]}
    assert hash(Decoding(storage_options={"a": 1})) == hash(Decoding())


def test_a_thousand_bands_are_no_image():
    content = tiff(
        np.zeros((4, 4, 1000), np.uint16), photometric="minisblack", planarconfig="contig"
    )
    with pytest.raises(ImageDecodeError, match="1000 bands, more than the 256"):
        load(content, bands=(1,))


def test_a_tiff_of_two_gigapixels_is_refused_by_its_header():
    content = bytearray(tiff(TWELVE, **RGB))
    for tag in (256, 257):
        at = content.index(struct.pack("<HHI", tag, 4, 1))
        content[at + 8 : at + 12] = struct.pack("<I", 45_000)
    with pytest.raises(ImageDecodeError, match="2025000000 pixels are more than max_pixels"):
        load(bytes(content))


def test_a_raw_file_of_a_camera_is_not_its_thumbnail():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(PHOTO[::8, ::8], subifds=1, subfiletype=1, **RGB)
        file.write(PHOTO, **RGB)
    content = buffer.getvalue()
    with pytest.raises(ImageDecodeError, match="thumbnail, as in a camera's raw file"):
        load(content)


@pytest.mark.parametrize(
    "values",
    [
        PHOTO / 255,
        (PHOTO / 255).astype(np.float32),
        PHOTO.astype(np.int64),
        torch.from_numpy(PHOTO).permute(2, 0, 1),
        torch.from_numpy(PHOTO).permute(2, 0, 1) / 255,
        np.concatenate([PHOTO, np.zeros_like(PHOTO[..., :1])], axis=2),
    ],
    ids=["float64", "float32", "int64", "tensor", "float tensor", "alpha never filled in"],
)
def test_arrays_that_mean_bytes(values):
    assert_array_equal(load(values), PHOTO)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_on_nothing_is_seen(dtype):
    most = np.iinfo(dtype).max
    alpha = np.multiply(PHOTO[..., 1], most // 255, dtype=dtype)
    logo = np.dstack([np.full_like(alpha, most)] * 3 + [alpha])
    seen = load(logo, value_range=(0, most))
    assert_allclose(seen, np.repeat(PHOTO[..., 1:2], 3, axis=2), atol=1)
    # With anything dark on it, it lies on white, as all others do.
    logo[0, 0] = [0, 0, 0, most]
    on_white = load(logo, value_range=(0, most))
    assert (on_white[0, 0] == 0).all()
    assert (on_white[1:] == 255).all()
    # What is white itself stays white, and what is nothing at all.
    for opacity in (0, most):
        logo[:] = [most, most, most, opacity]
        assert (load(logo, value_range=(0, most)) == 255).all()


def test_size_is_told_without_decoding():
    for content in COLOUR.values():
        assert image_size(content) == (150, 100)
