"""Reading preprocessor_config.json in the forms that checkpoints have."""

import json

import numpy as np
import pytest
from PIL import Image
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

from dinov2_sklearn.images import Preprocessing

STATISTICS = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}

# As saved with the DINOv3 ViT checkpoints: what is not used is null.
DINOV3 = json.loads(
    """{"crop_size": null, "data_format": "channels_first", "default_to_square": true,
    "device": null, "do_center_crop": null, "do_convert_rgb": null, "do_normalize": true,
    "do_rescale": true, "do_resize": true, "image_mean": [0.485, 0.456, 0.406],
    "image_processor_type": "DINOv3ViTImageProcessorFast", "image_std": [0.229, 0.224, 0.225],
    "input_data_format": null, "resample": 2, "rescale_factor": 0.00392156862745098,
    "return_tensors": null, "size": {"height": 224, "width": 224}}"""
)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 210}},
            {"resize": 256, "crop": (224, 210)},
        ),
        ({"size": 256, "crop_size": 224}, {"resize": 256, "crop": (224, 224)}),
        ({"size": [256, 300], "crop_size": [224, 210]}, {"resize": (256, 300), "crop": (224, 210)}),
        ({"size": 224}, {"resize": (224, 224), "crop": None}),
        (
            {"size": 224, "default_to_square": False, "do_center_crop": False},
            {"resize": 224, "crop": None},
        ),
        (
            {"size": 256, "crop_size": 224, "default_to_square": True},
            {"resize": (256, 256), "crop": (224, 224)},
        ),
        (
            {"size": {"shortest_edge": 9, "longest_edge": None}, "do_center_crop": False},
            {"resize": 9, "crop": None},
        ),
        ({"do_resize": False, "crop_size": 28}, {"resize": None, "crop": (28, 28)}),
        ({"do_resize": False, "do_rescale": False}, {"resize": None, "rescale": None}),
        ({"do_resize": False, "image_std": 0.5}, {"std": (0.5, 0.5, 0.5)}),
        ({"do_resize": False, "do_normalize": False}, {"mean": None, "std": None}),
        ({"size": 28, "rescale_factor": 0.5, "resample": 2}, {"rescale": 0.5, "resample": 2}),
    ],
)
def test_forms_of_config(config, expected):
    read = Preprocessing.from_config({**STATISTICS, **config})
    assert {name: getattr(read, name) for name in expected} == expected


def test_dinov3():
    assert Preprocessing.from_config(DINOV3) == Preprocessing(
        resize=(224, 224), crop=None, resample=2
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"size": {"shortest_edge": 64}, "crop_size": 56},
        {"size": {"height": 40, "width": 50}, "crop_size": {"height": 28, "width": 42}},
        {"do_center_crop": False, "size": {"height": 28, "width": 28}},
        {"do_rescale": False},
        {"do_normalize": False},
        {"do_resize": False, "crop_size": 28},
    ],
)
def test_what_transformers_saves_is_read_as_it_means_it(arguments, tmp_path):
    processor = BitImageProcessorPil(**arguments)
    processor.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "preprocessor_config.json").read_text())
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    expected = processor(image, return_tensors="np")["pixel_values"][0]
    result = Preprocessing.from_config(config)(image)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "no 'size' although 'do_resize' is not false; it has image_mean, image_std"),
        ({"size": {"shortest_edge": 224}}, "no crop_size"),
        ({"size": {"shortest_edge": 224, "longest_edge": 300}, "crop_size": 4}, "'size' must be"),
        ({"size": {"longest_edge": 224}}, "'size' must be .* got {'longest_edge': 224}"),
        ({"size": "224"}, "'size' must be"),
        ({"size": 0}, "'size' must be"),
        ({"size": True}, "'size' must be"),
        ({"size": [224]}, "'size' must be"),
        ({"size": 9, "do_center_crop": True}, "no 'crop_size' although 'do_center_crop'"),
        ({"size": 9, "crop_size": {"height": 9}}, "'crop_size' must be"),
        ({"size": 9, "crop_size": [9, 0.5]}, "'crop_size' must be"),
        ({"size": 9, "resample": "bicubic"}, "'resample' must be"),
        ({"size": 9, "resample": 77}, "resample must be one of"),
        ({"size": 9, "image_mean": None}, "no 'image_mean'"),
        ({"size": 9, "image_std": [1, 1]}, "'image_std' must be"),
        ({"size": 9, "image_std": [1, 0, 1]}, "std must be positive"),
        ({"size": 9, "do_pad": True, "do_flip_channel_order": True}, "unknown steps: do_pad, do_f"),
    ],
)
def test_config_that_cannot_be_followed_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing.from_config({**STATISTICS, **config})
