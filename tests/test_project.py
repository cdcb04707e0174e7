"""What must agree across the project: versions, licences, sizes, the exception tree, names."""

import functools
import operator
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from blender_addon.contract import errors
from blender_addon.contract.versions import PROJECT_VERSION

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "models" / "library"
MEGABYTE = 1e6
BUDGETS = {
    "body": 2.0,
    "dresser": 29.5,
    "avatar": 9.0,
    "sof": 28.0,
    "siw": 24.0,
    "portrait": 0.2,
    "parser": 4.0,
    "wardrobe": 45.0,
}
"""Megabytes per kind of package, without previews of the documentation."""
NOT_SHIPPED: set[str] = set()
"""Kinds that have a budget before the library has one."""


def tracked_files() -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def test_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text())
    assert project["version"] == manifest["version"] == PROJECT_VERSION


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = project["dependencies"] + functools.reduce(
        operator.iadd, project["optional-dependencies"].values(), []
    )
    assert [name for name in listed if "==" not in name] == []


def test_exception_tree_is_drawn_whole_and_in_its_right_shape():
    drawn: dict[str, str] = {}
    stack: list[tuple[int, str]] = [(-1, "")]
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([│├└─ ]*)([A-Z]\w+)", line)
        if not found:
            continue
        depth = len(found[1])
        while stack[-1][0] >= depth:
            stack.pop()
        drawn[found[2]] = stack[-1][1]
        stack.append((depth, found[2]))
    real = {
        kind.__name__: (kind.__mro__[1].__name__ if kind is not errors.DressformError else "")
        for kind in errors.error_types().values()
    }
    assert drawn == real


def test_every_error_has_a_code_of_its_own_and_survives_the_wire():
    kinds = errors.error_types()
    assert len({kind.code for kind in kinds.values()}) == len(kinds)
    for kind in kinds.values():
        back = errors.from_wire(kind("why", "what now", number=3).to_wire())
        assert type(back) is kind
        assert (back.cause, back.next_step, back.details) == ("why", "what now", {"number": 3})


def test_no_package_of_ours_loads_the_non_commercial_smplx():
    wrong = [
        str(path)
        for package in ("blender_addon", "server", "models", "training", "scripts")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"^\s*(import|from) smplx\b", path.read_text(), re.MULTILINE)
    ]
    assert wrong == []


def test_shipped_code_has_no_assert_statement():
    wrong = [
        f"{path}:{number}"
        for package in ("blender_addon", "server", "models", "training", "scripts")
        for path in (ROOT / package).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.match(r"\s*assert\b", line)
    ]
    assert wrong == []


@pytest.mark.parametrize("kind", sorted(BUDGETS))
def test_packages_of_a_kind_keep_their_size_budget(kind):
    from models.package import list_packages

    packages = [m for m in list_packages(LIBRARY) if m.kind == kind]
    assert bool(packages) != (kind in NOT_SHIPPED), (
        f"the library ships no {kind}, or NOT_SHIPPED lies"
    )
    for manifest in packages:
        size = sum(p.stat().st_size for p in (LIBRARY / manifest.id).iterdir()) / MEGABYTE
        assert size <= BUDGETS[kind], manifest.id


def test_library_stays_under_180_megabytes():
    size = sum(path.stat().st_size for path in LIBRARY.rglob("*") if path.is_file())
    assert size / MEGABYTE < 180


def test_pictures_of_readme_and_docs_stay_under_five_megabytes():
    pictures = [
        p
        for p in tracked_files()
        if p.is_relative_to(ROOT / "docs") and p.suffix in (".png", ".jpg", ".webp", ".gif")
    ]
    assert sum(path.stat().st_size for path in pictures) / MEGABYTE < 5


def test_no_module_has_a_name_that_says_nothing():
    empty = {"utils", "util", "helpers", "helper", "misc", "common"}
    assert [p for p in tracked_files() if p.stem in empty or p.parent.name in empty] == []


def test_every_public_function_and_class_has_a_docstring():
    import ast

    missing = []
    for package in ("blender_addon/contract", "server", "models", "training", "scripts"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                if (
                    isinstance(node, ast.FunctionDef | ast.ClassDef)
                    and not node.name.startswith("_")
                    and not ast.get_docstring(node)
                    and path.name != "errors.py"
                ):
                    missing.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert missing == []
