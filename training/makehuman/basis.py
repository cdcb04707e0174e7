"""Shape coefficients for every MakeHuman vertex: a principal component analysis of people."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.makehuman.data import base_mesh
from training.makehuman.phenotypes import random_phenotype, shape
from training.makehuman.rig import t_pose

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE_COEFFICIENTS = 10
PEOPLE = 250
SEED = 0
BODY_GROUPS = (
    "body",
    *("helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth", "helper-tongue"),
    *("helper-l-eyelashes-1", "helper-l-eyelashes-2"),
    *("helper-r-eyelashes-1", "helper-r-eyelashes-2"),
)
"""Groups of the base mesh that make the shipped body, skin first."""

CACHE = Path(__file__).resolve().parents[2] / "build" / "makehuman"
"""Where the analysis is kept (it takes about two minutes); ignored by git."""


@dataclass(frozen=True)
class Basis:
    """Template and shape directions of all 19,158 vertices in T-pose, metres.

    Attributes:
        template: (19158, 3) the mean person.
        shape_dirs: (19158, 3, 10) per standard deviation of each component.
        joints: (55, 3) of the mean person.
        joint_samples: (n, 55, 3) joints of some of the people, for the joint regressor.
        coefficients: (n, 10) the shape of the same people.
        rotations: (55, 3, 3) from A-pose to T-pose, of the mean.
        kept_variance: share of the body's variance that the components hold.
    """

    template: NDArray[np.float64]
    shape_dirs: NDArray[np.float64]
    joints: NDArray[np.float64]
    joint_samples: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    rotations: NDArray[np.float64]
    kept_variance: float


@functools.cache
def full_basis(people: int = PEOPLE, seed: int = SEED) -> Basis:
    """Return the basis; computed once per machine, the same everywhere."""
    name = hashlib.sha256(repr((people, seed, BODY_GROUPS, 2)).encode()).hexdigest()[:12]
    path = CACHE / f"basis-{name}.npz"
    if path.is_file():
        with np.load(path) as stored:
            values = {key: stored[key] for key in stored.files}
    else:
        values = _analyse(people, seed)
        CACHE.mkdir(parents=True, exist_ok=True)
        staging = path.with_suffix(".tmp.npz")
        np.savez(staging, allow_pickle=False, **values)
        staging.replace(path)
    kept = float(values.pop("kept_variance"))
    return Basis(
        **{key: value.astype(np.float64) for key, value in values.items()}, kept_variance=kept
    )


def _analyse(people: int, seed: int) -> dict[str, NDArray[np.floating]]:
    rng = np.random.default_rng(seed)
    posed = [t_pose(shape(random_phenotype(rng))) for _ in range(people)]
    vertices = np.stack([person.vertices for person in posed]).astype(np.float32)
    joints = np.stack([person.joints for person in posed])
    rotations = _mean_rotations(np.stack([person.rotations for person in posed]))
    template = vertices.mean(axis=0)
    centred = vertices - template
    body = base_mesh().vertices_of(*BODY_GROUPS)
    left, values, _ = np.linalg.svd(centred[:, body].reshape(people, -1), full_matrices=False)
    count = SHAPE_COEFFICIENTS
    # Directions per standard deviation, for all vertices at once: projections on the people's
    # normalised coefficients.
    coefficients = left[:, :count] * np.sqrt(people - 1)
    signs = _upward_signs(coefficients, vertices)
    coefficients = coefficients * signs
    dirs = np.einsum("pk,pvc->vck", coefficients, centred) / (people - 1)
    return {
        "template": template,
        "shape_dirs": dirs.astype(np.float32),
        "joints": joints.mean(axis=0),
        "joint_samples": joints,
        "coefficients": coefficients,
        "rotations": rotations,
        "kept_variance": np.array((values[:count] ** 2).sum() / (values**2).sum()),
    }


def _upward_signs(coefficients: NDArray[np.floating], vertices: NDArray[np.floating]) -> np.ndarray:
    """Return signs that make each component grow with body height, as SMPL's first does."""
    heights = vertices[:, :, 1].max(axis=1) - vertices[:, :, 1].min(axis=1)
    correlation = (heights - heights.mean()) @ coefficients
    return np.where(correlation < 0, -1.0, 1.0)


def _mean_rotations(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    left, _, right = np.linalg.svd(rotations.mean(axis=0))
    return left @ right
