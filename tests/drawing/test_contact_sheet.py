"""A contact sheet shows each image in its place, and what stands below it."""

import numpy as np
import pytest
from PIL import Image

from dinov2_sklearn import contact_sheet

TILE, GAP, CAPTION, TITLE = (60, 40), 12, 26, 48
COLORS = ["#ff0000", "#00ff00", "#0000ff", "#ffff00", "#00ffff"]


@pytest.fixture
def pictures():
    return [Image.new("RGB", (90, 60), color) for color in COLORS]


def _place(i, columns, top=GAP):
    """The box of a tile."""
    left = GAP + i % columns * (TILE[0] + GAP)
    upper = top + i // columns * (TILE[1] + CAPTION + GAP)
    return left, upper, left + TILE[0], upper + TILE[1]


def _caption(sheet, i, columns, right=TILE[0]):
    left, _, _, lower = _place(i, columns)
    return np.asarray(sheet.crop((left, lower + 1, left + right, lower + CAPTION)))


def _color(sheet, box):
    (found,) = sheet.crop(box).getcolors()
    return "#{:02x}{:02x}{:02x}".format(*found[1])


@pytest.mark.parametrize("title", [None, "Five of many"])
def test_images_stand_row_by_row(pictures, title):
    sheet = contact_sheet(pictures, columns=3, tile_size=TILE, title=title)
    top = GAP if title is None else TITLE
    assert sheet.size == (3 * (60 + GAP) + GAP, 2 * (40 + CAPTION + GAP) + top)
    assert [_color(sheet, _place(i, 3, top)) for i in range(5)] == COLORS
    assert _color(sheet, _place(5, 3, top)) == "#ffffff"
    above = np.asarray(sheet.crop((0, 0, sheet.width, top - 1)))
    assert (above.min() < 255) == (title is not None)


def test_a_white_picture_is_told_from_the_paper():
    white = np.full((40, 60, 3), 255, dtype=np.uint8)
    sheet = np.asarray(contact_sheet([white] * 2, ["", ""], columns=2, tile_size=TILE))
    for i in range(2):
        left, upper, right, lower = _place(i, 2)
        inside, around = (
            sheet[upper:lower, left:right],
            sheet[upper - 1 : lower + 1, left - 1 : right + 1],
        )
        assert inside.min() == 255
        assert (around < 255).all(axis=2).sum() == 2 * (TILE[0] + 2) + 2 * TILE[1]


def test_few_images_make_a_narrow_sheet(pictures):
    assert contact_sheet(pictures[:2], tile_size=TILE).width == 2 * (60 + GAP) + GAP


def test_images_are_cropped_around_their_middle_and_not_distorted():
    pixels = np.zeros((100, 300, 3), dtype=np.uint8)
    pixels[:, 100:200] = 255  # the middle third is white
    sheet = contact_sheet([pixels], tile_size=(50, 50))
    assert _color(sheet, (GAP + 3, GAP, GAP + 47, GAP + 50)) == "#ffffff"
    sheet = contact_sheet([pixels], tile_size=(100, 50))  # two of three thirds
    row = np.asarray(sheet)[GAP + 25, GAP : GAP + 100, 0]
    np.testing.assert_array_equal(np.flatnonzero(row > 127), np.arange(25, 75))


def test_captions_are_numbers_and_names_or_what_is_given(pictures, tmp_path):
    path = tmp_path / "bird.png"
    pictures[0].save(path)
    named = contact_sheet([path], tile_size=TILE)
    assert named == contact_sheet([pictures[0]], ["1  bird.png"], tile_size=TILE)
    counted = contact_sheet(pictures, tile_size=TILE)
    assert counted == contact_sheet(pictures, ["1  ", "2  ", 3, 4, 5], tile_size=TILE)
    assert counted != contact_sheet(pictures, [2, 2, 3, 4, 5], tile_size=TILE)


@pytest.mark.parametrize("text", ["a" * 500, "line\nbreak\ttab", "\udcff.jpg", "", "鳥"])
def test_no_caption_leaves_its_tile(pictures, text):
    empty = contact_sheet(pictures[:2], ["", ""], columns=2, tile_size=TILE)
    sheet = contact_sheet(pictures[:2], [text, ""], columns=2, tile_size=TILE)
    assert (_caption(sheet, 0, 2).min() < 255) == bool(text)
    changed = np.argwhere((np.asarray(sheet) != np.asarray(empty)).any(axis=2))
    if text:
        rows, columns = changed.T
        assert columns.max() < GAP + TILE[0] + 1
        assert rows.min() >= GAP + TILE[1]
        assert rows.max() < GAP + TILE[1] + CAPTION


def test_long_names_keep_their_begin_and_end(pictures):
    cut = contact_sheet(pictures[:1], ["wwwwwwwwwwwwwwwwwww0123"], tile_size=TILE)
    end = contact_sheet(pictures[:1], ["0123"], tile_size=TILE)
    assert cut != end
    other = contact_sheet(pictures[:1], ["wwwwwwwwwwwwwwwwwww0129"], tile_size=TILE)
    assert cut != other  # frames of one camera differ at the end of their names


def test_the_longest_text_takes_no_longer_than_a_short_one(pictures):
    # Hours, if it were cut letter by letter.
    cut = contact_sheet(pictures[:1], ["w" * 10**5 + "0123"], tile_size=TILE)
    assert cut == contact_sheet(pictures[:1], ["w" * 1000 + "0123"], tile_size=TILE)


def test_nothing_is_written_below_a_tile_without_room_for_dots(pictures):
    empty = contact_sheet(pictures[:1], [""], tile_size=(8, 40))
    assert contact_sheet(pictures[:1], ["bird"], tile_size=(8, 40)) == empty


def test_spaces_of_all_kinds_are_spaces(pictures):
    plain = contact_sheet(pictures[:1], ["12 34"], tile_size=TILE)
    for space in "\xa0\u202f\u3000\n":
        assert contact_sheet(pictures[:1], [f"12{space}34"], tile_size=TILE) == plain


def test_names_of_urls_end_before_their_query():
    with pytest.warns(UserWarning, match="grey tiles"):
        sheet = contact_sheet(["memory://photos/bird.png?token=a/b"], tile_size=TILE)
    with pytest.warns(UserWarning, match="grey tiles"):
        expected = contact_sheet(["memory://photos/bird.png"], tile_size=TILE)
    assert sheet == expected


def test_unreadable_images_are_grey_and_told(pictures, tmp_path):
    (tmp_path / "bad.jpg").write_text("text")
    with pytest.warns(UserWarning, match=r"1 of 2 images.*grey tiles:\n.*bad.jpg'.*not an image"):
        sheet = contact_sheet([tmp_path / "bad.jpg", pictures[1]], columns=2, tile_size=TILE)
    assert [_color(sheet, _place(i, 2)) for i in range(2)] == ["#d0d0d0", COLORS[1]]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"captions": ["a"]}, "5 images and 1 captions"),
        ({"columns": 0}, "whole numbers of 1 or more, got 0"),
        ({"columns": 2.0}, "whole numbers of 1 or more, got 2.0"),
        ({"tile_size": (0, 40)}, r"1 or more, got 6 and \(0, 40\)"),
        ({"tile_size": 40}, "1 or more, got 6 and 40"),
        ({"tile_size": (40.5, 40)}, r"1 or more, got 6 and \(40.5, 40\)"),
        ({"tile_size": (10_000, 10_000)}, "10000 x 10000 pixels would have 50. million pixels"),
        ({"tile_size": (20, 14_000), "columns": 1}, r"in 1 columns would be 44 x 70202.*65500"),
    ],
)
def test_bad_parameters(pictures, params, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet(pictures, **params)


def test_no_image_and_one_path_are_refused():
    with pytest.raises(ValueError, match="0 sample"):
        contact_sheet([])
    with pytest.raises(ValueError, match="contact_sheet takes several images, got the single path"):
        contact_sheet("bird.jpg")
