"""Whatever is done to the bytes of a file, load_image gives an image or an ImageDecodeError."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from dinov2_sklearn.images import ImageDecodeError, load_image

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
}


def encode(mode, arguments):
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(0, 256, (12, 17, 3), dtype=np.uint8))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 5000, (12, 17), dtype=np.uint16))
    elif mode in ("CMYK", "LAB"):
        image = Image.merge(mode, [pixels.getchannel(i % 3) for i in range(len(mode))])
    else:
        image = pixels.convert(mode)
    arguments = dict(arguments)
    if arguments["format"] in ("JPEG", "PNG", "WEBP", "TIFF"):
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
    assert sorted(load_image(path).size) == [12, 17]


@pytest.mark.parametrize("action", ["error", "ignore"])
@pytest.mark.parametrize("name", FORMATS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=damages())
@example(changes=[("cut", 0.5, None)])
@example(changes=[("set", 0.02, b"\xff\xff\xff\xff")])
def test_damaged_bytes_give_an_image_or_our_error(name, action, changes, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**6)  # sizes are damaged too
    path = tmp_path / "image"
    path.write_bytes(damage(SOUND[name], changes))
    with warnings.catch_warnings():
        # Pillow warns of some damage that it can live with; both ways must hold.
        warnings.simplefilter(action)
        try:
            image, message = load_image(path, min_size=4, exact=False), None
        except ImageDecodeError as error:
            image, message = None, str(error)
    if image is None:
        assert message.startswith(f"Cannot decode {str(path)!r}: ")
        assert len(message) > len(str(path)) + 30
    else:
        assert image.mode == "RGB"
        assert 0 < image.width * image.height <= 10**6
        assert len(image.tobytes()) == 3 * image.width * image.height
