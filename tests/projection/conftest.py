from pathlib import Path

import browsing
import numpy as np
import pytest
from browsing import Browser, wait_for
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from dinov2_sklearn.projection import ProjectionDisplay, UMAPProjector


@pytest.fixture(scope="session")
def digits():
    """Handwritten digits as (fitted rows, held-out rows)."""
    X = load_digits().data / 16
    return train_test_split(X, train_size=700, test_size=300, random_state=0)


@pytest.fixture(scope="session")
def fitted(digits):
    """A projector that tests must leave as it is."""
    return UMAPProjector().fit(digits[0])


@pytest.fixture(scope="session")
def umap_learn():
    """What umap-learn 0.5.12 makes of the digits: its graph, its curves, its maps."""
    file = Path(__file__).parent.parent / "data" / "umap_learn" / "version_0_5_12.npz"
    with np.load(file) as arrays:
        return dict(arrays)


@pytest.fixture
def browser(chromium):
    browser = Browser(chromium)
    yield browser
    for context in browser.contexts:
        context.close()
    assert browser.complaints == []


@pytest.fixture
def show(browser):
    return browser.show


@pytest.fixture(scope="module")
def main_browser(chromium):
    browser = Browser(chromium)
    yield browser
    for context in browser.contexts:
        context.close()


@pytest.fixture(scope="module")
def opened_page(main_browser, main_page):
    options = {"permissions": ["clipboard-read", "clipboard-write"]}
    return main_browser.show(main_page, **options)


@pytest.fixture
def page(opened_page, main_browser):
    """The page that most tests look at, as it was when it was opened."""
    opened_page.mouse.move(2, 2)
    opened_page.evaluate("addEventListener('pagehide', () => localStorage.clear())")
    opened_page.reload()
    yield wait_for(opened_page)
    assert main_browser.complaints == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def paths(folder):
    """Images of four colours each, no two alike; some names are hostile."""
    paths = [folder / f"site{i % 3}" / f"IMG_{i:03d}.png" for i in range(browsing.N)]
    paths[5] = folder / "site0" / browsing.NASTY.replace("/", "\u2215")
    paths[9] = folder / "site0" / "byte\udcff \U0001f4f7.png"
    for i, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        quarters = np.random.default_rng(i).integers(0, 255, size=(2, 2, 3), dtype=np.uint8)
        Image.fromarray(quarters).resize((240, 160), Image.Resampling.NEAREST).save(path)
    return paths


@pytest.fixture(scope="module")
def main_page(folder, paths):
    """The page that most tests look at: groups, picks, images, neighbours, copies."""
    display = ProjectionDisplay(
        browsing.POINTS, labels=browsing.GROUPS, selected=browsing.SELECTED, names=paths
    )
    path = folder / "map.html"
    display.write_html(
        path,
        thumbnails="sprites",
        thumbnail_size=160,
        columns={"sharpness": browsing.SHARPNESS},
        embeddings=browsing.ROWS,
        duplicates=browsing.COPIES,
    )
    return path
