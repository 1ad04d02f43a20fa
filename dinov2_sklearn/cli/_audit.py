"""``dinov2-sklearn audit``."""

import argparse
from pathlib import Path

from ._options import Command, Commands, check_output, count, given
from ._report import Report, load, write_csv
from ._sheet import add_sheet, check_sheet, refuse_images, write_sheet

__all__ = ["add_to"]

_ESTIMATOR = "labels._quality.LabelQuality"
# So many labels are hardly wrong: the classes are hard to tell apart, or thinly labelled.
_TOO_MANY = 0.25
_COLUMNS = ("path", "label", "suggested", "quality")


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = Command(
        commands,
        "audit",
        "list labels that look wrong, the most suspect first",
        "An image's nearest labelled images say what it should be; copies of it have no vote.",
        _run,
    )
    command.add_embeddings()
    command.add_labels()
    command.option("--output", Path, "P", "a .csv to write", required=True)
    command.option("--n", count, "N", "how many to list (default: all whose neighbours disagree)")
    command.parameter(_ESTIMATOR, "n_neighbors", count, "N", "labelled images that vote")
    what = "cosine from which images are copies, which have no vote"
    command.parameter(_ESTIMATOR, "min_similarity", float, "S", what)
    command.add_root()
    add_sheet(command, "suspects")


def _run(arguments: argparse.Namespace) -> Report:
    import numpy as np

    from ..io import load_labels
    from ..labels import LabelQuality

    check_output(arguments.output, arguments.embeddings, arguments.labels)
    check_sheet(arguments, arguments.output, arguments.embeddings, arguments.labels)
    rows, paths, _, _, skipped, _ = load(arguments.embeddings)
    refuse_images(arguments, paths)
    y = load_labels(arguments.labels, paths, root=arguments.root)
    model = LabelQuality(**given(arguments, _ESTIMATOR)).fit(rows, y)
    order = np.argsort(model.label_quality_, kind="stable").tolist()
    order = [row for row in order if np.isfinite(model.label_quality_[row])]
    differing = [row for row in order if y[row] != model.suggested_labels_[row]]
    suspects = differing if arguments.n is None else order[: arguments.n]
    lines = [
        (paths[row], y[row], model.suggested_labels_[row], f"{model.label_quality_[row]:.6f}")
        for row in suspects
    ]
    write_csv(arguments.output, _COLUMNS, lines)
    told = f"{arguments.output}: {len(suspects)} of {len(order)} labels, the most suspect first; "
    told += f"neighbours would give {len(differing)} another"
    if len(differing) > _TOO_MANY * len(order):
        told += ".\nThese are too many to be wrong: so far the labels hardly tell the classes "
        told += "apart. Trust the order, and look at the first few"
    shown = [paths[row] for row in suspects]
    data = {
        "output": str(arguments.output),
        "n_labelled": len(order),
        "n_differ": len(differing),
        "suspects": shown,
    }
    if arguments.contact_sheet is not None and shown:
        data["contact_sheet"] = str(arguments.contact_sheet)
        title = f"{len(shown)} suspect labels, the worst first"
        captions = [
            f"{number}  {label}" + (f", or {suggested}?" if label != suggested else "")
            for number, (_, label, suggested, _) in enumerate(lines, start=1)
        ]
        skipped = [*skipped, *write_sheet(arguments, shown, title, paths, captions)]
        told += f"\n{arguments.contact_sheet}: how they look"
    return Report(told, data, skipped)
