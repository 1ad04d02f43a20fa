"""The directive ``notebook-cards``: each notebook's title, first words and richest picture."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class NotebookCards(SphinxDirective):
    """Shows the notebooks of a folder, given from the source folder on, as cards that link them."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write the cards as Markdown, and parse that; nothing where there are no notebooks."""
        folder = self.arguments[0]
        notebooks = sorted(Path(self.env.srcdir, folder).glob("*.ipynb"))
        for notebook in notebooks:
            self.env.note_dependency(str(notebook))
        cards = [line for notebook in notebooks for line in _card(folder, notebook)]
        text = "\n".join(["::::{grid} 1 1 2 2", ":gutter: 3", "", *cards, "::::"])
        return self.parse_text_to_nodes(text) if cards else []


def _card(folder: str, notebook: Path) -> Iterator[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    title, words = _opening(cells)
    yield from [f":::{{grid-item-card}} {title}", f":link: /{folder}/{notebook.stem}"]
    yield from [":link-type: doc", ""]
    picture = _richest_picture(cells)
    if picture is not None:
        file = notebook.with_suffix(".png")
        file.write_bytes(picture)
        yield from [f"```{{image}} /{folder}/{file.name}", f":alt: {title}", "```", ""]
    yield from [words, ":::", ""]


def _opening(cells: list[dict[str, Any]]) -> tuple[str, str]:
    """Return the first heading, and the paragraph under it."""
    text = "".join(next(cell["source"] for cell in cells if cell["cell_type"] == "markdown"))
    heading, *paragraphs = [part for part in text.split("\n\n") if part.strip()]
    return heading.lstrip("# ").strip(), paragraphs[0] if paragraphs else ""


def _richest_picture(cells: list[dict[str, Any]]) -> bytes | None:
    """Return the PNG of most bytes: photographs before bars."""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    pictures = ["".join(output.get("data", {}).get("image/png", "")) for output in outputs]
    largest = max(pictures, key=len, default="")
    return base64.b64decode(largest) if largest else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("notebook-cards", NotebookCards)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
