"""The house: which room imports which, and that its modules can be read."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dinov2_sklearn"
MODULES = sorted(PACKAGE.rglob("*.py"))
# What no module may import, and the contract that says so.
FORBIDDEN = {
    "images/_references.py": ("from ..cli import main", "Data flows downward"),
    "extraction/_devices.py": ("from ..selection import DiversitySampler", "Extraction knows"),
    "attention/_maths.py": ("from ..io import load_embeddings", "Attention knows nothing"),
    "projection/_colors.py": ("from ..selection import DiversitySampler", "The map takes"),
    "selection/files/_copies.py": ("from .._sampler import DiversitySampler", "Files of selec"),
    "pages/_thumbnails.py": ("from ..io import load_embeddings", "Pages show"),
}
# What can have a docstring.
DEFS = (ast.Module, ast.ClassDef, ast.FunctionDef)


def name_of(module):
    return str(module.relative_to(PACKAGE))


@pytest.fixture
def lint():
    """Check the contracts of a copy of the package, and return what is told."""
    pytest.importorskip("importlinter", reason="import-linter is not installed")
    command = Path(sys.executable).with_name("lint-imports")

    def check(folder):
        done = subprocess.run([command, "--no-cache"], cwd=folder, capture_output=True, text=True)
        return done.returncode, done.stdout

    return check


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "dinov2_sklearn")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_are_kept(lint):
    status, told = lint(ROOT)
    assert status == 0, told


@pytest.mark.parametrize("module", FORBIDDEN)
def test_a_forbidden_import_breaks_its_contract(copy, lint, module):
    line, contract = FORBIDDEN[module]
    with (copy / "dinov2_sklearn" / module).open("a") as file:
        file.write(f"\n{line}\n")
    status, told = lint(copy)
    assert status == 1
    broken = [verdict for verdict in told.splitlines() if " BROKEN" in verdict]
    assert any(verdict.startswith(contract) for verdict in broken), told


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_can_be_read(module):
    text = module.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says first what it is about"
    assigned = {ast.unparse(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign)}
    assert "__all__" in assigned or module.name == "__main__.py", "and then what it gives others"
    documented = (
        ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, DEFS)
    )
    n_lines = len(text.splitlines()) - sum(len(text.splitlines()) for text in documented)
    assert n_lines <= 400, "a longer module tells more than one story"
