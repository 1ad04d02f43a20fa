"""``dinov2-sklearn select``."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._options import Command, Commands, check_output, count, count_or_share, distance, given, share
from ._report import Report, after_writing, folder_of, load
from ._sheet import add_sheet, check_sheet, refuse_images, write_sheet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..selection import DiversitySampler

__all__ = ["add_to"]

_SAMPLER = "selection._sampler.DiversitySampler"
_OF_STRATEGIES = {
    "--fps-ratio": ("hybrid", "typical"),
    "--n-clusters": ("cluster", "typical"),
}


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = Command(
        commands,
        "select",
        "pick a diverse subset of embedded images",
        "They are written in the order in which to label them; `hybrid` puts typical images first.",
        _run,
    )
    command.add_embeddings()
    command.option("--output", Path, "P", "a .csv, .txt or .json to write", required=True)
    how_many = "how many to pick, or a share such as 0.1"
    command.option("--n", count_or_share, "N", how_many, required=True)
    parameter = partial(command.parameter, _SAMPLER)
    strategies = ("hybrid", "coverage", "fps", "typical", "cluster", "random")
    what = "images that stand for most others then far ones, the former or the latter alone, "
    what += "typical ones then far ones, by cluster, or at random"
    parameter("strategy", strategies, None, what)
    parameter("n_clusters", count, "K", "clusters to look for (default: by the data)")
    parameter("fps_ratio", share, "SHARE", "hybrid's share of far picks")
    parameter("min_distance", distance, "D", "no two picks are nearer to each other than this")
    which = "give each group its share of the picks: a column of --table, or 'folder', where an "
    which += "image lies"
    command.option("--group-by", str, "NAME", which)
    what = "shares in proportion to the groups' sizes, or equal ones"
    parameter("group_balance", ("proportional", "equal"), None, what)
    command.option("--table", Path, "FILE", "a .csv whose other columns travel with the picks")
    command.option("--image-col", str, "NAME", "its column of paths", default="image_path")
    parameter("metric", ("euclidean", "cosine"), None, "distance between embeddings")
    parameter("random_state", int, "N", "of what is random", flag="--seed")
    which = "pick at most one of images that are nearly the same: cosine from which they are"
    command.option("--dedupe", float, "S", which)
    which = "selection of an earlier round, in any format: counts as labelled, is extended and "
    which += "not picked again; may be repeated"
    command.option("--exclude", [Path], "FILE", which, default=[])
    what = "labels so far, a file of load_labels: these images are not picked again, and what they "
    what += "leave uncertain is; --strategy is then coverage unless it is given"
    command.option("--labels", Path, "FILE", what)
    what = "say how far the picks are from the best that so many could be: seconds for thousands "
    what += "of images, and 20,000 at most"
    command.switch("--prove", what)
    formats = ("csv", "txt", "json", "coco", "fiftyone", "label-studio")
    command.option("--format", formats, None, "default: by the extension of --output")
    command.add_root()
    command.option("--copy-to", Path, "DIR", "gather the picked images here as well")
    modes = ("copy", "symlink", "hardlink")
    command.option("--copy-mode", modes, None, "how they are gathered", default="copy")
    add_sheet(command, "picks")
    command.require("there is no --table", lambda a: a.table, "--image-col")
    command.require("there is no --group-by", lambda a: a.group_by, "--group-balance")
    command.require("there is no --copy-to", lambda a: a.copy_to, "--copy-mode")
    has_root = "no file of paths is read, and COCO's and Label Studio's alone are written with it"
    command.require(has_root, _takes_root, "--root")
    for flag, owners in _OF_STRATEGIES.items():
        what = f"--strategy is none of {', '.join(owners)}"
        command.require(what, partial(_is_strategy, owners=owners), flag)


def _takes_root(arguments: argparse.Namespace) -> bool:
    is_written = arguments.format in ("coco", "label-studio")
    return bool(is_written or arguments.exclude or arguments.labels)


def _is_strategy(arguments: argparse.Namespace, owners: tuple[str, ...]) -> bool:
    usual = "coverage" if arguments.labels else "hybrid"
    return given(arguments, _SAMPLER).get("strategy", usual) in owners


def _run(arguments: argparse.Namespace) -> Report:
    from ..selection import DiversitySampler, copy_images, write_selection

    inputs = [
        arguments.embeddings,
        *arguments.exclude,
        *filter(None, [arguments.table, arguments.labels]),
    ]
    check_output(arguments.output, *inputs)
    check_sheet(arguments, arguments.output, *inputs)
    rows, paths, numbers, model_name, skipped, columns = load(arguments.embeddings)
    refuse_images(arguments, paths)
    preselected = _preselected(arguments, paths)
    weights, preselected = _weigh(arguments, rows, paths, preselected)
    images = paths
    if arguments.dedupe is not None:
        kept, preselected = _one_of_each(arguments, rows, preselected)
        rows, numbers, paths = rows[kept], numbers[kept], [paths[row] for row in kept]
        weights = None if weights is None else weights[kept]
        columns = {name: [values[row] for row in kept] for name, values in columns.items()}
    columns = _columns(arguments, paths, columns)
    groups = columns.get(arguments.group_by)
    chosen = {"strategy": "coverage"} if arguments.labels is not None else {}
    sampler = DiversitySampler(arguments.n, **{**chosen, **given(arguments, _SAMPLER)})
    sampler.fit(rows, preselected=preselected, weights=weights, groups=groups)
    gap = _gap(sampler, rows, preselected, weights) if arguments.prove else None
    settings = {"model_name": model_name, "embeddings": str(arguments.embeddings)}
    write_selection(
        arguments.output,
        paths,
        sampler,
        format=arguments.format,
        root=arguments.root,
        settings=settings,
        rows=numbers,
        columns=columns,
    )
    picked = [paths[row] for row in sampler.selected_indices_]
    data = {
        "output": str(arguments.output),
        "n_picks": len(picked),
        "n_images": len(images),
        "n_excluded": len(preselected),
        "covering_radius": float(sampler.covering_radius_),
        "representation": float(sampler.representation_[-1]),
        "picks": picked,
    }
    text = f"{arguments.output}: {len(picked)} of {len(images)} images, which take away "
    text += f"{sampler.representation_[-1]:.0%} of the spread; covering radius "
    text += f"{sampler.covering_radius_:.4g}"
    if arguments.prove:
        data["gap"] = gap
        n_labelled = len(picked) + len(preselected)
        proof = f"proven within {gap:.1%} of" if gap is not None else "with no proof of how near to"
        text += f";\n{proof} the least cost that {n_labelled:,} images can have"
    if arguments.copy_to is not None:
        with after_writing(arguments.output, "the images could not all be gathered"):
            data["copies"] = copy_images(picked, arguments.copy_to, mode=arguments.copy_mode)
        text += f"\n{arguments.copy_to}: the images"
    if arguments.contact_sheet is not None:
        data["contact_sheet"] = str(arguments.contact_sheet)
        title = f"{len(picked)} picks, in order" if len(picked) > 1 else "1 pick"
        with after_writing(arguments.output, "the contact sheet could not be written"):
            skipped = [*skipped, *write_sheet(arguments, picked, title, images)]
        text += f"\n{arguments.contact_sheet}: how they look"
    return Report(text, data, skipped)


def _weigh(
    arguments: argparse.Namespace, rows: "NDArray", paths: list[str], preselected: list[int]
) -> tuple["NDArray | None", list[int]]:
    """Return how uncertain the labels leave each image, and which images are labelled."""
    if arguments.labels is None:
        return None, preselected
    import numpy as np

    from ..io import load_labels
    from ..labels import label_uncertainty
    from ..utils import encode_labels, warn

    y = load_labels(arguments.labels, paths, root=arguments.root)
    classes, codes = encode_labels(y, len(y))
    labelled = sorted({*preselected, *np.flatnonzero(codes >= 0).tolist()})
    if len(classes) < 2:
        warn(f"All labels are {classes.tolist()[0]!r}: images are picked by coverage alone.")
        return None, labelled
    return label_uncertainty(rows, y), labelled


def _gap(
    sampler: "DiversitySampler",
    rows: "NDArray",
    preselected: list[int],
    weights: "NDArray | None",
) -> float | None:
    """Prove how far the picks and the labelled images are from the best; None if nothing can be."""
    from math import isfinite

    from ..selection import optimality_gap

    labelled = [*preselected, *sampler.selected_indices_]
    gap = optimality_gap(rows, labelled, weights=weights, metric=sampler.metric).gap
    return gap if isfinite(gap) else None


def _columns(
    arguments: argparse.Namespace, paths: list[str], columns: dict[str, list[Any]]
) -> dict[str, list[Any]]:
    """Return what is known of each image: its columns, those of --table, its folder for groups."""
    from ..selection.files import COLUMNS

    # A selection has a score and others of its own.
    columns = {f"image_{k}" if k in COLUMNS else k: values for k, values in columns.items()}
    if arguments.table is not None:
        columns |= _read_table(arguments.table, arguments.image_col, paths)
    by = arguments.group_by
    if by == "folder" and by not in columns:
        columns[by] = [folder_of(path) for path in paths]
    if by is not None and by not in columns:
        known = ", ".join(map(repr, ["folder", *columns]))
        raise ValueError(f"--group-by {by!r} is not known of the images, only {known}.")
    return columns


def _read_table(file: Path, image_col: str, paths: list[str]) -> dict[str, list[Any]]:
    """Return the columns of a table, a value for each of the images."""
    from ..images import find_rows
    from ..images.sources import read_table

    listed, columns = read_table(str(file), image_col)
    found = find_rows(paths, listed)
    missing = [path for path, rows in zip(paths, found, strict=True) if not rows]
    if missing:
        raise ValueError(
            f"{len(missing)} of the {len(paths)} embedded images are not in --table {str(file)!r}, "
            f"the first of them {missing[0]!r}."
        )
    for name, values in columns.items():
        for path, rows in zip(paths, found, strict=True):
            if any(values[row] != values[rows[0]] for row in rows):
                raise ValueError(
                    f"--table {str(file)!r} has {len(rows)} rows of {path!r}, and their {name!r} "
                    "differ."
                )
    return {name: [values[rows[0]] for rows in found] for name, values in columns.items()}


def _one_of_each(
    arguments: argparse.Namespace, rows: "NDArray", preselected: list[int]
) -> tuple[list[int], list[int]]:
    """Return the images to pick from, and where the labelled ones are among them.

    A group with a labelled image has no other.
    """
    import numpy as np

    from ..duplicates import NearDuplicates

    duplicates = NearDuplicates(arguments.dedupe).fit(rows)
    labelled = np.zeros(duplicates.n_groups_, dtype=bool)
    labelled[duplicates.labels_[preselected]] = True
    kept = duplicates.support_ & ~labelled[duplicates.labels_]
    kept[preselected] = True
    places = np.cumsum(kept) - 1
    return np.flatnonzero(kept).tolist(), places[preselected].tolist()


def _preselected(arguments: argparse.Namespace, paths: list[str]) -> list[int]:
    from ..images import find_rows
    from ..selection import read_selection
    from ..utils import warn

    excluded: set[int] = set()
    for file in arguments.exclude:
        names = read_selection(file, root=arguments.root).paths
        if names is None:
            raise ValueError(f"{str(file)!r} holds row numbers only, no paths.")
        rows = find_rows(names, paths)
        if not any(rows):  # --root may be meant for the file that is written alone
            names = read_selection(file).paths or []
        rows = find_rows(names, paths, moved_in=repr(str(file)))
        if names and not any(rows):
            raise ValueError(
                f"None of the {len(names)} images in {str(file)!r}, such as {names[0]!r}, is among "
                f"the embedded ones, such as {paths[0]!r}. Is --root needed?"
            )
        missing = sum(not found for found in rows)
        if missing:
            told = f"{missing} of the {len(names)} images in {str(file)!r}"
            warn(f"{told} are not among the embedded ones.")
        excluded.update(*rows)
    return sorted(excluded)
