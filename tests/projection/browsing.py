"""What the tests of a map's page share: its images, a browser, and what a reader does in it."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from dinov2_sklearn import load_selection

LAPTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
NASTY = "<img src=x onerror='window.hit=1'></script><script>window.hit=1</script>&lt;$x$.png"
N = 60
RNG = np.random.default_rng(0)
# Apart from each other by more than the size of a dot.
POINTS = np.stack(np.meshgrid(np.arange(10.0), np.arange(6.0)), axis=-1).reshape(-1, 2)
POINTS += RNG.uniform(-0.3, 0.3, size=POINTS.shape)
GROUPS = np.array(["ant", "bee", "cat", NASTY], dtype=object)[RNG.integers(0, 4, N)]
SHARPNESS = np.where(np.arange(N) == 7, np.nan, np.arange(N) / 10)
SELECTED = [40, 3, 15]
ROWS = np.random.default_rng(5).normal(size=(N, 6))
COPIES = np.where(np.arange(N) < 4, 0, np.arange(N))  # the first four are near-duplicates


class Browser:
    """Opens pages with the network off; nothing may have gone wrong in any of them by the end."""

    def __init__(self, chromium):
        self.chromium, self.contexts, self.complaints = chromium, [], []

    def show(self, path, viewport=LAPTOP, web=None, script=None, **options):
        context = self.chromium.new_context(viewport=viewport, offline=web is None, **options)
        self.contexts.append(context)
        if web is not None:
            context.route(re.compile("^https?://"), web)
        page = context.new_page()
        if script:
            page.add_init_script(script)
        page.on("console", lambda line: line.type == "error" and self.complaints.append(line.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        page.on("requestfailed", lambda request: self.complaints.append(request.url))
        page.goto(Path(path).as_uri())
        return wait_for(page)


def wait_for(page):
    page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
    return page


def eventually(page, selector):
    """Playwright's assertions, which wait: `wait_for_function` evaluates strings in the page, which
    the page's own policy forbids from the second try on."""
    from playwright.sync_api import expect

    expect.set_options(timeout=30_000)
    return expect(page.locator(selector))


def pixels_of(page, rows=range(N)):
    """Where points are in the window."""
    return np.array(page.evaluate("rows => rows.map(placeOf)", list(map(int, rows))))


def screenshot(page, **options):
    return np.asarray(Image.open(BytesIO(page.screenshot(**options))).convert("RGB")).astype(int)


def settle(page):
    """Wait until what was asked for is drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for_timeout(50)


def drag(page, outline):
    page.mouse.move(*outline[0])
    page.mouse.down()
    for corner in outline[1:]:
        page.mouse.move(*corner)
    page.mouse.up()
    settle(page)


def whole_stage(page):
    box = page.locator("#stage").bounding_box()
    right, bottom = box["x"] + box["width"], box["y"] + box["height"]
    return [(box["x"] + 3, box["y"] + 3), (right - 4, bottom - 4)]


def save(page, button, format=None):
    if format is not None:
        page.select_option("#format", format)
    with page.expect_download() as download:
        page.click(button)
    return Path(download.value.path())


def n_chosen(page):
    return int(page.inner_text("#tray h2 output").split(" ")[0].replace(",", ""))


def chosen(page, folder):
    """Read the rows selected in the page, by way of its own download."""
    if n_chosen(page) == 0:
        return []
    file = folder / "selection.json"
    file.write_bytes(save(page, "#save", "json").read_bytes())
    rows = load_selection(file).tolist()
    assert n_chosen(page) == len(rows)
    return rows


def hover(page, row):
    page.mouse.move(2, 2)
    page.mouse.move(*pixels_of(page, [row])[0])
    page.wait_for_selector(f"#card[data-row='{row}']", state="visible")
