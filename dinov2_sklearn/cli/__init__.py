"""The ``dinov2-sklearn`` command.

Results go to standard output, progress and errors to standard error. The exit status is 0 for
success, 1 for a failure, 2 for a command line that makes no sense, and 3 where all is done but for
some images, which are listed. Whatever a command needs is imported when it runs, so that
``--help`` answers at once.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from .._version import __version__
from . import (
    _audit,
    _dedupe,
    _demo,
    _extract,
    _label_report,
    _models,
    _patches,
    _run,
    _select,
    _visualize,
)
from ._options import PrintCompletion
from ._report import Report

__all__ = ["main"]

_COMMANDS = (
    _extract,
    _dedupe,
    _visualize,
    _select,
    _audit,
    _label_report,
    _patches,
    _run,
    _models,
    _demo,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        The arguments, without the program's name. None takes those of the process.

    Returns
    -------
    status : int
        0, 1 when the command failed and said why on standard error, or 3 when images were
        skipped.

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
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started this process
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115
        if hasattr(getattr(sys, name), "reconfigure"):  # a file's name may be no valid text
            getattr(sys, name).reconfigure(errors="surrogateescape")
    arguments = _parser().parse_args(argv)
    arguments.command.settle(arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)  # what concerns the user, no deprecations
            warnings.showwarning = _show_warning
            report = arguments.run(arguments)
    except (ImportError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
        print(f"dinov2-sklearn: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dinov2-sklearn: interrupted", file=sys.stderr)
        return 130  # what a shell reports of a process that SIGINT ended
    return _tell(report, as_json=arguments.json)


def _tell(report: Report, *, as_json: bool) -> int:
    try:
        report.tell(as_json=as_json)
    except BrokenPipeError:
        # Who reads the output, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return report.status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dinov2-sklearn",
        description="From folders of images to DINOv2 embeddings, a map, and a diverse subset.",
        epilog="Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but for some images, "
        "130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=("bash", "zsh", "tcsh"),
        metavar="SHELL",
        help="print a completion script for bash, zsh or tcsh; needs the package shtab",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_to(commands)
    return parser


def _show_warning(message: Warning | str, *args: object, **kwargs: object) -> None:
    print(f"dinov2-sklearn: warning: {message}", file=sys.stderr)
