"""The page of a map in a real browser, from a local file and with the network off."""

import datetime
import json

import numpy as np
import pytest
from browsing import (
    GROUPS,
    NASTY,
    PHONE,
    POINTS,
    SHARPNESS,
    N,
    chosen,
    drag,
    eventually,
    hover,
    n_chosen,
    pixels_of,
    save,
    screenshot,
    settle,
    wait_for,
    whole_stage,
)
from matplotlib.path import Path as Outline
from PIL import Image

from dinov2_sklearn import load_selection
from dinov2_sklearn.projection import ProjectionDisplay

pytestmark = pytest.mark.slow


def test_hovering_a_point_shows_its_picture_and_what_is_known_of_it(page, paths):
    for row in [0, 33, 59]:
        check_card(page, row, paths)
    hover(page, 15)
    assert page.inner_text("#card dl").split("\n")[-2:] == ["pick", "3 of 3"]


def check_card(page, row, paths):
    hover(page, row)
    page.wait_for_selector(f"#card .picture canvas[data-drawn='{row}']")
    assert page.inner_text("#card .name") == paths[row].name
    assert page.inner_text("#card .folder") == str(paths[row].parent) + "/"
    facts = page.inner_text("#card dl").split("\n")
    assert facts[:4] == ["label", GROUPS[row], "sharpness", f"{SHARPNESS[row]:g}"]
    box = page.locator("#card .picture canvas").bounding_box()
    shown = screenshot(page, clip=box)
    with Image.open(paths[row]) as image:
        size = (shown.shape[1], shown.shape[0])
        assert abs(size[0] / size[1] - 1.5) < 0.03
        expected = np.asarray(image.resize(size)).astype(int)
    # Apart from rounded corners, the blur where quarters meet, and lossy colours.
    assert np.median(np.abs(shown - expected)) < 8
    assert np.abs(shown - expected).mean() < 12


def test_a_lasso_takes_exactly_the_rows_it_encloses_whatever_the_colours(page, folder):
    page.click("[data-tool=lasso]")
    where = pixels_of(page)
    middle, reach = where.mean(axis=0), np.ptp(where, axis=0) * 0.45
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    radii = np.random.default_rng(1).uniform(0.3, 1, size=14)[:, None]
    outline = middle + radii * reach * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    inside = np.flatnonzero(Outline(outline.round()).contains_points(where))
    assert 5 < len(inside) < N - 5
    for column in ["label", "sharpness", "selection"]:
        page.select_option("#tools select", label=column)
        drag(page, outline.round())
        assert chosen(page, folder) == inside.tolist()
        assert page.locator("#pictures button").count() > 3
        page.click("#clear")


def test_a_box_selects_shift_adds_a_click_toggles_and_clear_clears(page, folder):
    page.keyboard.press("b")
    where = pixels_of(page)
    low, high = where[[0, 1, 10, 11]].min(axis=0) - 6, where[[0, 1, 10, 11]].max(axis=0) + 6
    boxed = ((where > low) & (where < high)).all(axis=1)
    drag(page, [low, high])
    assert chosen(page, folder) == np.flatnonzero(boxed).tolist()
    low, high = where[58] - 8, where[58] + 8
    page.keyboard.down("Shift")
    drag(page, [low, high])
    page.keyboard.up("Shift")
    boxed[58] = True
    assert chosen(page, folder) == np.flatnonzero(boxed).tolist()
    page.mouse.click(*where[58])
    page.mouse.click(*where[30])
    boxed[[58, 30]] = False, True
    assert chosen(page, folder) == np.flatnonzero(boxed).tolist()
    page.click("#clear")
    assert n_chosen(page) == 0
    assert page.is_hidden("#actions")


def test_moving_and_zooming_keep_points_under_the_pointer(page, folder):
    before = pixels_of(page)
    drag(page, [before[22] + 25, before[22] + 65, before[22] + 125])
    assert np.abs(pixels_of(page) - before - 100).max() < 3
    assert n_chosen(page) == 0
    page.click("#closer")
    settle(page)
    spread = np.ptp(pixels_of(page), axis=0) / np.ptp(before, axis=0)
    np.testing.assert_allclose(spread, 1.4, rtol=0.02)
    page.mouse.click(*pixels_of(page, [33])[0])
    assert chosen(page, folder) == [33]
    page.keyboard.press("0")
    settle(page)
    np.testing.assert_allclose(pixels_of(page), before, atol=1)


def test_hidden_groups_are_not_seen_and_not_selected(page, folder):
    page.click("#legend .toggle:has-text('bee')")
    assert page.get_attribute("#legend .toggle:has-text('bee')", "aria-pressed") == "false"
    page.keyboard.press("b")
    drag(page, whole_stage(page))
    assert chosen(page, folder) == np.flatnonzero(GROUPS != "bee").tolist()
    page.keyboard.press("Escape")
    page.click("#legend .toggle:has-text('bee')", modifiers=["Shift"])  # that group alone
    drag(page, whole_stage(page))
    assert chosen(page, folder) == np.flatnonzero(GROUPS == "bee").tolist()


def test_dots_have_the_colours_of_the_column(page):
    page.keyboard.press("n")  # names may lie on dots
    for column in ["label", "sharpness"]:
        page.select_option("#tools select", label=column)
        page.mouse.move(2, 2)
        settle(page)
        picture, where = screenshot(page), pixels_of(page).round().astype(int)
        colors = {}
        for row in range(N):
            colors.setdefault(GROUPS[row] if column == "label" else SHARPNESS[row], []).append(
                picture[where[row, 1], where[row, 0]]
            )
        middles = np.array([np.median(c, axis=0) for c in colors.values()])
        assert (middles.max(axis=1) - middles.min(axis=1)).max() > 60  # no grey page
        if column == "label":
            assert all(np.ptp(c, axis=0).max() < 12 for c in colors.values())
            apart = np.abs(middles[:, None] - middles).sum(axis=2)[np.triu_indices(4, 1)]
            assert apart.min() > 60
        else:
            assert middles[0][2] > middles[0][1]  # viridis: from blue
            assert middles[-1][1] > 200 > middles[-1][2]  # to yellow
            assert np.ptp(middles[7]) < 20  # no value: grey


def test_search_finds_names_selects_them_and_shows_them(page, folder, paths):
    page.keyboard.press("/")
    page.keyboard.type("SITE1/img_01")
    page.wait_for_selector("#search button:visible")
    expected = [i for i, path in enumerate(paths) if "site1/IMG_01" in str(path)]
    assert page.inner_text("#search button") == f"Select {len(expected)}"
    page.keyboard.press("Enter")
    assert chosen(page, folder) == expected
    page.fill("#search input", "no such file")
    page.wait_for_selector("#search button:disabled")
    assert page.inner_text("#search button") == "None found"
    page.locator("#search input").press("Escape")
    assert page.input_value("#search input") == ""
    assert chosen(page, folder) == expected


def test_search_takes_words_in_any_order_and_groups_and_leaves_the_selection_in_sight(
    page, paths, folder
):
    page.keyboard.press("n")
    row = int(np.flatnonzero(np.arange(N) % 3 != 1)[-1])
    page.mouse.click(*pixels_of(page, [row])[0])
    page.fill("#search input", "BEE img site1")
    page.wait_for_selector("#search button:visible")
    found = [i for i in range(N) if GROUPS[i] == "bee" and "site1/IMG" in str(paths[i])]
    assert 0 < len(found) < N
    assert page.inner_text("#search button") == f"Select {len(found)}"
    page.mouse.move(2, 2)
    settle(page)
    picture = screenshot(page)
    for shown, ringed in [(row, True), (found[0], False)]:
        x, y = pixels_of(page, [shown])[0].round().astype(int)
        around = picture[y - 12 : y + 13, x - 12 : x + 13].reshape(-1, 3)
        # The ring has the page's accent, and dots that do not stand out are pale.
        assert (np.abs(around - [0, 103, 163]).max(axis=1) < 30).sum() > 20 or not ringed
        assert np.ptp(picture[y, x]) > 60
    page.locator("#search input").press("Enter")
    assert chosen(page, folder) == found


def test_a_selection_can_be_lessened_and_taken_back_and_keeps_its_order(page, folder):
    where = pixels_of(page)
    for row in [41, 9, 5]:
        page.mouse.click(*where[row])
    assert chosen(page, folder) == [41, 9, 5]
    page.keyboard.press("l")
    drag(page, whole_stage(page)[:1] * 2 + [np.add(whole_stage(page)[0], [0, 9])])
    assert chosen(page, folder) == [41, 9, 5]  # nothing was enclosed
    page.keyboard.press("b")
    page.keyboard.down("Alt")
    drag(page, [where[9] - 8, where[9] + 8])
    page.keyboard.up("Alt")
    assert chosen(page, folder) == [41, 5]
    page.keyboard.press("Escape")
    assert n_chosen(page) == 0
    page.keyboard.press("u")
    assert chosen(page, folder) == [41, 5]
    page.keyboard.press("Control+z")
    assert chosen(page, folder) == [41, 9, 5]
    for _ in range(3):
        page.click("#undo")
    assert n_chosen(page) == 0
    assert page.is_disabled("#undo")


def test_dates_are_a_scale_and_tray_and_legend_have_room(show, folder):
    times = np.datetime64("2024-03-01T06:30") + np.arange(N) * np.timedelta64(1, "D")
    times[7] = np.datetime64("NaT")
    days = [None if i == 7 else datetime.date(2023, 1, 1 + i % 28) for i in range(N)]
    display = ProjectionDisplay(POINTS, labels=np.arange(N), names=[f"{i}.png" for i in range(N)])
    display.write_html(folder / "dates.html", columns={"taken": times, "day": days})
    page = show(folder / "dates.html")
    page.mouse.click(*pixels_of(page, [33])[0])
    assert page.locator("#legend .toggle").count() == N
    for box in ["#pictures", "#legend"]:
        assert page.locator(box).bounding_box()["height"] > (60 if box == "#pictures" else 140)
    page.keyboard.press("w")
    assert page.locator("#pictures").bounding_box()["height"] > 200
    page.keyboard.press("w")
    for row, taken, day in [(33, "2024-04-03 06:30", "2023-01-06"), (7, "no value", "no value")]:
        hover(page, row)
        assert page.inner_text("#card dl").split("\n")[2:] == ["taken", taken, "day", day]
    page.select_option("#tools select", label="taken")
    assert page.inner_text("#legend .ends").split("\n") == ["2024-03-01 06:30", "2024-04-29 06:30"]
    page.keyboard.press("Escape")
    page.mouse.move(2, 2)
    settle(page)
    picture, where = screenshot(page), pixels_of(page).round().astype(int)
    first, missing, last = (picture[where[row, 1], where[row, 0]] for row in (0, 7, 59))
    assert first[2] > first[1]  # viridis: from blue to yellow
    assert last[1] > 200 > last[2]
    assert np.ptp(missing) < 20


def test_a_thumbnail_shows_nothing_of_its_neighbours(show, folder):
    colors = ["#ff0000", "#0000ff"]
    paths = [folder / f"plain{i}.png" for i in range(8)]
    for i, path in enumerate(paths):
        Image.new("RGB", (100, 100), colors[i % 2]).save(path)
    display = ProjectionDisplay(POINTS[:8], names=paths)
    display.write_html(folder / "plain.html", thumbnails="sprites", thumbnail_size=100)
    page = show(folder / "plain.html")
    hover(page, 5)
    page.wait_for_selector("#card canvas[data-drawn='5']")
    found = page.evaluate(
        """() => {
          const canvas = document.querySelector("#card canvas");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return [canvas.width, Array.from(data)];
        }"""
    )
    shown = np.array(found[1]).reshape(-1, found[0], 4)[..., :3]
    assert np.abs(shown - [0, 0, 255]).max() < 40


def test_images_on_the_web_are_shown(show, folder, paths):
    urls = [f"https://images.example/{i}.png" for i in range(N)]
    ProjectionDisplay(POINTS, names=urls).write_html(folder / "web.html", thumbnails="files")
    page = show(folder / "web.html", web=lambda route: route.fulfill(path=paths[0]))
    hover(page, 5)
    eventually(page, "#card img").to_have_js_property("naturalWidth", 240)


def test_downloads_and_the_clipboard_hold_the_selected_paths(page, paths, folder):
    where = pixels_of(page)
    for row in [5, 9, 41]:
        page.mouse.click(*where[row])
    names = [str(paths[row]) for row in [5, 9, 41]]
    record = json.loads(save(page, "#save", "json").read_bytes())
    assert (record["indices"], record["paths"]) == ([5, 9, 41], names)
    assert record["n_points"] == N
    listed = save(page, "#save", "txt").read_bytes().decode("utf-8", "surrogateescape")
    assert listed.splitlines() == names
    page.click("#copy")
    page.wait_for_selector("#said:text-is('Copied 3.')")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.splitlines() == [name.replace("\udcff", "\ufffd") for name in names]
    # What was exported is found again in a list of another order.
    (folder / "again.json").write_text(json.dumps(record))
    assert load_selection(folder / "again.json", paths[::-1]).tolist() == [54, 50, 18]


def test_a_hostile_name_is_text(page, paths):
    hover(page, 5)
    assert page.inner_text("#card .name") == paths[5].name
    page.mouse.click(*pixels_of(page, [5])[0])
    assert page.get_attribute("#pictures button", "title") == str(paths[5])
    assert page.locator(f"#legend b:text-is({json.dumps(NASTY)})").count() == 1
    assert page.evaluate("window.hit") is None
    assert page.locator("img, body script:not([type])").count() == 0


def test_the_keyboard_reaches_every_point_and_tool(page, folder):
    page.focus("#stage")
    page.keyboard.press("ArrowRight")
    row = int(page.get_attribute("#card", "data-row"))
    page.keyboard.press("ArrowLeft")
    left = int(page.get_attribute("#card", "data-row"))
    assert POINTS[left, 0] < POINTS[row, 0]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    rows = chosen(page, folder)
    assert len(rows) == 1
    page.focus("#stage")
    page.keyboard.press("Escape")
    assert n_chosen(page) == 0
    assert page.is_hidden("#card")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.innerText"))
    assert {"Lasso", "closer", "names", "theme", "stage"} <= reached
    assert any("ant" in name for name in reached)


def test_light_and_dark(show, main_page):
    page = show(main_page, color_scheme="dark")
    assert screenshot(page).mean() < 60
    page.click("#theme")
    settle(page)
    assert screenshot(page).mean() > 200


def test_a_phone_shows_all_of_it_and_a_second_tap_selects(show, main_page, folder):
    page = show(main_page, viewport=PHONE, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for button in ["#theme", "#whole", "[data-tool=box]"]:
        box = page.locator(button).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
    page.touchscreen.tap(*pixels_of(page, [22])[0])
    page.wait_for_selector("#card[data-row='22']", state="visible")
    assert n_chosen(page) == 0  # the first is for looking
    page.touchscreen.tap(*pixels_of(page, [22])[0])
    assert chosen(page, folder) == [22]
    targets = page.evaluate(
        """[...document.querySelectorAll("button, input, select")].map(target => {
          const { width, height } = target.getBoundingClientRect();
          return [width, height];
        })"""
    )
    visible = np.array(targets)[np.array(targets).min(axis=1) > 0]
    assert len(visible) > 15
    assert visible.min() >= 40


def test_linked_files_are_shown_and_missing_ones_have_a_placeholder(browser, folder, paths):
    missing = folder / "gone.png"
    display = ProjectionDisplay(POINTS, names=[*paths[:-1], missing])
    display.write_html(folder / "files.html", thumbnails="files")
    page = browser.show(folder / "files.html")
    for row in [5, 9, 30]:
        hover(page, row)
        eventually(page, "#card img").to_have_js_property("naturalWidth", 240)
    hover(page, 59)
    page.wait_for_selector("#card .picture:has-text('image not readable')")
    assert len(browser.complaints) == 2  # the browser's own remarks on that file
    assert "gone.png" in "".join(browser.complaints)
    browser.complaints.clear()


@pytest.mark.parametrize("n_components", [1, 3])
def test_maps_of_one_and_three_coordinates_open(n_components, show, folder):
    points = np.random.default_rng(0).normal(size=(40, n_components))
    labels = np.resize(["a", NASTY], 40)
    display = ProjectionDisplay(points, labels=labels, selected=[1], names=[NASTY] * 40)
    display.write_html(folder / "other.html", title=NASTY)
    page = show(folder / "other.html")
    assert page.title() == NASTY
    assert page.evaluate("window.hit") is None
    page.keyboard.press("/")
    page.keyboard.type("onerror")
    page.keyboard.press("Enter")
    assert n_chosen(page) == 40
    assert screenshot(page, clip=page.locator("#stage").bounding_box()).std() > 5


@pytest.mark.parametrize("n_points", [1, 2001])
def test_small_and_constant_maps_open(n_points, show, folder):
    ProjectionDisplay(np.zeros((n_points, 2))).write_html(folder / "small.html")
    page = show(folder / "small.html")
    box = page.locator("#stage").bounding_box()
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    page.mouse.move(*middle)
    page.wait_for_selector("#card:visible")
    assert screenshot(page, clip=box).std() > 0.5


def test_very_many_points_draw_and_all_can_be_selected(show, folder):
    n_points, path = 150_000, folder / "many.html"
    points = np.random.default_rng(0).normal(size=(n_points, 2)).astype(np.float32)
    columns = {"weight": np.arange(n_points) / n_points}
    ProjectionDisplay(points, labels=np.arange(n_points) % 3).write_html(path, columns=columns)
    assert path.stat().st_size < 10e6
    page = show(path)
    page.keyboard.press("n")
    settle(page)
    picture = screenshot(page, clip=page.locator("#stage").bounding_box())
    # A normal cloud: dense in the middle, nothing in the corners.
    height, width = picture.shape[:2]
    assert np.ptp(picture[height // 2 - 20 : height // 2 + 20, width // 2 - 20 : width // 2 + 20])
    assert (picture[5:25, 5:25] == 255).all()
    page.keyboard.press("b")
    drag(page, whole_stage(page))
    assert n_chosen(page) == 150_000
    page.click("#legend .toggle >> nth=0")
    drag(page, whole_stage(page))
    assert n_chosen(page) == 100_000
    page.click("#labels input[list]")
    page.keyboard.type("many")
    page.keyboard.press("Enter")
    assert "100,000 labelled, 50,000 left" in page.inner_text("#labels")
    page.reload()
    assert "100,000 labelled, 50,000 left" in wait_for(page).inner_text("#labels")
