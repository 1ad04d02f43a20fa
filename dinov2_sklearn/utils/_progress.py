"""Progress of long work: one bar, and scikit-learn's callbacks where a fit has them."""

import sys
from typing import Any, Self

__all__ = ["Progress"]

# scikit-learn keeps every subtask that it was told of: a fit of a million images has as many.
_MOST_SUBTASKS = 100


class Progress:
    """A tqdm bar on standard error, and the callbacks of the estimator that is being fitted.

    Parameters
    ----------
    total : int
        Number of steps.
    description : str
        What is being done.
    unit : str
        What a step is.
    shown : bool
        Whether to draw the bar.
    initial : int, default=0
        Steps that were done before; they do not count for the rate.
    fitting : estimator, default=None
        The estimator in whose `fit` or `fit_transform` this is. What its `set_callbacks` was given,
        or that of a pipeline around it, is told of the progress too, with scikit-learn >= 1.9.
    """

    def __init__(
        self,
        total: int,
        description: str,
        unit: str,
        *,
        shown: bool,
        initial: int = 0,
        fitting: Any = None,
    ) -> None:
        from tqdm import tqdm

        # tqdm.auto picks a notebook bar, but warns where ipywidgets is missing.
        if shown and "ipykernel" in sys.modules and "ipywidgets" in sys.modules:
            from tqdm.notebook import tqdm
        self._bar = tqdm(
            total=total,
            initial=initial,
            desc=description,
            unit=unit,
            disable=not shown,
            file=sys.stderr,
        )
        self._description, self._total, self._done = description, total, initial
        self._n_subtasks = min(total, _MOST_SUBTASKS)
        self._n_told = 0
        self._fitting = fitting
        self._task = None
        if hasattr(fitting, "_init_callback_context"):
            self._task = fitting._init_callback_context(max_subtasks=self._n_subtasks)

    def __enter__(self) -> Self:
        self._bar.__enter__()
        if self._task is not None:
            self._task.call_on_fit_task_begin(estimator=self._fitting)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._bar.__exit__(kind, *error)
        if self._task is not None and kind is None:
            self._task.call_on_fit_task_end(estimator=self._fitting)

    def update(self, n: int = 1) -> None:
        """Tell of n more steps."""
        self._bar.update(n)
        self._done += n
        if self._task is None:
            return
        while self._n_told < self._done * self._n_subtasks // self._total:
            self._n_told += 1
            subtask = self._task.subcontext(task_name=self._description)
            subtask.call_on_fit_task_begin(estimator=self._fitting)
            subtask.call_on_fit_task_end(estimator=self._fitting)
