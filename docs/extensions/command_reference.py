"""The directive ``command-reference``: every command and option, read from its argparse parser."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from dinov2_sklearn import cli


class CommandReference(SphinxDirective):
    """Describes the command line in sections, a command each."""

    def run(self) -> list[nodes.Node]:
        """Write it down as reStructuredText, and parse that."""
        for module in Path(cli.__file__).parent.glob("*.py"):
            self.env.note_dependency(str(module))
        text = "\n".join(_describe_all(cli._parser()))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _describe_all(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield from _describe(parser)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _describe(command)


def _describe(parser: argparse.ArgumentParser) -> Iterator[str]:
    with mock.patch.dict(os.environ, {"COLUMNS": "84", "NO_COLOR": "1"}):
        usage = parser.format_usage().removeprefix("usage: ")
    yield from [parser.prog, "-" * len(parser.prog), "", f".. program:: {parser.prog}", ""]
    yield from [_escape(parser.description), "", ".. code-block:: none", ""]
    yield from [f"   {line}" for line in usage.splitlines()]
    yield from ["", _escape(parser.epilog), ""]
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            yield from [f".. option:: {_names(action)}", "", f"   {_help(action)}", ""]


def _names(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar or action.dest)
    value = ""
    if action.nargs != 0:
        choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else None
        value = f" {action.metavar or choices or action.dest.upper()}"
    return ", ".join(name + value for name in action.option_strings)


def _help(action: argparse.Action) -> str:
    text = (action.help or "").replace("%(default)s", str(action.default))
    plain = isinstance(action.default, (str, int, float)) and not isinstance(action.default, bool)
    if plain and action.default != argparse.SUPPRESS and "default" not in text:
        text = f"{text} (default: {action.default})"
    if action.required and action.option_strings:
        text = f"{text} (required)"
    return _escape(text.strip())


def _escape(text: str | None) -> str:
    # A star or a backquote would begin markup.
    return (text or "").replace("*", "\\*").replace("`", "``")


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("command-reference", CommandReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
