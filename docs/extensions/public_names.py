"""Links from docstrings to public names, whichever module speaks of them.

In a docstring a name in backquotes may be a public name, which has a page; or a parameter, which
has none. The first becomes a link, the other is set as code. A role that says what it expects,
such as ``:class:``, must find it.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

_MEMBERS = ("method", "attribute", "property")


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: nodes.Element, contnode: nodes.Element
) -> nodes.Element | None:
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].removeprefix("~").removeprefix(".")
    for name, entry in env.domains.python_domain.objects.items():
        same = name == target or name.endswith(f".{target}")
        # A bare name is never a member: it may well be a parameter of the same name.
        if same and ("." in target or entry.objtype not in _MEMBERS):
            return make_refnode(
                app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, name
            )
    return contnode if node["reftype"] == "obj" else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Resolve what Sphinx itself does not find."""
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
