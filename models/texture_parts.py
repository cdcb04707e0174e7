"""Parts of a body in texture space: whose head, torso, legs, hands and feet a texel belongs to.

A part is what follows its joints by the body's skinning weights. Near a border, measured in metres
along the skin, a texel belongs to both sides in shares that add up to 1; so a part of another
texture goes over into this one without an edge, and away from it nothing changes at all.

Source: StylePeople supplementary, section 6 ("Redressing"). The paper replaces head textures; the
other parts, and the soft seams, are this project's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from blender_addon.contract.avatar_look import PARTS
from blender_addon.contract.joints import (
    HEAD_JOINTS,
    JOINT_INDEX,
    LEFT_HAND_JOINTS,
    RIGHT_HAND_JOINTS,
)
from models.recent import Recent
from models.spectral_texture import vertex_maps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from models.body import Body

SEAM_METRES = 0.03
"""Width of the strip along a border in which two parts mix. At 256² a texel is some 5 mm."""

_KEPT_BODIES = 4


def _joints(*names: str) -> tuple[int, ...]:
    sides = [(f"left_{name}", f"right_{name}") for name in names]
    return tuple(JOINT_INDEX[name] for pair in sides for name in pair)


PART_JOINTS: Mapping[str, tuple[int, ...]] = {
    # The neck has the face's skin, and hair lies on its nape.
    "head": (*HEAD_JOINTS, JOINT_INDEX["neck"]),
    "torso": (
        *(JOINT_INDEX[name] for name in ("spine1", "spine2", "spine3")),
        *_joints("collar", "shoulder", "elbow"),
    ),
    # Trousers and skirts reach up to the waist.
    "legs": (JOINT_INDEX["pelvis"], *_joints("hip", "knee")),
    "hands": (*LEFT_HAND_JOINTS, *RIGHT_HAND_JOINTS),
    "feet": _joints("ankle", "foot"),
}
"""Each joint belongs to one part; arms to the torso, as sleeves belong to a shirt."""

_masks: Recent[Tensor] = Recent(_KEPT_BODIES)


def part_masks(body: Body, size: int) -> Tensor:
    """Return how much each texel belongs to each of `PARTS`; kept for bodies used lately.

    Args:
        body: whose UVs and skinning weights count.
        size: of the texture, a power of two up to 512.

    Returns:
        (5, size, size) float32 in 0…1 on the body's device, adding up to 1 at every texel, those
        off the UV islands included. Must not be changed.
    """
    key = (body.digest, size, str(body.uv.device))
    return _masks.made(key, lambda: _part_masks(body, size))


def redressed(own: Tensor, worn: Sequence[tuple[Tensor, Tensor, float]]) -> Tensor:
    """Return a texture that wears parts of others; texels that no part reaches keep their bits.

    The order does not count: where two parts that are worn meet, nothing of the own one shows.

    Args:
        own: (C, S, S).
        worn: for each part the other texture (C, S, S) of the same dresser, the part's mask (S, S)
            of `part_masks`, and how much of it counts, 0…1.
    """
    total = own
    for other, mask, amount in worn:
        total = total + mask * amount * (other - own)
    for other, mask, amount in worn:
        # Where all is replaced, exactly the other's: no rounding of a sum.
        total = torch.where(mask * amount == 1.0, other, total)
    return total


def vertex_parts(body: Body) -> NDArray[np.int64]:
    """Return (V,) the index in `PARTS` of the part that each vertex follows most."""
    weights = body.skin_weights.cpu().numpy()
    totals = [weights[:, list(PART_JOINTS[part])].sum(axis=1) for part in PARTS]
    return np.stack(totals, axis=1).argmax(axis=1)


def border_distances(body: Body) -> NDArray[np.float32]:
    """Return how deep inside each part a vertex lies, along the edges of the mean body.

    Returns:
        (V, 5) float32 metres: above 0 inside the part, below outside, and no further than
        `SEAM_METRES` either way. Along an edge that crosses a border it is 0 in the middle.
    """
    parts = vertex_parts(body)
    graph = _edges(body)
    found = np.empty((len(parts), len(PARTS)), np.float32)
    for index in range(len(PARTS)):
        inside = parts == index
        found[:, index] = np.where(inside, _distances(graph, ~inside), -_distances(graph, inside))
    return found


def _part_masks(body: Body, size: int) -> Tensor:
    depth = torch.from_numpy(border_distances(body)).to(body.uv.device)
    (deep,) = vertex_maps(body, depth, [size])
    share = (0.5 + deep / SEAM_METRES).clamp(0.0, 1.0)
    share = share * share * (3.0 - 2.0 * share)
    return share / share.sum(dim=0)


def _edges(body: Body) -> sparse.csr_matrix:
    points = body.v_template.cpu().numpy().astype(np.float64)
    faces = body.faces.cpu().numpy()
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    lengths = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    # No length of 0: a sparse matrix would take that for no edge.
    entries = (np.maximum(lengths, 1e-9), (pairs[:, 0], pairs[:, 1]))
    return sparse.csr_matrix(entries, shape=(len(points), len(points)))


def _distances(graph: sparse.csr_matrix, sources: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (V,) how far along edges each vertex lies from the nearest of some, at most the seam."""
    if not sources.any():
        return np.full(len(sources), SEAM_METRES)
    found: Any = dijkstra(
        graph, directed=False, indices=np.flatnonzero(sources), min_only=True, limit=SEAM_METRES
    )
    return np.minimum(found, SEAM_METRES)
