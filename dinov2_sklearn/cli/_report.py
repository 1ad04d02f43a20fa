"""What a command found out, as text or as JSON."""

import json
import sys
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Report", "all_skipped"]

_SHOWN = 20


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
