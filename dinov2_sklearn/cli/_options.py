"""Arguments that several commands share, and the kinds of values that they take."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "Commands",
    "add_completion",
    "add_model",
    "add_output_style",
    "add_root",
    "add_source",
    "check_output",
    "count",
    "count_or_share",
    "make_command",
    "share",
    "show_progress",
]

Commands = Any  # argparse keeps the type of what add_subparsers returns to itself


def make_command(commands: Commands, name: str, help: str, more: str) -> argparse.ArgumentParser:
    """Add a command with its one-line help and its description."""
    return commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}. {more}")


def add_output_style(command: argparse.ArgumentParser) -> None:
    """Add how results and progress are shown."""
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.add_argument("--quiet", action="store_true", help="show no progress")


def add_root(command: argparse.ArgumentParser) -> None:
    """Add what paths in some files are relative to."""
    command.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help="folder that paths in COCO and Label Studio files count from; the latter need it",
    )


def add_source(command: argparse.ArgumentParser, flag: str = "--input") -> None:
    """Add where the images are."""
    command.add_argument(
        flag,
        required=True,
        metavar="SOURCE",
        help="a folder, a glob in quotes, a .csv, or a .txt of one path a line",
    )
    command.add_argument(
        "--image-col",
        default="image_path",
        metavar="NAME",
        help="column of paths in a .csv (default: %(default)s)",
    )
    command.add_argument(
        "--pattern",
        default="*",
        metavar="GLOB",
        help="only files of a folder whose name matches (default: all)",
    )


def add_model(
    command: argparse.ArgumentParser, *, batch_size: int, dtype: str, devices: str = ""
) -> None:
    """Add which model runs, and how; `devices` is what else can be said of them."""
    command.add_argument(
        "--model",
        default="facebook/dinov2-base",
        metavar="NAME",
        help="short name, hub id, local folder or 'offline'; see `models` (default: %(default)s)",
    )
    command.add_argument("--revision", metavar="REV", help="branch, tag or commit on the hub")
    command.add_argument(
        "--image-size", type=count, metavar="PIXELS", help="edge of what the model sees"
    )
    command.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help=f"auto, cpu, cuda, cuda:1 or mps{devices} (default: %(default)s)",
    )
    command.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default=dtype,
        help="precision that the model computes in (default: %(default)s)",
    )
    command.add_argument(
        "--batch-size",
        type=count,
        default=batch_size,
        metavar="N",
        help="images that the model sees at once (default: %(default)s)",
    )
    command.add_argument(
        "--num-workers",
        type=count_or_zero,
        default=4,
        metavar="N",
        help="threads that decode (default: %(default)s)",
    )


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Add the option that prints a shell's completion script."""
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=("bash", "zsh", "tcsh"),
        metavar="SHELL",
        help="print a completion script for bash, zsh or tcsh; needs the package shtab",
    )


class _PrintCompletion(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        try:
            import shtab
        except ImportError:
            parser.exit(
                1,
                "dinov2-sklearn: error: --print-completion needs shtab. Install it with "
                '`pip install "dinov2-sklearn[completion]"`.\n',
            )
        print(shtab.complete(parser, str(values)))
        parser.exit()


def show_progress(arguments: argparse.Namespace) -> bool:
    """Tell whether to draw progress bars: on a terminal, where they are not unwanted."""
    return not arguments.quiet and sys.stderr.isatty()


def count(text: str) -> int:
    """Read a positive whole number."""
    return _whole(text, 1, "positive whole number")


def count_or_zero(text: str) -> int:
    """Read a whole number of 0 or more."""
    return _whole(text, 0, "whole number of 0 or more")


def _whole(text: str, lowest: int, what: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = lowest - 1
    if value < lowest:
        raise argparse.ArgumentTypeError(f"{text!r} is not a {what}")
    return value


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def count_or_share(text: str) -> int | float:
    """Read a positive whole number, or a share such as 0.1."""
    if text.strip().lstrip("+").isdecimal():
        return count(text)
    value = share(text)
    if value == 0:
        raise argparse.ArgumentTypeError("a share of 0 selects nothing")
    return value


def check_output(path: Path, *others: Path, option: str = "--output") -> None:
    """Refuse a file to write that is another one, or has no folder, before hours of work."""
    for other in others:
        if path.resolve() == other.resolve():
            raise ValueError(
                f"{option} {str(path)!r} is one of the inputs or outputs. Name another file."
            )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {str(path.parent)!r} does not exist. Make it first.")
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder. Name a file.")
