"""How rows are picked: functions of arrays that know nothing of estimators."""

from ._clusters import dues
from ._coverage import cover
from ._pool import Pool, Subset
from ._strategies import STRATEGIES, Strategy, pick_by_group, pick_fps, users_strategy

__all__ = [
    "STRATEGIES",
    "Pool",
    "Strategy",
    "Subset",
    "cover",
    "dues",
    "pick_by_group",
    "pick_fps",
    "users_strategy",
]
