"""check_images: every container that holds images becomes a list; all else is a clear error."""

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dinov2_sklearn.images import check_images

PATHS = ["b.jpg", "a ü.png", "b.jpg"]


def check(X):
    return check_images(X, estimator_name="Estimator")


CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "object array": lambda paths: np.array(paths, dtype=object),
    "column array": lambda paths: np.array(paths, dtype=object).reshape(-1, 1),
    "pandas series": pd.Series,
    "pandas objects": lambda paths: pd.Series(paths, dtype=object, index=[5, 5, 7][: len(paths)]),
    "pandas categories": lambda paths: pd.Series(paths, dtype="category"),
    "pandas frame": lambda paths: pd.DataFrame({"x": paths}),
    "pandas index": pd.Index,
    "polars series": pl.Series,
    "polars frame": lambda paths: pl.DataFrame({"x": paths}),
    "pathlike": lambda paths: [Path(path) for path in paths],
    "bytes": lambda paths: [os.fsencode(path) for path in paths],
}


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_paths_in_any_container_become_a_list_of_str(container):
    result = check(container(PATHS))
    assert result == PATHS
    assert type(result) is list
    assert all(type(path) is str for path in result)


@given(st.lists(st.text(min_size=1), min_size=1))
def test_any_text_is_a_path_in_its_place(paths):
    assert check(paths) == paths
    assert check(np.array(paths, dtype=object)) == paths


def test_images_are_passed_through_as_they_are():
    image = Image.new("L", (2, 3))
    arrays = [np.zeros(shape, np.uint8) for shape in [(4, 5), (4, 5, 3), (4, 5, 4)]]
    X = [image, *arrays, "a.jpg"]
    for container in (X, tuple(X), pd.Series(X)):
        result = check(container)
        assert all(one is other for one, other in zip(result, X, strict=True))
    column = np.empty((5, 1), dtype=object)
    column[:, 0] = X
    assert all(one is other for one, other in zip(check(column), X, strict=True))


def test_other_forms_become_the_four_that_decoding_knows():
    png = io.BytesIO()
    Image.new("RGB", (2, 3)).save(png, "PNG")
    content = png.getvalue()
    tensor = torch.zeros(3, 4, 5)
    X = [
        content,
        bytearray(content),
        {"bytes": content, "path": "x.png"},
        {"path": "y.png", "bytes": None},
    ]
    *read, path, array = check([*X, tensor])
    assert [image.content for image in read] == [content] * 3
    assert read[2].address == "x.png"
    assert path == "y.png"
    assert array.shape == (4, 5, 3)
    assert [one.shape for one in check(torch.zeros(2, 3, 4, 5))] == [(4, 5, 3)] * 2


def test_stack_of_images_is_split_along_the_first_axis():
    stack = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    result = check(stack)
    assert len(result) == 3
    for one, other in zip(result, stack, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.shares_memory(one, stack)


@pytest.mark.parametrize("X", ["photos", Path("photos"), b"photos", np.str_("photos")])
def test_single_path_is_pointed_to_list_images(X):
    with pytest.raises(ValueError, match=r"Estimator .* list_images\(path\)"):
        check(X)


@pytest.mark.parametrize(
    "X", [Image.new("RGB", (3, 3)), np.zeros((9, 8, 3), np.uint8), np.zeros((9, 8, 4), np.uint8)]
)
def test_single_image_is_to_be_wrapped(X):
    with pytest.raises(ValueError, match=r"Estimator takes several images.*\[image\]"):
        check(X)


@pytest.mark.parametrize(
    "X",
    [
        [],
        (),
        np.array([]),
        np.empty((0, 2)),
        np.empty((0, 8, 8, 3), np.uint8),
        pd.Series([], dtype=str),
    ],
)
def test_nothing_at_all(X):
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\).*Estimator.*paths"):
        check(X)


@pytest.mark.parametrize(
    "X",
    [
        [1, 2],
        [[1.0, 2.0]],
        [["a.jpg"]],
        np.zeros((3, 2)),
        np.arange(4),
        np.zeros((2, 8, 8, 3), complex),
        np.zeros((5, 8, 8), np.uint8),
        [np.zeros((8, 8, 3), complex)],
        [np.zeros(8, np.uint8)],
        np.array("a.jpg"),
        pd.DataFrame({"x": [1.0, 2.0]}),
        pl.DataFrame({"x": [1, 2]}),
        sp.csr_matrix((3, 1)),
        sp.csr_array((3, 1)),
        {"a": "a.jpg"},
        {"a.jpg"},
        iter(["a.jpg"]),
        None,
        5,
    ],
)
def test_what_holds_no_images(X):
    with pytest.raises(TypeError, match=r"Estimator takes paths .*; got an? .*"):
        check(X)


def test_first_wrong_element_is_named():
    with pytest.raises(TypeError, match="element of type int at position 2"):
        check(["a.jpg", "b.jpg", 3, 4])
    with pytest.raises(TypeError, match=r"dtype float64 and shape \(2,\) at position 1"):
        check(["a.jpg", np.zeros(2)])


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, np.float64("nan")])
def test_missing_values_are_named_by_position(missing):
    with pytest.raises(ValueError, match=r"Estimator got missing values .* positions 1, 3"):
        check(["a.jpg", missing, "b.jpg", missing])
    with pytest.raises(ValueError, match=r"positions 0, 1, 2, 3, 4, \.\.\. \(8 in all\)"):
        check([missing] * 8)
    with pytest.raises(ValueError, match="positions 1"):
        check(pd.Series(["a.jpg", missing]))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_several_columns_are_named(frame):
    with pytest.raises(ValueError, match=r"'image_path', 'label'\. Pick one"):
        check(frame({"image_path": ["a.jpg"], "label": ["cat"]}))
    with pytest.raises(ValueError, match=r"shape \(1, 2\). Pick one"):
        check(np.array([["a.jpg", "cat"]]))
