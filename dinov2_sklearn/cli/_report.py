"""What commands read and what they found out, with the images that were left out."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Loaded",
    "Report",
    "after_writing",
    "all_skipped",
    "folder_of",
    "leave_out",
    "load",
    "write_csv",
]

_BLOCK = 65_536
_SHOWN = 20


class Loaded(NamedTuple):
    """Rows of numbers, the images that they belong to, and the images that have none.

    `numbers` are those of the rows in the file, where rows that are missing count too; `columns`
    hold what else is known of each image.
    """

    rows: "NDArray[np.floating]"
    paths: list[str]
    numbers: "NDArray[np.intp]"
    model_name: str
    skipped: list[dict[str, Any]]
    columns: dict[str, list[Any]]


def load(path: Path) -> Loaded:
    """Read embeddings, leaving out rows that have no numbers."""
    from ..io import load_embeddings, open_shards

    found = open_shards(path) if path.is_dir() else load_embeddings(path)
    if len(found.embeddings) == 0:
        raise ValueError(f"{str(path)!r} holds no embeddings.")
    loaded = leave_out(found)
    if len(loaded.rows) == 0:
        raise ValueError(f"{str(path)!r} holds no row without NaN or infinity.")
    return loaded


def folder_of(path: str) -> str:
    """Return the folder that an image lies in, that within an archive with the archive."""
    from ..images import ImageRef

    ref = ImageRef(path)
    if not ref.is_url:
        return str(PurePath(path).parent)
    return ref.within.rpartition("/")[0] + "".join(path.partition("::")[1:])


def leave_out(found: Any) -> Loaded:
    """Leave rows of NaN or infinity out of embeddings or shards."""
    import numpy as np

    rows = found.embeddings
    # In blocks, since the rows may be more than fit into memory.
    starts = range(0, len(rows), _BLOCK)
    finite = np.concatenate([np.isfinite(rows[s : s + _BLOCK]).all(axis=1) for s in starts])
    if finite.all():
        return Loaded(
            rows, found.image_ids, np.arange(len(rows)), found.model_name, [], found.columns
        )
    causes = {error["row"]: error["cause"] for error in getattr(found, "errors", [])}
    skipped = [
        {"image_id": found.image_ids[row], "cause": causes.get(row, "its embedding has no numbers")}
        for row in np.flatnonzero(~finite).tolist()
    ]
    numbers = np.flatnonzero(finite)
    paths = [found.image_ids[number] for number in numbers.tolist()]
    columns = {
        name: [values[n] for n in numbers.tolist()] for name, values in found.columns.items()
    }
    return Loaded(rows[finite], paths, numbers, found.model_name, skipped, columns)


def write_csv(file: Path, columns: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """Write a table, whole or not at all."""
    from ..utils import atomic_write

    text = StringIO()
    # The default line end, CRLF, also makes the writer quote a lone carriage return in a path.
    table = csv.writer(text)
    table.writerow(columns)
    table.writerows(lines)
    with atomic_write(file) as stream:
        stream.write(text.getvalue().encode("utf-8", "surrogateescape"))


@contextmanager
def after_writing(file: Path, failure: str) -> Iterator[None]:
    """Say of what fails after a file was written that it is there."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise OSError(f"{str(file)!r} is written, but {failure}: {error}") from error


@dataclass
class Report:
    """A command's result.

    Attributes
    ----------
    text : str
        For people.
    data : dict
        For programs: the same as JSON can hold it.
    skipped : list of dict
        Images left out: ``image_id`` and ``cause`` of each.
    """

    text: str
    data: dict[str, Any]
    skipped: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The exit status: 3 where images were skipped."""
        return 3 if self.skipped else 0

    def tell(self, *, as_json: bool) -> None:
        """Print the result, and what was skipped on standard error."""
        if as_json:
            print(json.dumps({**self.data, "skipped": self.skipped}, indent=1))
        elif self.text:
            print(self.text)
        sys.stdout.flush()
        if not self.skipped:
            return
        n = len(self.skipped)
        told = "1 image was skipped" if n == 1 else f"{n} images were skipped"
        print(f"dinov2-sklearn: {told}:", file=sys.stderr)
        for entry in self.skipped[:_SHOWN]:
            print(f"  {entry['image_id']}: {entry['cause']}", file=sys.stderr)
        if len(self.skipped) > _SHOWN:
            print(f"  ... and {len(self.skipped) - _SHOWN} more; --json lists all", file=sys.stderr)


def all_skipped(skipped: list[dict[str, Any]]) -> ValueError:
    """Return the error of a command that is left without an image."""
    first = skipped[0]
    return ValueError(
        f"None of the {len(skipped)} images could be decoded. The first, {first['image_id']!r}: "
        f"{first['cause']}."
    )
