"""One progress bar for all long work."""

import sys
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(total: int, description: str, unit: str, *, shown: bool, initial: int = 0) -> Any:
    """Make a tqdm bar on standard error, or a silent one.

    Parameters
    ----------
    total : int
        Number of steps.
    description : str
        What is being done.
    unit : str
        What a step is.
    shown : bool
        Whether to draw it.
    initial : int, default=0
        Steps that were done before; they do not count for the rate.

    Returns
    -------
    tqdm.tqdm
        A context manager with ``update(n)``.
    """
    from tqdm import tqdm

    # tqdm.auto picks a notebook bar, but warns where ipywidgets is missing.
    if shown and "ipykernel" in sys.modules and "ipywidgets" in sys.modules:
        from tqdm.notebook import tqdm
    return tqdm(
        total=total,
        initial=initial,
        desc=description,
        unit=unit,
        disable=not shown,
        file=sys.stderr,
    )
