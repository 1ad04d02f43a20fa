"""The ``dinov2-sklearn`` command.

Results go to standard output, progress and errors to standard error. The exit status is 0 for
success, 1 for a failure, and 2 for a command line that makes no sense. Whatever a command needs
is imported when it runs, so that ``--help`` answers at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        The arguments, without the program's name. None takes those of the process.

    Returns
    -------
    status : int
        0, or 1 when the command failed and said why on standard error.

    Raises
    ------
    SystemExit
        With status 2 for arguments that make no sense, and 0 after ``--help`` and ``--version``.

    Examples
    --------
    >>> from dinov2_sklearn.cli import main
    >>> main(["--version"])
    Traceback (most recent call last):
        ...
    SystemExit: 0
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (ImportError, OSError, ValueError) as error:
        print(f"dinov2-sklearn: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dinov2-sklearn: interrupted", file=sys.stderr)
        return 130  # what a shell reports of a process that SIGINT ended


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dinov2-sklearn",
        description="From folders of images to DINOv2 embeddings, a map, and a diverse subset.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    return parser


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = commands.add_parser(
        "demo",
        help="try everything on some 250 photographs, without a connection",
        description=(
            "Make some 250 photographs of 22 scenes, embed them, draw their map, pick a diverse "
            "few of them, and show what the model looks at. Needs no connection, and a minute or "
            "two; embeddings of an earlier run are used again."
        ),
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
        type=_positive_int,
        default=24,
        metavar="N",
        help="number of images to pick (default: %(default)s)",
    )
    command.add_argument("--quiet", action="store_true", help="show no progress")
    command.set_defaults(run=_run_demo)


def _run_demo(arguments: argparse.Namespace) -> int:
    from ._demo import run_demo

    print(run_demo(arguments.output, arguments.n, quiet=arguments.quiet))
    return 0


def _positive_int(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return value
