"""The page of one image shows, in a real browser, the numbers that the inspector finds."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from dinov2_sklearn.attention import PatchAttentionInspector

pytestmark = pytest.mark.slow

NASTY = "</script><script>alert('a & b')</script> {{data}} <b>é\udcff"


@pytest.fixture(scope="module")
def inspector(tiny_registers):
    return PatchAttentionInspector(tiny_registers, keep_aspect=True, image_size=70)


@pytest.fixture(scope="module")
def page_file(inspector, image_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "attention.html"
    inspector.visualize_interactive(image_folder[1], path)
    return path


@pytest.fixture(scope="module")
def maps(inspector, image_folder):
    """What is found in the page's image, whose grid has 5 rows and 10 columns, from a token."""
    found = {}

    def look(query="cls"):
        if query not in found:
            found[query] = inspector.inspect(image_folder[1], query=query)
        return found[query]

    return look


@pytest.fixture
def page(chromium, page_file):
    """The open page, which must ask nobody for anything and report no error."""
    context = chromium.new_context(viewport={"width": 1200, "height": 800}, offline=True)
    page = context.new_page()
    wrong, asked = [], []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    yield page
    assert wrong == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    context.close()


def _move_to(page, row, column, click=False):
    box = page.locator("#picture").bounding_box()
    x = box["x"] + (column + 0.5) / 10 * box["width"]
    y = box["y"] + (row + 0.5) / 5 * box["height"]
    (page.mouse.click if click else page.mouse.move)(x, y)


def _assert_shows(page, expected):
    found = np.array(page.evaluate("Array.from(shown)"))
    np.testing.assert_allclose(found, expected.ravel(), atol=2e-3)


def test_it_opens_with_the_attention_of_the_whole_image(page, maps):
    _assert_shows(page, maps().select())
    assert "5 x 10 patches, 3 layers of 2 heads" in page.locator("#facts").inner_text()
    assert page.title() == "image1.png"


def test_pointer_on_a_patch_shows_where_it_looks(page, maps):
    for place in [(0, 0), (3, 7), (4, 9)]:
        _move_to(page, *place)
        _assert_shows(page, maps(place).select())
        assert page.locator("#notice").inner_text() == f"Where patch {place} looks"
    page.mouse.move(1190, 790)
    _assert_shows(page, maps().select())


def test_layers_and_heads(page, maps):
    _move_to(page, 2, 3, click=True)
    expected = maps((2, 3))
    for layer in range(3):
        page.locator("#layer").fill(str(layer))
        assert page.locator("#layer-name").inner_text() == str(layer)
        for how in ("max", "min", "mean"):
            page.get_by_role("radio", name=f"{how} of all").check()
            _assert_shows(page, expected.select(layer, head_reduction=how))
        for head in range(2):
            page.get_by_role("button", name=f"head {head}").click()
            _assert_shows(page, expected.select(layer, head))
        assert page.locator("input[name=heads]:checked").count() == 0


def test_similarity(page, maps):
    page.get_by_role("radio", name="Similarity").check()
    assert page.evaluate("shown") is None
    assert page.locator("#notice").inner_text() == "Move over a patch"
    _move_to(page, 1, 8)
    _assert_shows(page, maps().similarity(1, 8))
    assert page.locator("#notice").inner_text() == "Patches like patch (1, 8)"


def test_a_click_holds_a_patch_and_keys_move_it(page, maps):
    _move_to(page, 2, 3, click=True)
    _move_to(page, 4, 4)
    _assert_shows(page, maps((2, 3)).select())
    value = float(re.search(r"held\): (\S+) at patch \(4, 4\)", page.inner_text("#notice"))[1])
    assert value == pytest.approx(maps((2, 3)).select()[4, 4], abs=2e-3)
    page.locator("#picture").focus()
    for key, place in [("ArrowRight", (2, 4)), ("ArrowUp", (1, 4)), ("ArrowLeft", (1, 3))]:
        page.keyboard.press(key)
        _assert_shows(page, maps(place).select())
    page.keyboard.press("Escape")
    _assert_shows(page, maps().select())


def test_what_is_drawn_is_the_picture_and_the_map(page, maps):

    def drawn():
        data = page.evaluate("picture.toDataURL()").split(",")[1]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), float)

    page.locator("#opacity").fill("0")
    height, width, _ = drawn().shape
    scale = height // maps().image.shape[0]
    picture = np.kron(maps().image, np.ones((scale, scale, 1)))
    assert np.abs(drawn() - picture).mean() < 8
    page.locator("#opacity").fill("1")
    page.locator("#smooth").uncheck()
    from matplotlib import colormaps

    grid = maps().select()
    low, high = np.percentile(grid, (1, 99))
    colors = 255 * colormaps["inferno"]((grid - low) / (high - low))[..., :3]
    middles = drawn()[height // 10 :: height // 5, width // 20 :: width // 10]
    np.testing.assert_allclose(middles, colors, atol=12)


def test_small_screens_need_no_scrolling_sideways(page):
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_names_are_shown_and_not_obeyed(chromium, inspector, image_folder, tmp_path):
    path = tmp_path / "page.html"
    inspector.visualize_interactive(np.asarray(Image.open(image_folder[0])), path, 0, title=NASTY)
    text = path.read_text(encoding="utf-8")
    assert text.count("<script") == 2
    page = chromium.new_page()
    page.on("dialog", lambda dialog: pytest.fail("a name was run as a script"))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    assert page.locator("h1").inner_text().startswith("</script><script>alert('a & b')</script>")
    page.close()


def test_page_that_cannot_be_written(inspector, image_folder, tmp_path):
    with pytest.raises(ValueError, match=r"page\.png': a web page's name ends in \.html"):
        inspector.visualize_interactive("not-read.jpg", tmp_path / "page.png")
    with pytest.raises(ValueError, match="layers=3 is out of range"):
        inspector.visualize_interactive(image_folder[0], tmp_path / "page.html", layers=3)
    assert list(tmp_path.iterdir()) == []
