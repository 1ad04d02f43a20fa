"""Datumaro: boxes in a COCO file, by either of its readers."""

import numpy as np
from datumaro import AnnotationType
from datumaro.components import dataset


def read_coco(folder: str, reader: str) -> np.ndarray:
    """Return a row a box: the image's id, left, upper edge, width and height."""
    data = getattr(dataset, reader).import_from(folder, "coco_instances")
    return np.array(
        [
            (item.id, *map(round, annotation.get_bbox()))
            for item in data
            for annotation in item.annotations
            if annotation.type == AnnotationType.bbox
        ]
    )
