"""Preprocessing: agreement with the checkpoint's own processor, and its size rules."""

import pickle

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

from dinov2_sklearn.images import Preprocessing
from dinov2_sklearn.images.preprocessing import _preprocessing as module

DINOV2 = {
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 256},
    "crop_size": {"height": 224, "width": 224},
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
}
OTHER = {
    **DINOV2,
    "size": {"shortest_edge": 31},
    "crop_size": {"height": 40, "width": 23},
    "resample": 2,
    "image_mean": [0.5, 0.4, 0.3],
}
FIXED = {**DINOV2, "size": {"height": 28, "width": 42}, "do_center_crop": False, "resample": 1}
RAW = {**OTHER, "do_normalize": False}
CONFIGS = {"dinov2": DINOV2, "other": OTHER, "fixed": FIXED, "raw": RAW}


def make_image(width, height, kind, seed):
    rng = np.random.default_rng(seed)
    if kind == "noise":
        pixels = rng.integers(0, 256, (height, width, 3))
    elif kind == "black and white":
        pixels = rng.integers(0, 2, (height, width, 3)) * 255
    else:
        pixels = np.add.outer(np.arange(height) * 3, np.arange(width) * 2)[..., None] % [200, 9, 31]
    return Image.fromarray(pixels.astype(np.uint8))


KINDS = st.sampled_from(["noise", "black and white", "pattern"])


def processors_answer(config, image):
    processor = BitImageProcessorPil(**config)
    return processor(image, return_tensors="np")["pixel_values"][0]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 260), st.integers(1, 260), KINDS, st.integers(0, 99))
@example(1, 1, "noise", 0)
@example(1, 40, "noise", 0)
@example(40, 1, "black and white", 0)
@example(700, 30, "black and white", 0)
@example(31, 700, "noise", 0)
@example(256, 257, "noise", 0)
@example(640, 427, "noise", 0)
def test_equals_the_checkpoints_processor(config, width, height, kind, seed):
    if max(width, height) > 40 * min(width, height):
        width = height = min(width, height)
    image = make_image(width, height, kind, seed)
    preprocessing = Preprocessing.from_config(config)
    expected = processors_answer(config, image)
    result = preprocessing(image)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert result.shape == expected.shape == (3, *preprocessing.output_size(width, height))
    std = config["image_std"] if config["do_normalize"] else [1, 1, 1]
    difference = np.abs(result - expected) * np.reshape(std, (3, 1, 1))
    assert difference.max() < 1e-5  # far below the 1/255 that is promised


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 30), st.integers(200, 1200), st.booleans(), st.integers(0, 99))
def test_window_of_an_elongated_image_is_as_if_cut_from_the_whole(short, long, tall, seed):
    width, height = (short, long) if tall else (long, short)
    # Smooth, since the order of Pillow's passes, which shows at hard edges, may differ.
    image = make_image(-(-width // 8), -(-height // 8), "noise", seed).resize((width, height), 3)
    preprocessing = Preprocessing(resize=40, crop=(35, 32))
    whole = preprocessing.to_display(image)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_RESIZED_PIXELS", 0)
        window = preprocessing.to_display(image)
    assert window.shape == whole.shape == (35, 32, 3)
    assert np.abs(whole.astype(int) - window).max() <= 2


@pytest.mark.parametrize("resample", list(Image.Resampling))
def test_window_pads_as_the_whole_does(resample, monkeypatch):
    image = make_image(40, 3, "noise", 0).resize((500, 11), Image.Resampling.BICUBIC)
    preprocessing = Preprocessing(resize=20, crop=(31, 40), resample=resample)
    whole = preprocessing.to_display(image)
    monkeypatch.setattr(module, "_MOST_RESIZED_PIXELS", 0)
    window = preprocessing.to_display(image)
    padding = np.s_[[*range(5), *range(26, 31)]]
    assert not window[padding].any()
    assert not whole[padding].any()
    assert np.abs(whole.astype(int) - window).max() <= 2


@pytest.mark.parametrize("size", [(65000, 1), (1, 65000)])
def test_line_of_65000_pixels_needs_no_memory_to_speak_of(size):
    # Resized as a whole it would be 256 x 16,640,000 pixels.
    image = Image.new("RGB", size, (10, 200, 30))
    assert_array_equal(
        np.unique(Preprocessing().to_display(image).reshape(-1, 3), axis=0), [[10, 200, 30]]
    )


def test_display_is_what_the_values_are_made_of():
    preprocessing = Preprocessing()
    image = make_image(300, 200, "noise", 1)
    shown = preprocessing.to_display(image)
    assert shown.dtype == np.uint8
    assert shown.shape == (224, 224, 3)
    values = preprocessing(image).transpose(1, 2, 0) * preprocessing.std + preprocessing.mean
    assert_allclose(values * 255, shown, atol=1e-3)


def test_out_is_filled_and_returned():
    preprocessing = Preprocessing()
    image = make_image(50, 40, "noise", 2)
    batch = np.full((2, 3, 224, 224), np.nan, dtype=np.float32)
    assert preprocessing(image, out=batch[1]).base is batch
    assert_array_equal(batch[1], preprocessing(image))
    assert np.isnan(batch[0]).all()
    for out in (np.empty((3, 224, 223), np.float32), np.empty((3, 224, 224))):
        with pytest.raises(ValueError, match="out must be float32 of shape"):
            preprocessing(image, out=out)


def test_image_that_is_not_rgb_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match="mode RGB, got 'L'; load_image"):
        Preprocessing()(Image.new("L", (5, 5)))


def test_steps_left_out_are_left_out():
    image = make_image(9, 7, "noise", 3)
    plain = Preprocessing(resize=None, crop=None, rescale=None, mean=None, std=None)
    assert_array_equal(plain(image).transpose(1, 2, 0), np.asarray(image))
    assert plain.min_size is None
    assert plain.output_size(9, 7) == (7, 9)
    with pytest.raises(ValueError, match="no base size"):
        plain.with_image_size(28, 14)


def test_objects_are_values():
    one, two = Preprocessing.from_config(DINOV2), Preprocessing()
    assert one == two
    assert hash(one) == hash(two)
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != one.with_image_size(518, 14)
    with pytest.raises(AttributeError):
        one.crop = (1, 1)


@given(st.integers(1, 2000), st.integers(1, 32))
def test_image_size_is_the_nearest_multiple_of_the_patch(size, patch):
    resized = Preprocessing().with_image_size(size, patch)
    edge = resized.crop[0]
    assert resized.crop == (edge, edge)
    assert edge >= patch
    assert edge % patch == 0
    assert abs(edge - size) <= patch / 2 or edge == patch
    assert abs(resized.resize / edge - 256 / 224) <= 0.5 / edge + 1e-12
    assert resized.resize >= edge
    assert resized.with_image_size(size, patch).crop == resized.crop


@given(st.floats(0.05, 8), st.sampled_from([(224, 224), (280, 140)]))
def test_scaled_is_relative_to_the_own_size(factor, crop):
    scaled = Preprocessing(crop=crop).scaled(factor, 14)
    for edge, own in zip(scaled.crop, crop, strict=True):
        assert edge % 14 == 0
        assert abs(edge - factor * own) <= 7 + 1e-9 or edge == 14
    assert Preprocessing(crop=crop).scaled(1.0, 14) == Preprocessing(crop=crop)


def test_fixed_sizes_scale_too():
    fixed = Preprocessing(resize=(224, 448), crop=None)
    assert fixed.scaled(0.5, 16).resize == (112, 224)
    assert fixed.with_image_size(256, 16).resize == (256, 256)
    assert fixed.min_size == 448


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.sampled_from([14, 16]),
    st.sampled_from([None, 14 * 16, 1000]),
)
def test_whole_images_are_patches_in_the_images_shape(width, height, patch, longest):
    whole = Preprocessing().keep_aspect(patch, longest)
    out_height, out_width = whole.output_size(width, height)
    assert out_height % patch == 0 < out_height
    assert out_width % patch == 0 < out_width
    cap = 4 * 224 if longest is None else longest
    assert max(out_height, out_width) <= cap
    short, long = sorted((out_height, out_width))
    aspect = max(width, height) / min(width, height)
    if 224 * aspect + patch / 2 < cap:
        assert short == 224
        assert abs(long - 224 * aspect) <= patch / 2
    elif short > patch:
        assert abs(short - long / aspect) <= patch / 2
    if width != height:
        assert (out_height <= out_width) == (height < width) or out_height == out_width


def test_whole_image_is_resized_and_not_cropped():
    image = make_image(100, 60, "pattern", 0)
    whole = Preprocessing().keep_aspect(14)
    assert whole.output_size(100, 60) == (224, 378)
    assert_array_equal(whole.to_display(image), image.resize((378, 224), Image.Resampling.BICUBIC))
    assert whole(image).shape == (3, 224, 378)
    larger = whole.with_image_size(448, 14)
    assert larger.output_size(100, 60) == (448, 742)
    assert larger.longest_edge == 8 * 224
    assert whole.scaled(0.5, 14).output_size(100, 60) == (112, 182)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"resize": 0}, "resize"),
        ({"crop": (224, -1)}, "crop"),
        ({"crop": [224, 224]}, "crop"),
        ({"resample": 9}, "resample"),
        ({"mean": None}, "go together"),
        ({"std": (1.0, 0.0, 1.0)}, "positive"),
        ({"mean": (0.5,), "std": (0.5,)}, "each channel"),
        ({"multiple": 14}, "no crop"),
    ],
)
def test_impossible_values_are_refused(arguments, word):
    with pytest.raises(ValueError, match=word):
        Preprocessing(**arguments)


@pytest.mark.parametrize(
    "call",
    [
        lambda p: p.with_image_size(0, 14),
        lambda p: p.with_image_size(224, 0),
        lambda p: p.scaled(0.0, 14),
        lambda p: p.scaled(float("nan"), 14),
        lambda p: p.keep_aspect(14, longest_edge=13),
    ],
)
def test_impossible_sizes_are_refused(call):
    with pytest.raises(ValueError, match="must"):
        call(Preprocessing())


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from(["pad", "squash"]))
def test_whole_pictures_lie_where_the_window_says(width, height, mode):
    preprocessing = Preprocessing(crop=(224, 168), crop_mode=mode)
    assert preprocessing.output_size(width, height) == (224, 168)
    left, top, right, bottom = preprocessing.window(width, height)
    # All of it, in the middle, to the pixel; of one shape unless squashed.
    assert left <= 1e-6
    assert top <= 1e-6
    assert right >= width - 1e-6
    assert bottom >= height - 1e-6
    x, y = (right - left) / 168, (bottom - top) / 224
    assert abs(left + right - width) <= x + 1e-6
    assert abs(top + bottom - height) <= y + 1e-6
    if mode == "squash":
        np.testing.assert_allclose((left, top, right, bottom), (0, 0, width, height), atol=1e-9)
    elif min(width, height) > 40 and max(width, height) < 10 * min(width, height):
        assert 0.9 < x / y < 1.1
    assert not preprocessing.cuts(width, height)


def test_the_border_is_the_mean_colour_and_the_picture_is_whole():
    image = Image.new("RGB", (400, 100), "red")
    seen = Preprocessing(crop_mode="pad").to_display(image)
    assert seen[0, 0].tolist() == [124, 116, 104]
    red = (seen == [255, 0, 0]).all(axis=2)
    assert red.sum() == 224 * 56
    assert red[84:140].all()
    assert np.abs(Preprocessing(crop_mode="pad")(image)[:, 0, 0]).max() < 0.02
    assert (Preprocessing(crop_mode="squash").to_display(image) == [255, 0, 0]).all()


def test_whole_pictures_scale_and_are_no_other_thing_twice():
    pad = Preprocessing(crop_mode="pad")
    assert pad.with_image_size(448, 14).output_size(5, 9) == (448, 448)
    assert pad.min_size == 224
    with pytest.raises(ValueError, match="Leave one of them out"):
        pad.keep_aspect(14)
    with pytest.raises(ValueError, match="one of 'center', 'pad', 'squash', got 'fit'"):
        Preprocessing(crop_mode="fit")


@pytest.mark.parametrize(
    ("size", "cuts"),
    [((500, 500), False), ((640, 480), False), ((600, 400), False), ((1920, 1080), True)],
)
def test_what_a_centre_crop_hides_is_told_by_the_shape(size, cuts):
    assert Preprocessing().cuts(*size) is Preprocessing().cuts(*size[::-1]) is cuts
    assert not Preprocessing().keep_aspect(14).cuts(*size)
    assert not Preprocessing(resize=(224, 224), crop=None).cuts(*size)
