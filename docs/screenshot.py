"""Take the README's picture of a map's page: ``make screenshot``, after ``make demo``.

python docs/screenshot.py demo/umap.html docs/images/page.jpg
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

# Of the map's width and height: around the retinas and the tissue, ending on one of their sides.
LASSO = [(0.405, 0.28), (0.405, 0.2), (0.415, 0.1), (0.48, 0.1), (0.482, 0.17), (0.458, 0.2)]
LASSO += [(0.458, 0.28)]


def main(page: str, picture: str) -> None:
    """Select some points on the page, name them, show one, and save what is seen."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("There is no chromium on this machine: apt-get install chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.goto(Path(page).absolute().as_uri())
        tab.wait_for_selector("html[data-ready]", state="attached")
        tab.click("[data-tool=lasso]")
        box = tab.locator("#map").bounding_box()
        assert box is not None
        corners = [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in LASSO]
        tab.mouse.move(*corners[0])
        tab.mouse.down()
        for corner in corners[1:]:
            tab.mouse.move(*corner, steps=5)
        tab.mouse.up()
        tab.fill("#labels input[list]", "medical")
        tab.locator("#labels input[list]").press("Enter")
        tab.select_option("#tools select", label="label")  # the scenes again
        tab.locator("#pictures button").nth(6).click()
        tab.wait_for_selector("#card .picture canvas[data-drawn]")
        tab.wait_for_timeout(500)
        tab.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
