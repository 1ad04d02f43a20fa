"""``dinov2-sklearn dedupe``."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._options import Command, Commands, check_output, given, show_progress
from ._report import Report, after_writing, load, write_csv
from ._sheet import add_sheet, check_sheet, refuse_images, write_sheet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..duplicates import NearDuplicates

__all__ = ["add_to"]

_ESTIMATOR = "duplicates._near_duplicates.NearDuplicates"
_COLUMNS = ("path", "group", "kept", "similarity", "nearest")
# Groups on a contact sheet, and images of each.
_GROUPS, _OF_EACH = 16, 6


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = Command(
        commands,
        "dedupe",
        "group embedded images that are nearly the same, and keep one of each",
        "Nothing is deleted: the CSV has a line an image, and says which one of a group to keep.",
        _run,
    )
    command.add_embeddings()
    command.option("--output", Path, "P", "a .csv to write", required=True)
    parameter = partial(command.parameter, _ESTIMATOR)
    parameter("min_similarity", float, "S", "cosine from which images are near-duplicates")
    what = "groups that chains connect, or without a pair below --min-similarity"
    parameter("linkage", ("connected", "complete"), None, what)
    parameter("keep", ("central", "first", "last"), None, "which image of a group is kept")
    what = "embeddings of images that are there already: what copies one of them is not kept"
    command.option("--against", Path, "F", what)
    command.option("--copy-kept-to", Path, "DIR", "gather the kept images here as well")
    add_sheet(command, "images of the largest groups")


def _run(arguments: argparse.Namespace) -> Report:
    from ..duplicates import NearDuplicates, identical_images, leaks

    inputs = [arguments.embeddings, *filter(None, [arguments.against])]
    check_output(arguments.output, *inputs)
    check_sheet(arguments, arguments.output, *inputs)
    if arguments.output.suffix.lower() != ".csv":
        raise ValueError(f"--output {str(arguments.output)!r} must end in .csv.")
    rows, paths, _, model_name, skipped, _ = load(arguments.embeddings)
    refuse_images(arguments, paths)
    parameters = given(arguments, _ESTIMATOR)
    duplicates = NearDuplicates(**parameters, verbose=show_progress(arguments)).fit(rows)
    copies: dict[int, dict[str, Any]] = {}
    if arguments.against is not None:
        there = load(arguments.against)
        if (model_name or there.model_name) != (there.model_name or model_name):
            raise ValueError(
                f"{str(arguments.against)!r} holds embeddings of {there.model_name}, and "
                f"{str(arguments.embeddings)!r} of {model_name}: they cannot be compared."
            )
        skipped = [*skipped, *there.skipped]  # whose copies cannot be told
        known = leaks(there.rows, rows, duplicates.min_similarity)
        duplicates = _keep_new(duplicates, rows, known.test_indices)
        found = zip(known.test_indices, known.train_indices, known.similarity, strict=True)
        for row, other, value in found:
            copies[row] = {
                "kept": 0,
                "similarity": f"{value:.6f}",
                "nearest": there.paths[other],
            }
    lines = _lines(duplicates, paths)
    for row, copy in copies.items():
        lines[row] |= copy
    write_csv(arguments.output, _COLUMNS, [[*line.values()] for line in lines])
    kept = [line["path"] for line in lines if line["kept"]]
    n_identical = int((identical_images(paths, duplicates.labels_) >= 0).sum())
    data = {
        "output": str(arguments.output),
        "n_images": len(paths),
        "n_groups": duplicates.n_groups_,
        "largest_group": int(duplicates.group_sizes_.max()),
        "min_similarity": float(duplicates.min_similarity),
        "n_kept": len(kept),
        "n_identical": n_identical,
        "n_known": len(copies),
    }
    text = f"{arguments.output}: {len(paths)} images in {duplicates.n_groups_} groups, the largest "
    text += f"of {data['largest_group']}; {len(kept)} are kept. Byte for byte an image before it: "
    text += f"{n_identical}"
    if arguments.against is not None:
        text += f"; {len(copies)} copy an image of {arguments.against}"
    if arguments.copy_kept_to is not None:
        from ..selection import copy_images

        with after_writing(arguments.output, "the kept images could not all be gathered"):
            data["copies"] = copy_images(kept, arguments.copy_kept_to)
        text += f"\n{arguments.copy_kept_to}: the kept images"
    if arguments.contact_sheet is not None:
        data["contact_sheet"] = str(arguments.contact_sheet)
        rows_shown = _of_largest_groups(duplicates)
        shown = [paths[row] for row in rows_shown]
        captions = [_caption(lines[row]) for row in rows_shown]
        what = "images of the largest groups, the kept one of each first"
        with after_writing(arguments.output, "the contact sheet could not be written"):
            skipped = [*skipped, *write_sheet(arguments, shown, what, paths, captions)]
        text += f"\n{arguments.contact_sheet}: how they look"
    return Report(text, data, skipped)


def _keep_new(duplicates: "NearDuplicates", rows: "NDArray", known: "NDArray") -> "NearDuplicates":
    """Keep of each group an image that copies none of those that are there, if it has one."""
    import numpy as np
    from sklearn.base import clone

    n = len(rows)
    is_known = np.isin(np.arange(n), known)
    without = duplicates.labels_[duplicates.support_ & is_known]
    if not np.isin(without, duplicates.labels_[~is_known]).any():
        return duplicates
    orders = {"first": -np.arange(n), "last": np.arange(n)}
    scores = orders.get(str(duplicates.keep), duplicates.similarity_).astype(np.float64)
    scores[is_known] -= 4 * n
    return clone(duplicates).set_params(keep=scores).fit(rows)


def _lines(duplicates: "NearDuplicates", paths: list[str]) -> list[dict[str, Any]]:
    nearest = ["" if row < 0 else paths[row] for row in duplicates.nearest_]
    columns = zip(
        paths,
        duplicates.labels_.tolist(),
        duplicates.support_.astype(int).tolist(),
        [f"{value:.6f}" for value in duplicates.similarity_],
        nearest,
        strict=True,
    )
    return [dict(zip(_COLUMNS, values, strict=True)) for values in columns]


def _caption(line: dict[str, Any]) -> str:
    return f"group {line['group']}, " + ("kept" if line["kept"] else f"{line['similarity']:.6}")


def _of_largest_groups(duplicates: "NearDuplicates") -> list[int]:
    """Return rows of the groups to be shown, the kept one of each first."""
    import numpy as np

    sizes = duplicates.group_sizes_
    rows: list[int] = []
    for group in np.argsort(-sizes, kind="stable")[:_GROUPS]:
        kept = int(duplicates.kept_indices_[group])
        members = np.flatnonzero(duplicates.labels_ == group).tolist()
        rows += [kept, *(row for row in members if row != kept)][:_OF_EACH]
    return rows
