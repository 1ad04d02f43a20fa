"""``dinov2-sklearn report``."""

import argparse
from pathlib import Path

from ._options import Command, Commands, check_output
from ._report import Report, load

__all__ = ["add_to"]


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = Command(
        commands,
        "report",
        "say how many labels there are, how accurate they make a classifier, and if more pay",
        "The accuracy is cross-validated, with copies on one side.",
        _run,
    )
    command.add_embeddings()
    command.add_labels()
    what = "draw the learning curve as well: a .png, .jpg, .webp, .tif, .pdf or .svg"
    command.option("--curve", Path, "P", what)
    command.option("--seed", int, "N", "of the folds", default=0)
    command.add_root()


def _run(arguments: argparse.Namespace) -> Report:
    from ..drawing import check_extension
    from ..io import load_labels
    from ..labels import label_report
    from ..utils import atomic_write

    if arguments.curve is not None:
        check_extension(arguments.curve)
        inputs = (arguments.embeddings, arguments.labels)
        check_output(arguments.curve, *inputs, option="--curve")
    rows, paths, _, _, skipped, _ = load(arguments.embeddings)
    y = load_labels(arguments.labels, paths, root=arguments.root)
    report = label_report(rows, y, random_state=arguments.seed)
    text, data = str(report), report.to_dict()
    if arguments.curve is not None:
        import matplotlib as mpl

        mpl.use("agg")
        display = report.learning_curve().plot(score_type="test")
        with atomic_write(arguments.curve) as file:
            suffix = arguments.curve.suffix[1:].lower()
            display.figure_.savefig(file, format=suffix, dpi=150)
        text += f"\n{arguments.curve}: the learning curve"
        data["curve"] = str(arguments.curve)
    return Report(text, data, skipped)
