"""From the page of a map to labels and lists: what a reader does, and what Python reads of it."""

import csv
import json
import re

import numpy as np
import pytest
from browsing import (
    COPIES,
    GROUPS,
    ROWS,
    SELECTED,
    SHARPNESS,
    N,
    chosen,
    drag,
    eventually,
    hover,
    n_chosen,
    pixels_of,
    save,
    settle,
    wait_for,
    whole_stage,
)

from dinov2_sklearn import load_labels, load_selection
from dinov2_sklearn.selection import read_selection, write_selection

pytestmark = pytest.mark.slow

# Of the grid of 6 x 10 points: what lies in these rows and columns.
BOXES = {"wren": (0, 0, 2, 3), "robin": (3, 0, 6, 3), "owl": (0, 6, 3, 10)}


def rows_in(box):
    top, left, bottom, right = box
    return [10 * i + j for i in range(top, bottom) for j in range(left, right)]


def around(page, rows):
    """Outline rows of the map with some room."""
    where = pixels_of(page, rows)
    (left, top), (right, bottom) = where.min(axis=0) - 9, where.max(axis=0) + 9
    return [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]


def enclosed(page, outline):
    where = pixels_of(page)
    (left, top), (right, bottom) = np.min(outline, axis=0), np.max(outline, axis=0)
    inside = (where > [left, top]) & (where < [right, bottom])
    return np.flatnonzero(inside.all(axis=1)).tolist()


def name(page, label):
    page.fill("#labels input[list]", label)
    page.locator("#labels input[list]").press("Enter")


def labels_of(page, folder, paths):
    """Read what the page downloads, by path."""
    (folder / "labels.csv").write_bytes(save(page, "#save-labels").read_bytes())
    return load_labels(folder / "labels.csv", paths).tolist()


@pytest.fixture
def labelled(page, paths):
    """Lasso three groups and name them; what there should be then."""
    expected = [None] * N
    page.keyboard.press("l")
    for label, box in BOXES.items():
        outline = around(page, rows_in(box))
        drag(page, outline)
        name(page, label)
        for row in enclosed(page, outline):
            expected[row] = label
    return expected


def test_what_is_lassoed_and_named_is_what_python_reads(page, labelled, folder, paths):
    assert {label for label in labelled if label} == set(BOXES)
    n_labelled = sum(label is not None for label in labelled)
    said = f"{n_labelled} labelled, {N - n_labelled} left"
    assert page.inner_text("#labels output") == said
    page.reload()
    wait_for(page)
    assert page.inner_text("#labels output") == said
    assert labels_of(page, folder, paths) == labelled
    # One name more, then taken back.
    page.keyboard.press("b")
    drag(page, whole_stage(page))
    name(page, "all the same")
    assert set(labels_of(page, folder, paths)) == {"all the same"}
    assert page.inner_text("#labels-said") == f"{N} labelled all the same."
    page.keyboard.press("u")
    assert page.inner_text("#labels-said") == ""  # as it is no longer so
    assert labels_of(page, folder, paths) == labelled
    # By key, and in another spelling of a name.
    page.keyboard.press("Escape")
    for row, how in [(59, lambda: page.keyboard.press("2")), (58, lambda: name(page, " OWL"))]:
        page.keyboard.press("Escape")
        page.mouse.click(*pixels_of(page, [row])[0])
        how()
    labelled[59], labelled[58] = "robin", "owl"
    assert "as owl is spelled already" in page.inner_text("#labels-said")
    assert labels_of(page, folder, paths) == labelled
    name(page, "")
    assert page.inner_text("#labels-said") == "Give a name."
    page.click("#unlabel")  # what is selected still
    labelled[58] = None
    assert labels_of(page, folder, paths) == labelled
    with (folder / "labels.csv").open(newline="", errors="surrogateescape") as file:
        assert next(csv.reader(file)) == ["path", "label", "row"]
    (folder / "labels.json").write_bytes(save(page, "#save-labels-json").read_bytes())
    assert load_labels(folder / "labels.json", paths).tolist() == labelled


def test_a_file_of_labels_goes_on_where_it_is_dropped(page, labelled, folder, paths):
    labels_of(page, folder, paths)
    page.evaluate("addEventListener('pagehide', () => localStorage.clear())")
    page.reload()
    wait_for(page)
    assert page.inner_text("#labels output") == ""

    def drop(file, text):
        page.evaluate(
            """([name, bytes]) => {
              const files = new DataTransfer();
              files.items.add(new File([Uint8Array.from(bytes)], name));
              document.body.dispatchEvent(
                new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
            }""",
            [file, list(text)],
        )
        eventually(page, "#labels-said").to_contain_text(file)
        return page.inner_text("#labels-said")

    for text in [b"path,label\r\nelsewhere.png,owl\r\n", b"a,b\r\n1,2\r\n", b"[1", b"", b"{}"]:
        drop("other.csv", text)
        assert page.inner_text("#labels output") == ""
    said = drop("labels.csv", (folder / "labels.csv").read_bytes())
    n_labelled = sum(label is not None for label in labelled)
    assert said == f"{n_labelled} labels taken from labels.csv."
    assert labels_of(page, folder, paths) == labelled
    page.keyboard.press("u")
    assert page.inner_text("#labels output") == ""
    moved = f"path,label\r\nC:\\elsewhere\\{paths[7].name},owl\r\n".encode()
    assert drop("moved.csv", moved) == (
        "1 labels taken from moved.csv. "
        "1 of them by the images' names alone: their paths there are others."
    )
    assert page.inner_text("#labels output").startswith("1 labelled, ")
    page.keyboard.press("u")
    with page.expect_file_chooser() as chooser:
        page.click("#load-labels")
    chooser.value.set_files(folder / "labels.csv")
    eventually(page, "#labels output").not_to_be_empty()
    assert labels_of(page, folder, paths) == labelled


def test_neighbours_are_those_of_the_embeddings(page, folder):
    units = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
    similarity = units @ units.T
    np.fill_diagonal(similarity, -np.inf)
    for row in [0, 33, 59]:
        hover(page, row)
        expected = np.argsort(-similarity[row])[:12].tolist()
        assert page.get_attribute("#card .near", "data-rows") == ",".join(map(str, expected))
    page.keyboard.press("k")
    assert chosen(page, folder) == [59, *expected]
    page.click("#pictures button >> nth=1")
    page.click("#add-near")
    near = np.argsort(-similarity[expected[0]])[:12]
    more = [row for row in near.tolist() if row not in [59, *expected]]
    assert chosen(page, folder) == [59, *expected, *more]


def test_a_filter_hides_exactly_what_lies_outside(page, folder):
    page.click("#legend button[title='Show or hide what is in it']:has-text('sharpness')")
    page.locator("input[aria-label='sharpness: least']").fill("100")
    page.locator("input[aria-label='sharpness: most']").fill("300")
    low, high = (SHARPNESS[-1] * share for share in (0.25, 0.75))
    inside = (low <= SHARPNESS) & (high >= SHARPNESS)
    page.keyboard.press("b")
    for with_missing in [True, False]:
        if not with_missing:
            page.click("#legend .missing input")
        drag(page, whole_stage(page))
        shown = inside | (np.isnan(SHARPNESS) & with_missing)
        assert chosen(page, folder) == np.flatnonzero(shown).tolist()
        assert f"{shown.sum()} of {N} points shown." in page.inner_text("#notice")
    # Of two columns, what both leave in; the colours are another matter.
    page.click("#legend .toggle:has-text('bee')")
    drag(page, whole_stage(page))
    assert chosen(page, folder) == np.flatnonzero(inside & (GROUPS != "bee")).tolist()
    assert page.locator("#tools select").input_value() == "label"
    for _ in range(2):
        page.click("#legend .all >> nth=0")
    drag(page, whole_stage(page))
    assert n_chosen(page) == N


def test_the_tray_sorts_and_saves_as_the_command_line_does(page, folder, paths):
    rows = [41, 9, 22, 3, 5, 40]
    for row in rows:
        page.mouse.click(*pixels_of(page, [row])[0])

    def in_tray():
        settle(page)
        cells = page.locator("#pictures button").evaluate_all(
            "cells => cells.map(c => +c.dataset.row)"
        )
        return cells

    assert in_tray() == rows
    page.select_option("#sort", label="by sharpness")
    assert in_tray() == sorted(rows)
    page.select_option("#sort", label="by pick")
    assert in_tray()[:2] == [40, 3]
    page.select_option("#sort", label="by name")
    assert in_tray() == sorted(rows, key=lambda row: str(paths[row]).lower())
    page.select_option("#sort", label="by likeness to the last clicked")
    page.click("#pictures [data-row='22']")
    assert in_tray()[0] == 22
    page.click("#remove")
    rows.remove(22)
    assert chosen(page, folder) == rows
    # Whatever it is sorted by, files have it in the order of choosing.
    names = [str(paths[row]) for row in rows]
    for format, suffix in [("csv", ".csv"), ("json", ".json"), ("txt", ".txt")]:
        file, own = folder / f"page{suffix}", folder / f"own{suffix}"
        file.write_bytes(save(page, "#save", format).read_bytes())
        assert load_selection(file, paths).tolist() == rows
        assert list(read_selection(file).paths) == names
        write_selection(own, paths, rows)
        if format != "json":
            assert file.read_bytes() == own.read_bytes()
    for format in ["coco", "label-studio"]:
        page.select_option("#format", format)
        page.fill("#folder", str(folder))
        file, own = folder / "page.json", folder / "own.json"
        file.write_bytes(save(page, "#save").read_bytes())
        write_selection(own, paths, rows, format=format, root=folder)
        ours, theirs = json.loads(file.read_bytes()), json.loads(own.read_bytes())
        if format == "coco":
            del ours["info"], theirs["info"]  # when it was made, and how
            assert ours == theirs
        else:
            assert [t["data"]["image"] for t in ours] == [t["data"]["image"] for t in theirs]
        assert load_selection(file, paths, root=folder).tolist() == rows
    page.fill("#folder", "/nowhere")
    page.click("#save")
    page.wait_for_selector("#said:has-text('is not inside the folder /nowhere')")


def test_images_stand_on_the_map_when_it_is_near(page):
    assert page.get_attribute("#stage", "data-images") == "0"
    for _ in range(2):
        page.keyboard.press("+")
    page.mouse.move(2, 2)
    eventually(page, "#stage").to_have_attribute("data-images", re.compile("[6-9]|[1-9][0-9]+"))
    page.wait_for_timeout(300)
    settle(page)
    marks = """rows => {
      const canvas = document.querySelector("#marks"), box = canvas.getBoundingClientRect();
      const pen = canvas.getContext("2d");
      return rows.map(row => {
        const [x, y] = placeOf(row);
        return Array.from(pen.getImageData(x - box.left - 15, y - box.top - 10, 1, 1).data);
      });
    }"""
    box = page.locator("#stage").bounding_box()
    inside = pixels_of(page, SELECTED)
    seen = [
        row
        for row, (x, y) in zip(SELECTED, inside, strict=True)
        if 40 < x - box["x"] < box["width"] - 40 and 40 < y - box["y"] < box["height"] - 40
    ]
    assert seen  # a pick has its image whatever is near it
    for row, pixel in zip(seen, page.evaluate(marks, seen), strict=True):
        quarters = np.random.default_rng(row).integers(0, 255, size=(2, 2, 3), dtype=np.uint8)
        assert pixel[3] == 255
        assert np.abs(np.array(pixel[:3]) - quarters[0, 0]).max() < 40
    page.click("#images")
    eventually(page, "#stage").to_have_attribute("data-images", "0")


def test_one_of_each_group_of_copies_is_shown_and_opened_by_a_click(page, folder):
    page.keyboard.press("g")
    page.keyboard.press("b")
    drag(page, whole_stage(page))
    firsts = [row for row in range(N) if COPIES[row] not in COPIES[:row]]
    firsts[0] = 3  # the one that is picked
    assert chosen(page, folder) == sorted(firsts)
    page.keyboard.press("Escape")
    page.mouse.click(*pixels_of(page, [3])[0])
    assert chosen(page, folder) == [0, 1, 2, 3]
    page.keyboard.press("Escape")
    drag(page, whole_stage(page))
    assert n_chosen(page) == N
    page.keyboard.press("g")
    page.keyboard.press("Escape")
    page.mouse.click(*pixels_of(page, [2])[0])
    page.click("#add-copies")
    assert chosen(page, folder) == [2, 0, 1, 3]


def test_review_accepts_changes_and_skips(page, folder, paths):
    page.keyboard.press("r")  # of the picks
    assert page.inner_text("#reviewing output") == "1 of 3"
    expected = [None] * N
    assert page.inner_text("#reviewing p.name") == str(paths[40])
    page.wait_for_selector("#reviewing .large img")
    first = page.inner_text("#reviewing .proposals button >> nth=0")
    assert first.split() == ["Enter", *GROUPS[40].split()]
    page.keyboard.press("Enter")
    expected[40] = GROUPS[40]
    assert page.inner_text("#reviewing output") == "2 of 3"
    page.fill("#reviewing form input", "gull")
    page.locator("#reviewing form input").press("Enter")
    expected[3] = "gull"
    assert page.inner_text("#reviewing output") == "3 of 3"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("s")
    page.keyboard.press("2")
    # Taken back is what was named last, and it is shown again, whatever was passed since.
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("u")
    assert page.inner_text("#reviewing p.name") == str(paths[15])
    page.keyboard.press("2")
    expected[15] = "gull"
    page.select_option("#reviewing select", label="sharpness, high first")
    order = sorted(SELECTED, key=lambda row: -SHARPNESS[row])
    for row in order:
        assert page.inner_text("#reviewing p.name") == str(paths[row])
        page.keyboard.press("s")
    page.keyboard.press("Escape")
    assert page.is_hidden("#reviewing")
    assert labels_of(page, folder, paths) == expected


def test_kinds_are_searched(show, folder):
    from browsing import POINTS

    from dinov2_sklearn.projection import ProjectionDisplay

    kinds = [f"site {i // 2} of the north" for i in range(N)]
    ProjectionDisplay(POINTS, labels=kinds).write_html(folder / "kinds.html")
    page = show(folder / "kinds.html")
    page.fill("#legend input[type=search]", "north 17")
    assert page.locator("#legend .toggle").count() == 1
    page.hover("#legend .group")
    page.click("#legend .group button:has-text('select')")
    assert chosen(page, folder) == [34, 35]
    page.hover("#legend .group")
    page.click("#legend .group button:has-text('only')")
    assert f"2 of {N} points shown." in page.inner_text("#notice")


def test_without_storage_the_page_says_so_and_labels_all_the_same(show, main_page, folder, paths):
    page = show(
        main_page,
        script="Storage.prototype.setItem = () => { throw new Error('full') };"
        "Storage.prototype.getItem = () => { throw new Error('none') };",
    )
    page.mouse.click(*pixels_of(page, [33])[0])
    name(page, "owl")
    page.wait_for_selector("#labels-said:has-text('keeps no labels')")
    assert labels_of(page, folder, paths)[33] == "owl"
