"""From folders of images to DINOv2 embeddings, a map, and a diverse subset worth labelling.

Names are loaded on first use, so that ``import dinov2_sklearn`` imports neither torch nor
matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

_HOMES = {
    "AttentionDisplay": "attention",
    "DINOV2_MODELS": "backbone",
    "DINOv2Transformer": "extraction",
    "DiversitySampler": "selection",
    "EmbeddingCache": "io",
    "Embeddings": "io",
    "ImageDataset": "images",
    "ImageTable": "images",
    "PatchAttentionInspector": "attention",
    "NearDuplicates": "duplicates",
    "NearDuplicatesDisplay": "duplicates",
    "ProjectionDisplay": "projection",
    "RepresentationDisplay": "selection",
    "UMAPProjector": "projection",
    "contact_sheet": "drawing",
    "extract_to_shards": "extraction",
    "extract_with_ray": "extraction",
    "LabelQuality": "labels",
    "label_quality": "labels",
    "label_report": "labels",
    "label_uncertainty": "labels",
    "leaks": "duplicates",
    "list_boxes": "images",
    "list_frames": "images",
    "list_images": "images",
    "list_rows": "images",
    "load_embeddings": "io",
    "load_labels": "io",
    "load_selection": "selection",
    "load_patch_features": "attention",
    "make_demo_images": "datasets",
    "open_shards": "io",
    "optimality_gap": "selection",
    "projection_report": "projection",
    "save_embeddings": "io",
    "save_labels": "io",
    "selection_report": "selection",
    "similarity_report": "duplicates",
}

__all__ = [
    "DINOV2_MODELS",
    "AttentionDisplay",
    "DINOv2Transformer",
    "DiversitySampler",
    "EmbeddingCache",
    "Embeddings",
    "ImageDataset",
    "ImageTable",
    "LabelQuality",
    "NearDuplicates",
    "NearDuplicatesDisplay",
    "PatchAttentionInspector",
    "ProjectionDisplay",
    "RepresentationDisplay",
    "UMAPProjector",
    "contact_sheet",
    "extract_to_shards",
    "extract_with_ray",
    "label_quality",
    "label_report",
    "label_uncertainty",
    "leaks",
    "list_boxes",
    "list_frames",
    "list_images",
    "list_rows",
    "load_embeddings",
    "load_labels",
    "load_patch_features",
    "load_selection",
    "make_demo_images",
    "open_shards",
    "optimality_gap",
    "projection_report",
    "save_embeddings",
    "save_labels",
    "selection_report",
    "similarity_report",
]

if TYPE_CHECKING:
    from .attention import AttentionDisplay, PatchAttentionInspector, load_patch_features
    from .backbone import DINOV2_MODELS
    from .datasets import make_demo_images
    from .drawing import contact_sheet
    from .duplicates import (
        NearDuplicates,
        NearDuplicatesDisplay,
        leaks,
        similarity_report,
    )
    from .extraction import DINOv2Transformer, extract_to_shards, extract_with_ray
    from .images import (
        ImageDataset,
        ImageTable,
        list_boxes,
        list_frames,
        list_images,
        list_rows,
    )
    from .io import (
        EmbeddingCache,
        Embeddings,
        load_embeddings,
        load_labels,
        open_shards,
        save_embeddings,
        save_labels,
    )
    from .labels import LabelQuality, label_quality, label_report, label_uncertainty
    from .projection import ProjectionDisplay, UMAPProjector, projection_report
    from .selection import (
        DiversitySampler,
        RepresentationDisplay,
        load_selection,
        optimality_gap,
        selection_report,
    )


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
