"""Near-duplicates: groups of rows, one of each, leaks, and the threshold that tells them apart."""

from ._display import NearDuplicatesDisplay
from ._near_duplicates import NearDuplicates
from ._report import LeakReport, SimilarityReport, identical_images, leaks, similarity_report

__all__ = [
    "LeakReport",
    "NearDuplicates",
    "NearDuplicatesDisplay",
    "SimilarityReport",
    "identical_images",
    "leaks",
    "similarity_report",
]
