"""``dinov2-sklearn visualize``."""

import argparse
import math
import os
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._options import Command, Commands, check_output, count, given, share
from ._report import Report, folder_of, load

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["add_to"]

_PROJECTOR = "projection._projector.UMAPProjector"
_PAGES = (".html", ".htm")


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = Command(
        commands,
        "visualize",
        "draw the map of embedded images",
        "A picture, or a page to explore in a browser.",
        _run,
    )
    command.add_embeddings()
    what = "a .png, .jpg, .svg or .pdf; or a .html to explore and to label"
    command.option("--output", Path, "P", what, required=True)
    command.switch("--interactive", "require a page; a .html is one anyway")
    command.switch("--show-images", "keep a thumbnail of each image in the page")
    what = "let the page show one of each group of near-duplicates: cosine from which they are"
    command.option("--dedupe", float, "S", what)
    command.option("--n-clusters", count, "K", "colour the map by so many clusters")
    command.option(
        "--color-by", str, "NAME", "colour the map by a column of the images, or by 'folder'"
    )
    parameter = partial(command.parameter, _PROJECTOR)
    parameter("n_neighbors", count, "N", "how far the map looks around each image")
    parameter("min_dist", share, "D", "how close together points may lie")
    parameter("metric", ("cosine", "euclidean"), None, "distance between embeddings")
    parameter("random_state", int, "N", "of the layout", flag="--seed")
    command.option("--title", str, "TEXT", "a line above the map")
    command.option("--width", float, "INCHES", "of a picture", default=12)
    command.option("--height", float, "INCHES", "of a picture", default=10)
    command.option("--dpi", count, "N", "dots an inch of a picture", default=150)
    command.option("--dot-size", float, "AREA", "of a point, in square points", default=50)
    command.option("--colormap", str, "NAME", "a matplotlib colour map")
    what = "draw the axes, whose numbers have no meaning of their own (default: none)"
    command.switch("--axes", what, argparse.BooleanOptionalAction)
    command.option("--selection", Path, "FILE", "circle the picks of `select`")
    command.add_root()
    command.require("--output is no page", _is_page, "--show-images", "--dedupe")
    of_pictures = ("--width", "--height", "--dpi", "--dot-size", "--colormap", "--axes")
    command.require("--output is a page, and no picture", lambda a: not _is_page(a), *of_pictures)
    command.require("there is no --selection", lambda a: a.selection, "--root")


def _is_page(arguments: argparse.Namespace) -> bool:
    return arguments.output.suffix.lower() in _PAGES


def _run(arguments: argparse.Namespace) -> Report:
    from ..drawing._figures import check_extension
    from ..projection import ProjectionDisplay, UMAPProjector
    from ..selection import load_selection

    output: Path = arguments.output
    is_page = _is_page(arguments)
    if arguments.interactive and not is_page:
        raise ValueError(f"--interactive writes a .html, and --output is {str(output)!r}.")
    inputs = [path for path in (arguments.embeddings, arguments.selection) if path is not None]
    check_output(output, *inputs)
    if not is_page:
        check_extension(output)
    rows, paths, _, _, skipped, columns = load(arguments.embeddings)
    if len(rows) < 3:
        raise ValueError(f"A map needs 3 images or more, and there are {len(rows)}.")
    file, selected = arguments.selection, None
    if file is not None:
        selected = load_selection(file, paths, root=arguments.root)
    duplicates = _near_duplicates(rows, arguments.dedupe)  # refuses a bad threshold at once
    projector = UMAPProjector(**given(arguments, _PROJECTOR))
    projector.n_neighbors = min(projector.n_neighbors, len(rows) - 1)
    projector.fit(rows)
    known = {name: _values(values) for name, values in columns.items()}
    labels: NDArray | None = None
    if (by := arguments.color_by) is not None:
        if arguments.n_clusters is not None:
            raise ValueError("--color-by and --n-clusters both colour the map. Give one of them.")
        if by == "folder" and by not in known:
            known[by] = _values(_told_apart([folder_of(path) for path in paths]))
        if by not in known:
            names = ", ".join(map(repr, ["folder", *known]))
            raise ValueError(f"--color-by {by!r} is not known of the images, only {names}.")
        labels = known.pop(by)
    if arguments.n_clusters is not None:
        by, labels = "cluster of the map", projector.cluster(arguments.n_clusters)
    if is_page and labels is not None and by != "label":
        # By its own title: the page colours by the first, and takes what is called label for names.
        known, labels = {by: labels} | known, None
    display = ProjectionDisplay(projector.embedding_, labels=labels, selected=selected, names=paths)
    if is_page:
        thumbnails = "sprites" if arguments.show_images else None
        taken = ("label", "selection")  # the page has its own
        shown = {f"given {k}" if k in taken else k: values for k, values in known.items()}
        display.write_html(
            output,
            paths,
            thumbnails=thumbnails,
            columns=shown,
            embeddings=rows,
            metric=projector.metric,
            duplicates=duplicates,
            title=arguments.title,
        )
    else:
        display.plot(
            dot_size=arguments.dot_size,
            figsize=(arguments.width, arguments.height),
            cmap=arguments.colormap,
            title=arguments.title,
            show_axes=arguments.axes,
        ).save(output, dpi=arguments.dpi)
    data = {"output": str(output), "n_images": len(paths)}
    return Report(f"{output}: map of {len(paths)} images", data, skipped)


def _near_duplicates(rows: "NDArray", min_similarity: float | None) -> "NDArray | None":
    from ..duplicates import NearDuplicates

    return None if min_similarity is None else NearDuplicates(min_similarity).fit(rows).labels_


def _told_apart(folders: list[str]) -> list[str]:
    """Name folders without what all have in common."""
    parts = [folder.replace(os.sep, "/").split("/") for folder in folders]
    # What the first and the last in order have in common, all between them have.
    begins = zip(min(parts), max(parts), strict=False)
    n_common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], begins))
    return ["/".join(its[n_common:]) or its[-1] for its in parts]


def _values(values: list[Any]) -> "NDArray":
    """Return a column as numbers where all that it holds are, as a table in text has them."""
    import numpy as np

    try:
        numbers = np.array([math.nan if value in (None, "") else float(value) for value in values])
    except (TypeError, ValueError):
        return np.array(["" if value is None else str(value) for value in values], dtype=object)
    # Whole numbers name classes; others lie on a scale.
    whole = (np.abs(numbers) < 2**53) & (numbers == np.round(numbers))
    return numbers.astype(np.int64) if whole.all() else numbers
