"""Rows and their labels: what to label next, which labels look wrong, how far one has come."""

from ._quality import LabelQuality, label_quality
from ._report import LabelReport, label_report
from ._uncertainty import label_uncertainty

__all__ = [
    "LabelQuality",
    "LabelReport",
    "label_quality",
    "label_report",
    "label_uncertainty",
]
