"""``dinov2-sklearn visualize``."""

import argparse
from pathlib import Path

from ._embeddings import add_embeddings, load
from ._options import Commands, add_output_style, add_root, check_output, count, make_command, share
from ._report import Report

_PAGES = (".html", ".htm")


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = make_command(
        commands,
        "visualize",
        "draw the map of embedded images",
        "A picture, or a page to explore in a browser.",
    )
    add_embeddings(command)
    command.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="P",
        help="a .png, .jpg, .svg or .pdf; or a .html to explore",
    )
    command.add_argument(
        "--interactive", action="store_true", help="require a page; a .html is one anyway"
    )
    command.add_argument(
        "--show-images", action="store_true", help="keep a thumbnail of each image in the page"
    )
    command.add_argument(
        "--n-clusters", type=count, metavar="K", help="colour the map by so many clusters"
    )
    command.add_argument(
        "--n-neighbors",
        type=count,
        default=15,
        metavar="N",
        help="how far the map looks around each image (default: %(default)s)",
    )
    command.add_argument(
        "--min-dist",
        type=share,
        default=0.1,
        metavar="D",
        help="how close together points may lie (default: %(default)s)",
    )
    command.add_argument(
        "--metric",
        choices=("cosine", "euclidean"),
        default="cosine",
        help="distance between embeddings (default: %(default)s)",
    )
    command.add_argument("--title", metavar="TEXT", help="a line above the map")
    command.add_argument(
        "--width", type=float, default=12, metavar="INCHES", help="default: %(default)s"
    )
    command.add_argument(
        "--height", type=float, default=10, metavar="INCHES", help="default: %(default)s"
    )
    command.add_argument("--dpi", type=count, default=150, metavar="N", help="default: %(default)s")
    command.add_argument(
        "--dot-size", type=float, default=50, metavar="AREA", help="default: %(default)s"
    )
    command.add_argument("--colormap", metavar="NAME", help="a matplotlib colour map")
    command.add_argument(
        "--axes",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="draw the axes, whose numbers have no meaning of their own (default: none)",
    )
    command.add_argument(
        "--seed", type=int, default=42, metavar="N", help="of the layout (default: %(default)s)"
    )
    command.add_argument(
        "--selection", type=Path, metavar="FILE", help="circle the picks of `select`"
    )
    add_root(command)
    add_output_style(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> Report:
    from ..projection import ProjectionDisplay, UMAPProjector
    from ..selection import load_selection

    output: Path = arguments.output
    is_page = output.suffix.lower() in _PAGES
    if arguments.interactive and not is_page:
        raise ValueError(f"--interactive writes a .html, and --output is {str(output)!r}.")
    inputs = [path for path in (arguments.embeddings, arguments.selection) if path is not None]
    check_output(output, *inputs)
    rows, paths, _, _, skipped = load(arguments.embeddings)
    if len(rows) < 3:
        raise ValueError(f"A map needs 3 images or more, and there are {len(rows)}.")
    selected = None
    if arguments.selection is not None:
        selected = load_selection(arguments.selection, paths, root=arguments.root)
    projector = UMAPProjector(
        n_neighbors=min(arguments.n_neighbors, max(1, len(rows) - 1)),
        min_dist=arguments.min_dist,
        metric=arguments.metric,
        random_state=arguments.seed,
    ).fit(rows)
    labels = None
    if arguments.n_clusters is not None:
        labels = projector.cluster(arguments.n_clusters)
    display = ProjectionDisplay(projector.embedding_, labels=labels, selected=selected, names=paths)
    if is_page:
        thumbnails = "sprites" if arguments.show_images else None
        display.write_html(output, paths, thumbnails=thumbnails, title=arguments.title)
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
