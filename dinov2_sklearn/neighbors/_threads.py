"""Blocks of rows in threads: each writes what is its own, so that their order changes nothing."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import joblib
from threadpoolctl import threadpool_info, threadpool_limits

__all__ = ["count_threads", "for_each"]

Item = TypeVar("Item")


def count_threads(n_jobs: int | None = None) -> int:
    """Say how many threads `n_jobs` means; None is as many as matrix products would take."""
    if n_jobs is not None:
        return int(joblib.effective_n_jobs(n_jobs))
    return max((pool["num_threads"] for pool in threadpool_info()), default=1)


def for_each(
    function: Callable[[Item], None], items: Sequence[Item], n_jobs: int | None = None
) -> None:
    """Call `function` with every item, in threads that run one matrix product each.

    So does a single thread: a product that is split among threads may be rounded otherwise.
    """
    if len(items) == 1:
        function(items[0])
        return
    n_threads = min(count_threads(n_jobs), len(items))
    with threadpool_limits(limits=1):
        if n_threads <= 1:
            for item in items:
                function(item)
            return
        joblib.Parallel(n_threads, require="sharedmem", batch_size=1)(
            joblib.delayed(function)(item) for item in items
        )
