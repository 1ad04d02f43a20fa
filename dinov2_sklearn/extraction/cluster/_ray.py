"""Extraction on a cluster, with Ray Data."""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from numbers import Integral
from pathlib import Path
from typing import Any

from sklearn.base import clone

from ...backbone import CheckpointError
from ...images import ImageDecodeError, ImageRef, list_images, warn_of_failures
from ...images.sources import below_folder_of, check_column, is_frame
from ...io._parquet import check_unicode, count_rows, open_parquet, read_shard
from ...io._shard_folder import filling, make_plan
from ...io._shards import PARQUET_SHARDS, shard_bounds, shard_files
from ...utils import Progress, import_extra, left_over, warn
from .._shards import check_paths, check_settings
from .._transformer import DINOv2Transformer
from ._workers import (
    ATTEMPTS,
    ClusterRun,
    ShardEmbedder,
    absolute,
    decode_shards,
    describe,
    read_outcome,
)

__all__ = ["extract_with_ray"]

_N_LOOKED_FOR, _N_LISTED = 20, 10


def extract_with_ray(
    source: Any,
    folder: str | os.PathLike[str],
    transformer: DINOv2Transformer,
    *,
    concurrency: int | tuple[int, int],
    num_gpus: float = 0,
    num_cpus: float | None = None,
    actor_options: Mapping[str, Any] | None = None,
    shard_size: int = 1000,
    image_col: str = "image_path",
    verbose: bool = True,
) -> list[str]:
    """Embed images on a Ray cluster, into a folder of parquet files.

    The rows are those of ``transformer.transform``. Called again with the same arguments, it makes
    the files that are missing, and tries images that could not be decoded again. On one machine,
    with one or several GPUs, `extract_to_shards` does the same with less.

    Parameters
    ----------
    source : str, PathLike, DataFrame, ray.data.Dataset or sequence of paths
        The images: what `list_images` takes, or a ``.parquet`` file with a column of paths
        (relative ones count from the file's folder), or a Ray Dataset with one. The paths become
        the ids of the rows; those of a sequence, a data frame or a Dataset are not looked for where
        the program runs, and relative ones count from its working directory.
    folder : path-like
        Where the files go. Made if it does not exist; one that holds anything else is left as it
        is. All nodes must see it under this name, and the images under theirs.
    transformer : DINOv2Transformer
        How to embed. Each actor holds its model. With ``on_error="nan"``, images that cannot be
        decoded get rows of NaN with the cause; with ``"raise"``, files that were finished stay.
    concurrency : int or (int, int)
        Number of actors, or the smallest and the largest number, between which Ray chooses.
    num_gpus : float, default=0
        GPUs of an actor; 0.5 lets two share one. With 0, actors compute on CPUs.
    num_cpus : float, default=None
        CPUs of an actor, which are the threads of its model too. None means 1, or 0 beside GPUs.
    actor_options : dict, default=None
        More of what an actor needs, as ``ray.data.Dataset.map_batches`` takes it: ``memory``,
        ``resources``, ``accelerator_type``, ``label_selector``, ``runtime_env``.
    shard_size : int, default=1000
        Rows of a file. An actor works on one file at a time, and what is in work when it is killed
        is done again.
    image_col : str, default="image_path"
        The column of paths in a table.
    verbose : bool, default=True
        Whether to show a progress bar with rate and time left. Ray's own messages are Ray's to
        configure.

    Returns
    -------
    list of str
        The files, in the order of the rows. Each has the columns ``id``, ``embedding`` and
        ``error``, the last null where there is an embedding.

    Raises
    ------
    ImportError
        If Ray or pyarrow is not installed.
    ValueError
        If the folder was begun with other images or settings (`OtherShardsError`), or holds other
        files; if the source has no such column; or if the transformer's device is not what
        `num_gpus` says.
    FileNotFoundError
        If the folder or the images are there for the program but not for the workers.
    ImageDecodeError
        If an image cannot be decoded and the transformer has ``on_error="raise"``.
    RuntimeError
        If another process is writing to the folder; if nodes would compute in different precision;
        or if processes die of some images again and again.

    See Also
    --------
    open_shards : Reads all files into memory.
    extract_to_shards : The same on one machine, into one memory-mapped array.

    Notes
    -----
    It runs on the cluster that ``ray.init`` has connected to, or on this machine where it has not
    been called. The package must be installed on every node.

    Where actors hold GPUs, images are decoded by tasks of their own, on whatever CPUs the cluster
    has free, and reach the actors as 8-bit pictures of the model's size: 150 kB an image at 224
    pixels. With an `embedding_cache` actors decode themselves, since they look there first; each
    node should have one on a disk of its own, as SQLite does not work across machines.

    Ray replaces actors that die. A file is written under a temporary name and renamed, so that
    each is whole or not there, and none is there twice. After five deaths at the same images it
    is given up.

    The program that calls holds all paths, some 200 bytes each. For more than some ten million
    images, make several folders.

    Examples
    --------
    >>> from dinov2_sklearn import DINOv2Transformer, extract_with_ray, open_shards
    >>> embed = DINOv2Transformer("base", on_error="nan")
    >>> files = extract_with_ray(
    ...     "/shared/photos/", "/shared/embeddings/", embed, concurrency=8, num_gpus=1
    ... )  # doctest: +SKIP
    >>> open_shards("/shared/embeddings/").embeddings.shape  # doctest: +SKIP
    (1000000, 768)
    """
    ray = import_extra("ray", "ray", "Clusters")
    import_extra("ray.data", "ray", "Clusters")
    size = check_settings(transformer, shard_size)
    n_actors = _check_concurrency(concurrency)
    worker = _for_workers(transformer, num_gpus)
    folder = _check_place(folder)
    ids = list_paths(source, image_col)
    default_cpus = 0 if num_gpus else 1
    options = {
        "num_cpus": default_cpus if num_cpus is None else num_cpus,
        "num_gpus": num_gpus,
        **(actor_options or {}),
    }
    found = _ask_a_worker(ray, worker, ids, options)
    plan = make_plan(PARQUET_SHARDS, ids, size, found["made_of"])
    plan["model_name"] = transformer.model_name
    run = ClusterRun(folder, worker, found["made_of"], found["reader"], os.getcwd())  # noqa: PTH109
    files = shard_files(folder, plan)
    with filling(folder, plan, ids):
        _sweep(folder)
        todo = _missing(files, plan, ids)
        n_finished = len(ids) - sum(len(row["ids"]) for row in todo)
        bar = Progress(len(ids), "Embedding", "img", shown=verbose, initial=n_finished)
        failed: dict[str, int] = {}
        with bar, closing(_make_files(ray, run, todo, n_actors, options)) as finished:
            for name, n_images, n_errors in finished:
                bar.update(n_images)
                failed |= {name: n_errors} if n_errors else {}
        _sweep(folder)
    if failed:
        _warn_of_errors(folder, failed, len(ids))
    return [str(file) for file in files]


def list_paths(source: Any, image_col: str) -> list[str]:
    """Return the paths that a source lists, in its order."""
    if isinstance(source, (str, os.PathLike)):
        path = os.path.expanduser(os.fspath(source))  # noqa: PTH111 - may be a URL
        in_parquet = path.lower().endswith(".parquet")
        listed: Any = (
            _from_parquet(path, image_col) if in_parquet else list_images(path, image_col=image_col)
        )
    elif hasattr(source, "iter_batches") and hasattr(source, "select_columns"):
        listed = _from_dataset(source, image_col)
    elif is_frame(source):
        check_column(image_col, [*source.columns], "The data frame")
        listed = source[image_col]
    else:
        listed = source
    return _check_unicode(check_paths(listed, "extract_with_ray"))


def _from_parquet(path: str, image_col: str) -> list[str]:
    if not ImageRef(path).is_url and not os.path.isfile(path):  # noqa: PTH113
        raise FileNotFoundError(
            f"There is no file {path!r}. Several files of paths are given as "
            f"ray.data.read_parquet({path!r})."
        )
    with ImageRef(path).open() as raw, open_parquet(raw) as file:
        check_column(image_col, file.schema_arrow.names, repr(path))
        listed = file.read([image_col])[image_col].to_pylist()
    return below_folder_of(path, check_paths(listed, "extract_with_ray"))


def _from_dataset(dataset: Any, image_col: str) -> list[Any]:
    check_column(image_col, dataset.columns() or [], "The dataset")
    options = dataset.context.execution_options
    was, options.preserve_order = options.preserve_order, True
    try:
        batches = dataset.select_columns([image_col]).iter_batches(batch_format="pyarrow")
        return [path for batch in batches for path in batch[image_col].to_pylist()]
    finally:
        options.preserve_order = was


def _check_unicode(paths: list[str]) -> list[str]:
    try:
        check_unicode(paths)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"The path {error.object!r} is no valid Unicode, which parquet cannot keep. Rename the "
            "file, or use extract_to_shards."
        ) from error
    return paths


def _check_concurrency(concurrency: Any) -> tuple[int, int]:
    ends = concurrency if isinstance(concurrency, (tuple, list)) else (concurrency, concurrency)
    if not (
        len(ends) == 2
        and all(isinstance(end, Integral) for end in ends)
        and 1 <= ends[0] <= ends[1]
    ):
        raise ValueError(
            "concurrency must be a number of actors, 1 or more, or the smallest and the largest "
            f"number of them, got {concurrency!r}."
        )
    return int(ends[0]), int(ends[1])


def _check_place(folder: str | os.PathLike[str]) -> Path:
    if ImageRef(str(folder)).is_url:
        raise ValueError(
            f"folder={str(folder)!r} is a URL. Files are renamed once they are complete, for which "
            "a file system is needed: name a folder that all nodes share, and copy it from there."
        )
    return Path(folder).expanduser().absolute()


def _for_workers(transformer: DINOv2Transformer, num_gpus: float) -> DINOv2Transformer:
    """Return the transformer with the device of an actor, and folders that need no home."""
    device = transformer.device
    if isinstance(device, (tuple, list)):
        raise ValueError(
            f"device={device!r} names several devices. On a cluster each actor has its own: use "
            "device='auto', and say with concurrency how many actors there are."
        )
    kind = str(device).split(":")[0]  # Ray numbers the GPUs that an actor sees
    if (kind == "cuda" and not num_gpus) or (kind == "cpu" and num_gpus):
        raise ValueError(
            f"device={device!r} does not go with num_gpus={num_gpus}: use device='auto', which is "
            "a GPU where num_gpus is above 0, and the CPU elsewhere."
        )
    if kind == "auto" and not num_gpus:
        kind = "cpu"  # a GPU that was not reserved is another's, though a worker may see it
    changed: dict[str, Any] = {"device": kind, "verbose": False}
    model = Path(str(transformer.model_name)).expanduser()
    if model.is_dir():
        changed["model_name"] = str(model.absolute())
    if transformer.embedding_cache:
        changed["embedding_cache"] = str(Path(transformer.embedding_cache).expanduser().absolute())
    return clone(transformer).set_params(**changed)


def _ask_a_worker(
    ray: Any, transformer: DINOv2Transformer, ids: Sequence[str], options: dict[str, Any]
) -> dict[str, Any]:
    """Have one worker say what embeddings it would make: its hardware decides on the dtype."""
    _warn_if_waiting(ray, options)
    some = _absolute(ids[:: max(1, len(ids) // _N_LOOKED_FOR)])
    here = [path for path in some if os.path.exists(path)]  # noqa: PTH110
    try:
        asked = ray.remote(describe).options(**options).remote(transformer, here)
        found = read_outcome(ray.get(asked))
    except CheckpointError as error:
        if not Path(transformer.model_name).is_dir():
            raise
        raise CheckpointError(_only_here(transformer.model_name)) from error
    except ray.exceptions.RayError as error:
        raise RuntimeError(
            "No worker of the Ray cluster could be asked. dinov2_sklearn must be installed on each "
            f"node, in the version that runs here. The cause: {error}"
        ) from error
    if here and not any(found["seen"]):
        raise FileNotFoundError(_only_here(here[0]))
    if options["num_gpus"] and found["device"] == "cpu":
        warn(
            f"Each actor reserves num_gpus={options['num_gpus']}, but torch finds no GPU on the "
            f"node {found['node']!r}: embeddings are computed on the CPU.",
        )
    return found


def _warn_if_waiting(ray: Any, options: dict[str, Any]) -> None:
    """Warn if no node has what an actor needs, since Ray waits for one without a word."""
    if not ray.is_initialized():
        ray.init()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for kind, parameter in (("GPU", "num_gpus"), ("CPU", "num_cpus")):
        most = max((node.get(kind, 0) for node in nodes), default=0)
        if most < options[parameter]:
            warn(
                f"Each actor needs {parameter}={options[parameter]}, but no node of the Ray "
                f"cluster has more than {most:g} now: waiting for one to join.",
            )


def _sweep(folder: Path) -> None:
    """Remove what workers that were killed have left."""
    for path in [*left_over(folder), *folder.glob(f".*{ATTEMPTS}")]:
        path.unlink(missing_ok=True)


def _missing(
    files: Sequence[Path], plan: dict[str, Any], ids: Sequence[str]
) -> list[dict[str, Any]]:
    """Return name and ids of the files that are not there, or have errors."""
    return [
        {"file": file.name, "ids": ids[start:stop]}
        for file, (start, stop) in zip(files, shard_bounds(plan), strict=True)
        if count_rows(file) != (stop - start, 0)
    ]


def _make_files(
    ray: Any,
    run: ClusterRun,
    todo: list[dict[str, Any]],
    n_actors: tuple[int, int],
    options: dict[str, Any],
) -> Generator[tuple[str, int, int]]:
    """Make files, and yield the name of each with its numbers of rows and of errors."""
    if not todo:
        return
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False  # ours counts images
    low, high = (min(n, len(todo)) for n in n_actors)
    pool = ray.data.ActorPoolStrategy(min_size=low, max_size=high)
    form: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow"}
    with ray.data.DataContext.current(context):
        shards = ray.data.from_items(todo, override_num_blocks=len(todo))
        if options["num_gpus"] and run.transformer.embedding_cache is None:
            shards = shards.map_batches(decode_shards, fn_kwargs={"run": run}, **form)
        outcomes = shards.map_batches(
            ShardEmbedder, fn_constructor_args=(run,), compute=pool, **form, **options
        )
    try:
        for row in outcomes.iter_rows():
            yield read_outcome(row["outcome"])
    except ImageDecodeError as error:
        if _is_only_here(error):
            raise FileNotFoundError(_only_here(error.source)) from error
        raise
    except ray.exceptions.RayError as error:
        raise RuntimeError(
            "The Ray cluster failed. What was finished is kept: call extract_with_ray with the "
            f"same arguments, and it goes on. The cause: {error}"
        ) from error


def _warn_of_errors(folder: Path, failed: dict[str, int], n_images: int) -> None:
    errors: list[ImageDecodeError] = []
    for name in sorted(failed):
        if len(errors) < _N_LISTED:
            shard = read_shard(folder / name)
            paths = _absolute([shard.ids[i] for i in shard.errors])
            errors += map(ImageDecodeError, paths, shard.errors.values())
    told = f"{sum(failed.values())} of {n_images} images could not be decoded; their rows are NaN"
    if only_here := [error for error in errors if _is_only_here(error)]:
        told += f". {_only_here(only_here[0].source)} The causes"
    warn_of_failures(errors[:_N_LISTED], told, max_shown=_N_LISTED)


def _absolute(ids: Sequence[str]) -> list[str]:
    return [absolute(path, os.getcwd()) for path in ids]  # noqa: PTH109


def _is_only_here(error: ImageDecodeError) -> bool:
    return error.reason == "no such file" and os.path.exists(error.source)  # noqa: PTH110


def _only_here(path: str) -> str:
    return (
        f"{path!r} is there where the program runs, but not for the workers of the Ray cluster. "
        "All nodes must see it under this name: put it on a file system that they share."
    )
