"""The import rules of the layout: data flows one way, and so do imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SIBLINGS = {"blender_addon", "server", "models", "training", "scripts"}
CONTRACT = "blender_addon.contract"
ALLOWED = {
    "models": {CONTRACT},
    "server": {CONTRACT, "models"},
    "training": {CONTRACT, "models"},
}
ALLOWED_TO_ONE = {
    "server/handlers/training.py": "training",
    "server/fit_files.py": "training",  # the readers of other programs' body fits
}
"""Files that may import one package more; `training` in a worker alone, inside functions."""


def imported_modules(path: Path) -> list[str]:
    """Return the absolute names of everything a file imports, wherever the import stands."""
    package = list(path.relative_to(ROOT).parent.parts)
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            names.append(".".join([*base, *(node.module or "").split(".")]).strip("."))
            # `from . import registration` imports a module that only the alias names.
            names += [f"{names[-1]}.{alias.name}" for alias in node.names]
    return names


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_package_imports_only_what_the_layout_allows(package):
    wrong = []
    for path in files_of(package):
        for module in imported_modules(path):
            sibling = module.split(".")[0]
            more = ALLOWED_TO_ONE.get(str(path.relative_to(ROOT)))
            if sibling not in SIBLINGS or sibling in (package, more):
                continue
            if module == "blender_addon" or not any(
                is_within(module, allowed) for allowed in ALLOWED[package]
            ):
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert wrong == []


def test_the_server_imports_no_training_and_no_torch_before_it_works():
    code = (
        "import sys, server.serve, server.worker, server.handlers; "
        "assert not {'torch', 'training'} & set(sys.modules), 'imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_extension_imports_no_sibling_and_itself_only_relatively():
    wrong = []
    for path in files_of("blender_addon"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            absolute = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and node.level == 0
                else []
            )
            wrong += [
                f"{path.relative_to(ROOT)} imports {module}"
                for module in absolute
                if module.split(".")[0] in SIBLINGS
            ]
    assert wrong == []


def test_contract_imports_only_itself_numpy_msgpack_and_the_standard_library():
    allowed = set(sys.stdlib_module_names) | {"numpy", "msgpack"}
    wrong = [
        f"{path.name} imports {module}"
        for path in files_of("blender_addon/contract")
        for module in imported_modules(path)
        if module.split(".")[0] not in allowed and not is_within(module, CONTRACT)
    ]
    assert wrong == []


BLOCKED_IMPORT = """
import importlib, pkgutil, sys
for name in ("bpy", "zmq", "torch", "mathutils"):
    sys.modules[name] = None
import blender_addon.contract as contract
for module in pkgutil.iter_modules(contract.__path__):
    importlib.import_module(f"blender_addon.contract.{module.name}")
    print(module.name)
"""


def test_contract_imports_without_bpy_zmq_and_torch():
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED_IMPORT], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "wire" in done.stdout.split()


@pytest.mark.parametrize("package", ["models", "server", "training", "scripts", "blender_addon"])
def test_package_resolves_to_the_checkout(package, tmp_path):
    # From another folder, so that only the editable install can answer.
    code = f"import {package}; print({package}.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert Path(done.stdout.strip()).is_relative_to(ROOT), done.stdout + done.stderr


def test_help_imports_no_torch():
    code = "import sys; from scripts.cli import main; main(['--help']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
