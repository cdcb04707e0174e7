"""The one place for version numbers."""

PROJECT_VERSION = "0.1.0"
"""Same as in pyproject.toml and blender_manifest.toml (a test compares them)."""

WIRE_VERSION = 1
"""Major version of the wire protocol; `hello` refuses any other."""

PACKAGE_FORMAT = 1
"""Format of model.json in a model package."""

PACKAGE_FORMAT_DELTA = 2
"""Format of an avatar whose package holds tensors of the dresser, too: programs that know only
the first format would leave these out, and must refuse it."""

CAPTURE_FORMAT = 1
"""Format of capture.json in a capture."""

HEAD_SET_FORMAT = 1
"""Format of heads.json in a set of heads or portraits."""
