"""Arguments of the commands: those that several share, and the parameters of estimators."""

import argparse
import ast
import json
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..images import ImageTable

__all__ = [
    "Command",
    "Commands",
    "PrintCompletion",
    "check_output",
    "count",
    "count_or_share",
    "count_or_zero",
    "devices",
    "distance",
    "given",
    "list_source",
    "share",
    "show_progress",
]

Commands = Any  # argparse keeps the type of what add_subparsers returns to itself
# What turns a word into a value; or the words that there are; or a list of what may be repeated.
Kind = Callable[[str], Any] | tuple[str, ...] | list[Callable[[str], Any]]


class Command:
    """A command, whose options are a line each."""

    def __init__(
        self,
        commands: Commands,
        name: str,
        help: str,
        more: str,
        run: Callable[[argparse.Namespace], Any],
    ) -> None:
        description = f"{help[0].upper()}{help[1:]}. {more}"
        self.parser = commands.add_parser(name, help=help, description=description)
        self.parser.set_defaults(run=run, command=self)
        self._defaults: dict[str, Any] = {}
        self._needs: list[tuple[tuple[str, ...], str, Callable[[argparse.Namespace], Any]]] = []
        self.switch("--json", "print the result as JSON")
        self.switch("--quiet", "show no progress")

    def option(self, flag: str, kind: Kind, metavar: str | None, help: str, **more: Any) -> None:
        """Add an option that takes a value."""
        default = more.pop("default", None)
        if default and default != argparse.SUPPRESS and "default" not in help:
            help += f" (default: {default})"
        if isinstance(kind, tuple):
            more["choices"] = kind
        elif isinstance(kind, list):
            more |= {"type": kind[0], "action": "append"}
        else:
            more["type"] = kind
        self._add(flag, default, metavar=metavar, help=help, **more)

    def switch(self, flag: str, help: str, action: Any = "store_true") -> None:
        """Add an option that is there or not."""
        self._add(flag, False, action=action, help=help)

    def _add(self, flag: str, default: Any, **more: Any) -> None:
        # `settle` puts defaults in: until then, what is there was given.
        added = self.parser.add_argument(flag, default=argparse.SUPPRESS, **more)
        if default != argparse.SUPPRESS:
            self._defaults[added.dest] = default

    def require(self, what: str, holds: Callable[[argparse.Namespace], Any], *flags: str) -> None:
        """Refuse options where they would change nothing: where `what` is not so."""
        self._needs.append((flags, what, holds))

    def settle(self, arguments: argparse.Namespace) -> None:
        """Put in the defaults, and exit with an error if an option given would change nothing."""
        chosen = set(vars(arguments))
        for dest, default in self._defaults.items():
            # Not a default itself, which is appended to.
            setattr(arguments, dest, getattr(arguments, dest, copy(default)))
        dests = {
            flag: action.dest for action in self.parser._actions for flag in action.option_strings
        }
        for flags, what, holds in self._needs:
            idle = [flag for flag in flags if dests[flag] in chosen]
            if idle and not holds(arguments):
                self.parser.error(f"{' and '.join(idle)} would change nothing: {what}")

    def parameter(
        self,
        owner: str,
        name: str,
        kind: Kind,
        metavar: str | None,
        help: str,
        flag: str | None = None,
    ) -> None:
        """Add an option that is a parameter of an estimator, where its default stays.

        It is passed on where it is given: see `given`.
        """
        default = _defaults(owner).get(name)
        if default is not None and "default" not in help:
            help += f" (default: {default})"
        flag = flag or "--" + name.replace("_", "-")
        dest = f"{owner}:{name}"
        self.option(flag, kind, metavar, help, dest=dest, default=argparse.SUPPRESS)

    def add_source(self, flag: str = "--input") -> None:
        """Add where the images are, for `list_source`."""
        what = "a folder, a glob in quotes, a .csv, .jsonl or .parquet, a .tar, or a .txt of one "
        what += "path a line; may be repeated"
        self.option(flag, [str], "SOURCE", what, dest="source", default=[])
        what = "column of paths or images in a table"
        self.option("--image-col", str, "NAME", what, default="image_path")
        which = "only files of a folder whose name matches (default: all)"
        self.option("--pattern", str, "GLOB", which, default="*")
        which = "files and folders to leave out of a folder; may be repeated"
        self.option("--exclude-pattern", [str], "GLOB", which, default=[])
        what = "embed boxes in place of whole pictures: a .json of COCO or MegaDetector, a folder "
        what += "of YOLO's .txt files, a .csv; with --input, the folder that the pictures lie in"
        self.option("--boxes", Path, "FILE", what)
        what = "boxes of less confidence are left out"
        self.option("--min-confidence", share, "SHARE", what, default=0.2)
        what = "share of a box's size that is added on each side"
        self.option("--padding", distance, "SHARE", what, default=0.0)
        self.switch("--square", "lengthen the shorter edge of each box to the longer")
        what = "embed a frame in so many seconds of each video of --input"
        self.option("--frames", float, "SECONDS", what)
        self.switch("--pages", "embed each page of a stack")
        what = "what fsspec's file systems are given to open URLs, as JSON"
        self.option("--storage-options", json_object, "JSON", what)
        of_boxes = ("--min-confidence", "--padding", "--square")
        self.require("it is about boxes, which --boxes reads", lambda a: a.boxes, *of_boxes)
        what = "it is about folders, and these are read neither with --boxes nor with --frames"
        of_folders = ("--pattern", "--exclude-pattern", "--pages")
        self.require(what, lambda a: not a.boxes and a.frames is None, *of_folders)
        what = "it is about tables, and there is none"
        self.require(what, lambda a: any(map(_is_table, _all_sources(a))), "--image-col")
        what = f"it is about videos, which {flag} names, and not about --boxes"
        self.require(what, lambda a: a.source and not a.boxes, "--frames")

    def add_labels(self) -> None:
        """Add the labels that there are, for `load_labels`."""
        what = "labels: a .csv or .json, an export of Label Studio, COCO, or a folder a class"
        self.option("--labels", Path, "FILE", what, required=True)

    def add_embeddings(self) -> None:
        """Add where the embeddings are."""
        what = "what `extract` wrote: a .pt, .npz or .parquet file, or a folder of shards"
        self.option("--embeddings", Path, "F", what, required=True)

    def add_root(self) -> None:
        """Add what paths in some files are relative to."""
        what = "folder that relative paths in files count from, those of COCO and Label Studio "
        what += "that are written, too; the latter need it"
        self.option("--root", Path, "DIR", what)

    def add_model(self, owner: str, device: Kind = str, more: str = "") -> None:
        """Add which model an estimator runs, and how; `more` is what else a device can be."""
        names = "short name, hub id, local folder or 'offline'; see `models`"
        self.parameter(owner, "model_name", str, "NAME", names, flag="--model")
        self.parameter(owner, "revision", str, "REV", "branch, tag or commit on the hub")
        self.parameter(owner, "image_size", count, "PIXELS", "edge of what the model sees")
        self.parameter(owner, "device", device, "NAME", f"auto, cpu, cuda, cuda:1 or mps{more}")
        dtypes = ("auto", "float32", "bfloat16", "float16")
        self.parameter(owner, "dtype", dtypes, None, "precision that the model computes in")
        self.parameter(owner, "batch_size", count, "N", "images that the model sees at once")
        self.parameter(owner, "num_workers", count_or_zero, "N", "threads that decode")
        modes = ("center", "pad", "squash")
        what = "the middle of a picture that is no square, or all of it with borders or squashed"
        self.parameter(owner, "crop_mode", modes, None, what)
        what = "bands that are red, green and blue, such as 3,2,1, or the one that is grey"
        self.parameter(owner, "bands", whole_numbers, "N,N,N", what)
        what = "of more than 8 bits, what is black and what white (default: from each image)"
        self.parameter(owner, "value_range", two_numbers, "LOW,HIGH", what)
        what = "larger files are not decoded; 'none' lifts the limit"
        self.parameter(owner, "max_pixels", count_or_none, "N", what)
        what = "whether files that end too early are decoded, with a grey rest"
        self.parameter(owner, "truncated", ("refuse", "accept"), None, what)


def given(arguments: argparse.Namespace, owner: str) -> dict[str, Any]:
    """Return the parameters of an estimator that were given."""
    prefix = f"{owner}:"
    named = vars(arguments).items()
    return {name.removeprefix(prefix): value for name, value in named if name.startswith(prefix)}


@cache
def _defaults(owner: str) -> dict[str, Any]:
    """Read the defaults of an estimator from its source: importing it takes longer than help may.

    Those that are no plain values are left out.
    """
    module, _, name = owner.rpartition(".")
    source = Path(__file__).parents[1].joinpath(*module.split(".")).with_suffix(".py")
    signature: Any = ast.parse(source.read_text(encoding="utf-8"))
    for part in (name, "__init__"):
        signature = next(node for node in signature.body if getattr(node, "name", None) == part)
    arguments = signature.args
    pairs = [*zip(arguments.args[::-1], arguments.defaults[::-1], strict=False)]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    defaults = {}
    for argument, value in pairs:
        with suppress(ValueError):
            defaults[argument.arg] = ast.literal_eval(value)
    return defaults


def list_source(arguments: argparse.Namespace, *, skips: bool = False) -> "ImageTable":
    """Return the images that were asked for, and the columns of their tables.

    Where the command skips what cannot be decoded, it skips what a table lists in vain, too.
    """
    from ..images import ImageTable, list_boxes, list_frames, list_rows

    sources: list[str] = arguments.source
    if not sources and arguments.boxes is None:
        raise ValueError("Name the images with --input, or boxes with --boxes.")
    if arguments.boxes is not None:
        if len(sources) > 1:
            raise ValueError("--boxes goes with one --input at most, the folder of the pictures.")
        return list_boxes(
            arguments.boxes,
            images=next(iter(sources), None),
            min_confidence=arguments.min_confidence,
            padding=arguments.padding,
            square=arguments.square,
            image_col=arguments.image_col,
            storage_options=arguments.storage_options,
        )
    if arguments.frames is not None:
        every, options = arguments.frames, arguments.storage_options
        return ImageTable.joined([list_frames(s, every, storage_options=options) for s in sources])
    tables = [
        list_rows(
            source,
            pattern=arguments.pattern,
            exclude=arguments.exclude_pattern,
            image_col=arguments.image_col,
            missing="keep" if skips else "raise",
            pages=arguments.pages,
            storage_options=arguments.storage_options,
        )
        for source in sources
    ]
    return ImageTable.joined(tables)


def _all_sources(arguments: argparse.Namespace) -> list[str]:
    return [*arguments.source, *map(str, filter(None, [arguments.boxes]))]


def _is_table(source: str) -> bool:
    name = source.partition("::")[0].lower()
    return name.endswith((".csv", ".tsv", ".jsonl", ".parquet"))


class PrintCompletion(argparse.Action):
    """Prints a shell's completion script."""

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


def _reader(kind: type, lowest: float, highest: float, what: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {what}")
        return value

    return read


count = _reader(int, 1, math.inf, "positive whole number")
count_or_zero = _reader(int, 0, math.inf, "whole number of 0 or more")
share = _reader(float, 0, 1, "number from 0 to 1")
distance = _reader(float, 0, sys.float_info.max, "number of 0 or more")


def count_or_none(text: str) -> int | None:
    """Read a positive whole number, or 'none'."""
    return None if text.lower() == "none" else count(text)


def json_object(text: str) -> dict[str, Any]:
    """Read an object of JSON."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is no JSON object such as {{"anon": true}}')
    return value


def whole_numbers(text: str) -> tuple[int, ...]:
    """Read positive whole numbers with commas between them."""
    return tuple(count(part) for part in text.split(","))


def two_numbers(text: str) -> tuple[float, ...]:
    """Read numbers with a comma between them."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers such as 0,4095")
    return values


def count_or_share(text: str) -> int | float:
    """Read a positive whole number, or a share such as 0.1."""
    if text.strip().lstrip("+").isdecimal():
        return count(text)
    value = share(text)
    if value == 0:
        raise argparse.ArgumentTypeError("a share of 0 selects nothing")
    return value


def devices(text: str) -> str | list[str]:
    """Read a device, or several with commas."""
    return text.split(",") if "," in text else text


def check_output(path: Path, *others: Path, option: str = "--output") -> None:
    """Refuse a file to write that is another one, or has no folder, before hours of work."""
    if any(path.resolve() == other.resolve() for other in others):
        raise ValueError(
            f"{option} {str(path)!r} is one of the inputs or outputs. Name another file."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {str(path.parent)!r} does not exist. Make it first.")
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder. Name a file.")
