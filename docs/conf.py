"""How the documents are built: ``make docs`` writes them into build/docs/html."""

import logging
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "extensions")]

from dinov2_sklearn import __version__  # noqa: E402

project = "dinov2_sklearn"
author = copyright = "The dinov2_sklearn developers"
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
    # Of docs/extensions: what no library does.
    "command_reference",
    "mathml",
    "notebook_cards",
    "public_names",
]
templates_path = ["_templates"]
exclude_patterns = ["extensions"]
# What a build makes, and git does not keep: pages of the reference, and copies of what stands
# elsewhere in the repository.
GENERATED = DOCS / "generated"

# A gallery without notebooks, which take minutes to run, is empty and not wrong. Sphinx gives the
# warning no type by which `suppress_warnings` could name it.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(
    lambda record: getattr(record, "subtype", None) != "empty_glob"
)

nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

default_role = "py:obj"
nitpicky = True
autosummary_generate = True
autodoc_default_options = {
    "members": True,
    # What scikit-learn, torch and Python give is described there.
    "inherited-members": "BaseEstimator, TransformerMixin, OneToOneFeatureMixin, "
    "ClassNamePrefixFeaturesOutMixin, _SetOutputMixin, _MetadataRequester, Dataset, Exception, "
    "Sequence",
    "exclude-members": "set_fit_request, set_partial_fit_request",
}
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"dinov2_sklearn {version}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"


def copy_from_repository() -> None:
    """Bring what stands elsewhere in the repository to where Sphinx looks for it.

    All anew, as with ``sphinx -E``: what is left from other names or notebooks would be an error.
    """
    shutil.rmtree(GENERATED, ignore_errors=True)
    (GENERATED / "notebooks").mkdir(parents=True)
    for notebook in sorted((DOCS.parent / "build" / "notebooks").glob("*.ipynb")):
        shutil.copy2(notebook, GENERATED / "notebooks")
    for page in (DOCS.parent / "benchmarks" / "RESULTS.md", DOCS.parent / "CHANGELOG.md"):
        if page.exists():
            shutil.copy2(page, GENERATED / page.name.lower())


copy_from_repository()
