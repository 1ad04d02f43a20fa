"""The projection room: from embeddings to a map that can be looked at.

:class:`UMAPProjector` lays the rows of an embedding matrix out on a small number of coordinates,
places new rows on the same map and clusters it. :class:`ProjectionDisplay` draws such a map as a
picture or as one self-contained web page, and :func:`projection_report` says how well it keeps
neighbours. Importing this room does not load matplotlib: the first call that needs it does.
"""

from ._display import ProjectionDisplay
from ._projector import UMAPProjector
from ._report import ProjectionReport, projection_report

__all__ = ["ProjectionDisplay", "ProjectionReport", "UMAPProjector", "projection_report"]
