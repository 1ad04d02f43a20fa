"""Makes docs/images/formats.jpg: one scene in eight forms, as the model sees each.

Run from the repository's root: ``python docs/formats_scene.py``.
"""

import io
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from sklearn.datasets import load_sample_image

from dinov2_sklearn import contact_sheet
from dinov2_sklearn.images import Decoding, ImageBytes, Preprocessing, load_image

scene = load_sample_image("china.jpg")
twelve = scene.astype(np.uint16) * 16


def encoded(image: Image.Image, format: str) -> bytes:
    """Encode a PIL image."""
    buffer = io.BytesIO()
    image.save(buffer, format)
    return buffer.getvalue()


def tiff(values: np.ndarray, **arguments: object) -> bytes:
    """Encode an array as TIFF."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **arguments)
    return buffer.getvalue()


hot = twelve[..., 1].copy()
hot[:3, :3] = 65535
hole = scene.mean(axis=2).astype(np.float32)
hole[300:] = -9999
unfilled = np.dstack([scene, np.zeros(scene.shape[:2], np.uint8)])
no_data = [(42113, "s", 0, "-9999", True)]
bgrn = np.dstack([twelve[..., ::-1], twelve[..., 1]])
center, pad = Preprocessing(), Preprocessing(crop_mode="pad")
plain = Decoding()
forms = [
    ("8 bits, JPEG", encoded(Image.fromarray(scene), "JPEG"), plain, center),
    ("12 bits in 16, TIFF", tiff(twelve, photometric="rgb"), plain, center),
    (
        "4 bands, bands=(3, 2, 1)",
        tiff(bgrn, photometric="minisblack", planarconfig="contig"),
        Decoding(bands=(3, 2, 1)),
        center,
    ),
    ("12 bits, hot pixels", tiff(hot), plain, center),
    ("float, no data below", tiff(hole, extratags=no_data), plain, center),
    (
        "value_range=(0, 8190)",
        tiff(twelve, photometric="rgb"),
        Decoding(value_range=(0, 8190)),
        center,
    ),
    ("alpha never filled in", encoded(Image.fromarray(unfilled), "PNG"), plain, center),
    ('crop_mode="pad"', encoded(Image.fromarray(scene), "JPEG"), plain, pad),
]
seen = [
    recipe.to_display(load_image(ImageBytes(content, name), decoding=decoding))
    for name, content, decoding, recipe in forms
]
sheet = contact_sheet(seen, [name for name, *_ in forms], columns=4, tile_size=(224, 224))
target = Path(__file__).parent / "images" / "formats.jpg"
sheet.save(target, quality=85)
