"""Damaged files never stop a run and never change another image's row."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dinov2_sklearn import DINOv2Transformer

FORMATS = ["JPEG", "PNG", "TIFF", "GIF", "WEBP"]


@pytest.fixture(scope="module")
def encoded(image_folder):
    """The bytes of a real image in each format."""
    image = Image.open(image_folder[5]).convert("RGB").resize((90, 70))
    contents = {}
    for name in FORMATS:
        buffer = io.BytesIO()
        image.save(buffer, name)
        contents[name] = buffer.getvalue()
    return contents


@st.composite
def _damages(draw):
    """A function that cuts, overwrites or repeats parts of a file, most often near its start."""
    kind = draw(st.sampled_from(["cut", "overwrite", "insert", "remove"]))
    place = draw(st.one_of(st.floats(0, 0.05), st.floats(0, 1)))
    junk = draw(st.binary(min_size=1, max_size=40))

    def damage(content):
        at = int(place * len(content))
        tail = {
            "cut": b"",
            "overwrite": junk + content[at + len(junk) :],
            "insert": junk + content[at:],
            "remove": content[at + len(junk) :],
        }
        return content[:at] + tail[kind]

    return damage


@given(damages=st.lists(_damages(), min_size=len(FORMATS), max_size=len(FORMATS)))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.filterwarnings("ignore")  # of Pillow and of the rows that are NaN
def test_damage_stays_in_its_row(tiny_dinov2, image_folder, encoded, tmp_path, damages):
    mixed, good = [], []
    for path, name, damage in zip(image_folder, FORMATS, damages, strict=False):
        damaged = tmp_path / f"damaged.{name.lower()}"
        damaged.write_bytes(damage(encoded[name]))
        good.append(len(mixed))
        mixed += [path, str(damaged)]
    rows = DINOv2Transformer(tiny_dinov2, on_error="nan").transform(mixed)
    expected = DINOv2Transformer(tiny_dinov2).transform([mixed[i] for i in good])
    np.testing.assert_allclose(rows[good], expected, atol=1e-5)
    # A file that is damaged is a row of NaN or, where it can still be read, of numbers.
    finite = np.isfinite(rows)
    assert (finite.all(axis=1) | ~finite.any(axis=1)).all()


def test_half_of_many_paths_are_bad(tiny_dinov2, image_folder, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8 no more")
    paths = [
        path
        for i in range(5000)
        for path in (image_folder[i % 6], str(tmp_path / (f"{i}.jpg" if i % 5 else "bad.jpg")))
    ]
    embed = DINOv2Transformer(tiny_dinov2, on_error="nan")
    with pytest.warns(UserWarning, match=r"5000 of 10000 images.*\n(.*\n){10}.*and 3991 more"):
        rows = embed.transform(paths)
    np.testing.assert_array_equal(np.isnan(rows).any(axis=1), np.arange(10000) % 2 == 1)
    np.testing.assert_array_equal(rows[:12:2], embed.transform(image_folder))
