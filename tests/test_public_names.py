"""The public namespace is whole, and light to import."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import dinov2_sklearn

REFERENCE = Path(__file__).parents[1] / "docs" / "api" / "index.md"
ROOMS = (
    "images",
    "backbone",
    "duplicates",
    "extraction",
    "labels",
    "projection",
    "selection",
    "attention",
    "cli",
)
MODULES = ("datasets", "io")


@pytest.mark.parametrize("name", dinov2_sklearn.__all__)
def test_every_public_name_loads_and_is_documented(name):
    public = getattr(dinov2_sklearn, name)
    assert not callable(public) or public.__doc__


def test_the_reference_lists_every_public_name_once():
    public = set(dinov2_sklearn.__all__)
    for module in (*ROOMS, *MODULES):
        names = set(import_module(f"dinov2_sklearn.{module}").__all__)
        public |= {f"{module}.{name}" for name in names - set(dinov2_sklearn.__all__)}
    text = REFERENCE.read_text(encoding="utf-8")
    listed = re.findall(r"^(?:   |\.\. py:data:: )([\w.]*\w)$", text, flags=re.MULTILINE)
    assert sorted(listed) == sorted(public)


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dinov2_sklearn.nothing


def test_names_are_listed_for_completion():
    assert set(dinov2_sklearn.__all__) <= set(dir(dinov2_sklearn))


@pytest.mark.parametrize(
    "code",
    [
        "import dinov2_sklearn",
        "from dinov2_sklearn import DINOv2Transformer, UMAPProjector, DiversitySampler",
        "from dinov2_sklearn import PatchAttentionInspector, list_images, load_embeddings",
    ],
)
def test_importing_loads_no_heavy_library(code):
    heavy = ["torch", "transformers", "umap", "numba", "matplotlib", "plotly"]
    check = (
        f"{code}; import sys; loaded = set({heavy}) & set(sys.modules); assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
