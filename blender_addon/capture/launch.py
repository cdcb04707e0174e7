r"""Starts the capture command in a Blender of its own, from wherever the extension lies.

    blender -b --python-exit-code 1 -P …/capture/launch.py -- CHARACTER.blend --out DIR …

or, with bpy as a Python module, `PYTHON …/capture/launch.py -- …`. The package that this file
stands in is loaded by its place, so it need be neither enabled nor on Python's path.
"""

# pyright: reportMissingModuleSource=false

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import bpy

if TYPE_CHECKING:
    from types import ModuleType

NAME = "dressform_capture"


def main() -> int:
    """Capture; return the exit code."""
    _load_package()
    if not hasattr(bpy.types.Object, "dressform"):
        # Not enabled in this Blender: rigs remember their person all the same.
        importlib.import_module(f"{NAME}.scene.properties").register()
    command = importlib.import_module(f"{NAME}.capture.command")
    return command.main(sys.argv[sys.argv.index("--") + 1 :])


def _load_package() -> ModuleType:
    folder = Path(__file__).resolve().parent.parent
    spec = importlib.util.spec_from_file_location(
        NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is no package")
    package = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)
    return package


if __name__ == "__main__":
    sys.exit(main())
