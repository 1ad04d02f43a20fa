"""What the processes of a Ray cluster do; this module imports neither Ray nor torch.

What goes wrong for a reason of its own travels back as data, pickled: an exception that leaves a
worker comes out of Ray in wrappings, with a page of logs.
"""

import os
import pickle
import socket
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...images import ImageDecodeError, ImageReader, ImageRef, map_ahead
from ...io._parquet import Shard, pyarrow, read_shard, write_shard
from ...io._shard_folder import differences
from ...io._shards import manifest_file
from .._extraction import Extraction
from .._shards import fill
from .._transformer import DINOv2Transformer

__all__ = [
    "ATTEMPTS",
    "ClusterRun",
    "ShardEmbedder",
    "absolute",
    "decode_shards",
    "describe",
    "read_outcome",
]

ATTEMPTS = ".attempts"
_MAX_ATTEMPTS = 5


@dataclass(frozen=True)
class ClusterRun:
    """What all workers of a run know.

    Attributes
    ----------
    folder : Path
        Where the shards go.
    transformer : DINOv2Transformer
        How to embed, on a device of the worker.
    made_of : dict
        What `Extraction.describe` must say on every node.
    reader : ImageReader
        How to decode.
    root : str
        What relative paths count from.
    """

    folder: Path
    transformer: DINOv2Transformer
    made_of: dict[str, Any]
    reader: ImageReader
    root: str

    def extraction(self) -> Extraction:
        """Return what embeds images, having checked that it is what the run was begun with."""
        self._check_folder()
        extraction = self.transformer._extraction()
        found = differences(self.made_of, extraction.describe())
        if found:
            raise RuntimeError(
                f"The node {socket.gethostname()!r} would make other embeddings than the run was "
                f"begun with: {'; '.join(found.values())}. Use nodes of one kind, name the dtype "
                "rather than 'auto', and have the same model everywhere."
            )
        return extraction

    def shard(self, path: Path, ids: Sequence[str]) -> Shard:
        """Return what is there of a shard."""
        self._check_folder()
        with suppress(FileNotFoundError, ValueError):
            shard = read_shard(path, self.made_of["n_features"])
            if shard.ids == [*ids]:
                shard.rows = shard.rows.copy()  # pyarrow's memory is not to be written to
                return shard
        return Shard.empty(ids, self.made_of["n_features"])

    def paths(self, ids: Sequence[str]) -> list[str]:
        """Return where images are."""
        return [absolute(path, self.root) for path in ids]

    def _check_folder(self) -> None:
        if not manifest_file(self.folder).is_file():
            raise FileNotFoundError(
                f"The folder {str(self.folder)!r} is there where the program runs, but not on the "
                f"node {socket.gethostname()!r}. Name one on a file system that all nodes share."
            )


def absolute(path: str, root: str) -> str:
    """Return a path below the root, unless it is absolute or a URL already."""
    return path if ImageRef(path).is_url else os.path.join(root, path)  # noqa: PTH118 - a str, as given


def outcome_of(work: Callable[[], Any]) -> bytes:
    """Do work, and return what it returns or raises, pickled."""
    try:
        outcome = work()
    except Exception as error:
        # A traceback does not travel. A note does, and Python prints it with the error.
        if not isinstance(error, ImageDecodeError):
            error.add_note(f"On the node {socket.gethostname()!r}:\n{traceback.format_exc()}")
        outcome = error
    try:
        return pickle.dumps(outcome)
    except Exception:  # an error that holds a lock, say
        return pickle.dumps(RuntimeError(f"{type(outcome).__name__}: {outcome}"))


def read_outcome(outcome: bytes) -> Any:
    """Return what work has returned, or raise what it has raised."""
    result = pickle.loads(outcome)
    if isinstance(result, Exception):
        raise result
    return result


def describe(transformer: DINOv2Transformer, paths: Sequence[str]) -> bytes:
    """Say what embeddings a worker would make, and how, and which of the paths it sees."""

    def work() -> dict[str, Any]:
        extraction = transformer._extraction()
        recipe = extraction.recipe
        return {
            "made_of": extraction.describe(),
            "reader": recipe.reader,
            "device": extraction.devices[0].type,
            "node": socket.gethostname(),
            "seen": [os.path.exists(ImageRef(path).file) for path in paths],  # noqa: PTH110
        }

    return outcome_of(work)


def decode_shards(shards: Any, run: ClusterRun) -> Any:
    """Decode the images of shards, so that actors with a GPU need not."""
    pa = pyarrow()
    rows = [
        {**row, "decoded": outcome_of(partial(_decode, run, row))} for row in shards.to_pylist()
    ]
    # An array of pyarrow's usual binary type holds no more than 2 GB.
    schema = shards.schema.append(pa.field("decoded", pa.large_binary()))
    return pa.Table.from_pylist(rows, schema=schema)


def _decode(run: ClusterRun, row: dict[str, Any]) -> dict[int, Any]:
    """Return what becomes of the images that are missing in a shard, by their positions."""
    todo = sorted(run.shard(run.folder / row["file"], row["ids"]).errors)
    paths = run.paths([row["ids"][i] for i in todo])
    n_threads = run.transformer.num_workers
    pictures = map_ahead(run.reader.pictures, paths, num_workers=n_threads, ahead=len(paths))
    return dict(zip(todo, pictures, strict=True))


class ShardEmbedder:
    """An actor: holds the model, and turns shards of images into files.

    Where it is killed, another does the shard anew under the same name, so that no row is lost
    and none is there twice.
    """

    def __init__(self, run: ClusterRun) -> None:
        self.run = run
        self._extraction: Extraction | None = None

    def __call__(self, shards: Any) -> Any:
        pa = pyarrow()
        outcomes = [outcome_of(partial(self._embed, row)) for row in shards.to_pylist()]
        return pa.table({"outcome": pa.array(outcomes, pa.binary())})

    def _embed(self, row: dict[str, Any]) -> tuple[str, int, int]:
        """Make one file; return its name and the numbers of its rows and its errors."""
        if self._extraction is None:
            self._extraction = self.run.extraction()
        path, ids = self.run.folder / row["file"], row["ids"]
        shard = self.run.shard(path, ids)
        todo = sorted(shard.errors)
        decoded = read_outcome(row["decoded"]) if "decoded" in row else {}
        if todo:
            paths = self.run.paths([ids[i] for i in todo])
            images = [decoded.get(i, path) for i, path in zip(todo, paths, strict=True)]
            with _attempt(path, ids), self._extraction:
                fill(shard, self._extraction, images)
            write_shard(path, shard)
        return row["file"], len(ids), len(shard.errors)


@contextmanager
def _attempt(path: Path, ids: Sequence[str]) -> Iterator[None]:
    """Count the processes that die of a shard, which Ray would go on replacing for ever."""
    marks = path.with_name(f".{path.name}{ATTEMPTS}")
    with marks.open("ab") as file:
        file.write(b".")
        n_attempts = file.tell()
    if n_attempts > _MAX_ATTEMPTS:
        raise RuntimeError(
            f"{_MAX_ATTEMPTS} processes died while they embedded the {len(ids)} images from "
            f"{ids[0]!r} to {ids[-1]!r}. Ray's logs say of what. If memory ran out, use a smaller "
            "batch_size or shard_size, or fewer actors on a node."
        )
    try:
        yield
    finally:
        marks.unlink(missing_ok=True)
