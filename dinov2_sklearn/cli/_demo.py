"""``dinov2-sklearn demo``."""

import argparse
from pathlib import Path

from ._options import Commands, add_output_style, count, make_command
from ._report import Report


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = make_command(
        commands,
        "demo",
        "try everything on some 250 photographs, without a connection",
        "Makes photographs of 22 scenes, embeds them, draws their map, picks a diverse few of "
        "them, and shows what the model looks at. Takes a minute or two; embeddings of an earlier "
        "run are used again.",
    )
    command.add_argument(
        "--output",
        type=Path,
        default=Path("demo"),
        metavar="DIR",
        help="folder for the images and the results (default: %(default)s)",
    )
    command.add_argument(
        "--n",
        type=count,
        default=24,
        metavar="N",
        help="number of images to pick (default: %(default)s)",
    )
    add_output_style(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> Report:
    from ._run_demo import run_demo

    result = run_demo(arguments.output, arguments.n, quiet=arguments.quiet)
    data = {
        "n_images": result.n_images,
        "n_scenes": result.n_scenes,
        "n_picks": result.n_picks,
        "scenes_covered": result.covered,
        "scenes_covered_at_random": result.random.tolist(),
        "files": {what: str(path) for what, path in result.files.items()},
    }
    return Report(str(result), data)
