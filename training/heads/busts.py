"""A head with all that it wears as one posed mesh in head space, cut to the head's sphere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.joints import JOINT_COUNT, JOINT_INDEX
from blender_addon.contract.labels import Label
from blender_addon.contract.pose import rotation_from_axis_angle
from training.heads.collars import make_collar
from training.heads.cuts import grow_hair
from training.heads.face_labels import inner_mouth
from training.heads.format import HEAD_RADIUS
from training.heads.hats import make_hat
from training.heads.shape import shaped_body
from training.heads.wearings import (
    make_ear_rings,
    make_glasses,
    make_lenses,
    make_necklace,
    make_teeth,
)
from training.people.beard import grow_beard
from training.people.garments import sew_top, skin_under, top_field
from training.people.skeleton import apply_transforms, joint_transforms
from training.people.surfaces import Surface, clip, select_faces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.body import Body
    from training.heads.persons import HeadPerson
    from training.people.bare import BareBody

    Array = NDArray[np.float64]

HEAD_ORIGIN = (0.0, 0.02, 0.0)
"""Head space's origin from the body's head joint at rest, metres: between the ears."""


@dataclass(frozen=True)
class Part:
    """One part of a bust.

    Attributes:
        name: "skin", "eyes", "teeth", "top", "collar", "hair", "beard", "hat", "glasses", "lenses",
            "ear-rings" or "necklace".
        label: of its pixels; None for skin, whose label depends on the place.
    """

    name: str
    label: Label | None


@dataclass(frozen=True, kw_only=True)
class Bust:
    """A posed head in head space.

    Attributes:
        person: who it is.
        bare: the body under it all, in the rest pose.
        parts: what it consists of.
        vertices: (V, 3) float32 metres, head space.
        faces: (F, 3) int64.
        owner: (F,) index of each face's part.
        static: (V, 9) float32: paint 3, rest 3, coords 2 (of skin the first is the share of
            the mouth's inside), edge.
    """

    person: HeadPerson
    bare: BareBody
    parts: tuple[Part, ...]
    vertices: NDArray[np.float32]
    faces: NDArray[np.int64]
    owner: NDArray[np.int64]
    static: NDArray[np.float32]


def build_bust(person: HeadPerson, body: Body) -> Bust:
    """Shape, dress and pose a head.

    Args:
        person: who it is.
        body: on the CPU.
    """
    betas = np.array(person.betas, np.float32)
    expression = np.array(person.expression, np.float32)
    bare = shaped_body(body, betas, person.features, expression, person.seed)
    pieces = _pieces(person, bare)
    transforms = joint_transforms(_pose(person), bare.joints, np.zeros(3))
    head = transforms[JOINT_INDEX["head"]]
    origin = bare.joint("head") + np.array(HEAD_ORIGIN)
    posed = [
        (part, _in_sphere(_posed(surface, transforms, head, origin))) for part, surface in pieces
    ]
    posed = [(part, surface) for part, surface in posed if len(surface.faces)]
    surfaces = [surface for _, surface in posed]
    counts = [len(surface.vertices) for surface in surfaces]
    offsets = np.cumsum([0, *counts])[:-1]
    return Bust(
        person=person,
        bare=bare,
        parts=tuple(part for part, _ in posed),
        vertices=np.concatenate([s.vertices for s in surfaces]).astype(np.float32),
        faces=np.concatenate([s.faces + o for s, o in zip(surfaces, offsets, strict=True)]),
        owner=np.repeat(np.arange(len(surfaces)), [len(s.faces) for s in surfaces]),
        static=np.concatenate(
            [
                np.concatenate([s.paint, s.weights[:, :3], s.coords, s.weights[:, 3:4]], axis=1)
                for s in surfaces
            ]
        ).astype(np.float32),
    )


def _pieces(person: HeadPerson, bare: BareBody) -> list[tuple[Part, Surface]]:
    inside = inner_mouth(bare).astype(np.float64)
    surface = replace(bare.surface(), coords=np.stack([inside, 0 * inside], axis=1))
    eyes = np.asarray(bare.eyes[bare.faces].all(axis=1))
    hidden = skin_under(bare, [top_field(bare, person.top, bare.template)])
    pieces = [
        (Part("skin", None), select_faces(surface, ~eyes & ~hidden)),
        (Part("eyes", Label.EYE), select_faces(surface, eyes)),
        (Part("teeth", Label.INNER_MOUTH), make_teeth(bare)),
        (Part("top", Label.CLOTH), sew_top(bare, person.top, person.seed % 89)),
    ]
    if person.collar is not None:
        collar = make_collar(bare, person.collar, person.seed % 61)
        pieces.append((Part("collar", Label.CLOTH), collar))
    hair = grow_hair(bare, person.hair, person.seed % 79, under=person.hat)
    if hair is not None:
        pieces.append((Part("hair", Label.HAIR), hair))
    if person.beard:
        pieces.append((Part("beard", Label.SKIN), grow_beard(bare, person.seed % 71)))
    if person.hat is not None:
        pieces.append((Part("hat", Label.HAT), make_hat(bare, person.hat)))
    if person.glasses is not None:
        pieces.append((Part("glasses", Label.GLASSES), make_glasses(bare, person.glasses)))
        if person.glasses.dark:
            pieces.append((Part("lenses", Label.GLASSES), make_lenses(bare, person.glasses)))
    if person.ear_ring is not None:
        pieces.append((Part("ear-rings", Label.EAR_RING), make_ear_rings(bare, person.ear_ring)))
    if person.necklace is not None:
        pieces.append((Part("necklace", Label.NECKLACE), make_necklace(bare, person.necklace)))
    return pieces


def _pose(person: HeadPerson) -> NDArray[np.float32]:
    """(55, 3, 3): arms down, neck bent, mouth and eyes as the person has them."""
    turns = np.zeros((JOINT_COUNT, 3))
    bend, turn, tilt = person.neck
    turns[JOINT_INDEX["neck"]] = (bend, turn, tilt)
    turns[JOINT_INDEX["jaw"]] = (person.jaw, 0.0, 0.0)
    left, down = person.gaze
    for eye in ("left_eye_smplhf", "right_eye_smplhf"):
        turns[JOINT_INDEX[eye]] = (down, left, 0.0)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        turns[JOINT_INDEX[f"{side}_collar"]] = (0.0, 0.0, 0.12 * sign)
        turns[JOINT_INDEX[f"{side}_shoulder"]] = (0.0, 0.0, 1.05 * sign)
    return rotation_from_axis_angle(turns).astype(np.float32)


def _posed(surface: Surface, transforms: Array, head: Array, origin: Array) -> Surface:
    """Pose a surface; the weights have done their work then: rest and edge take their place."""
    world = apply_transforms(transforms, surface.weights, surface.vertices).astype(np.float64)
    # The inverse of the head's own transform: whatever the neck does, the head stays.
    vertices = (world - head[:, 3]) @ head[:, :3] - origin
    kept = np.concatenate([surface.vertices, surface.edge[:, None]], axis=1)
    return Surface(
        vertices=vertices,
        faces=surface.faces,
        weights=kept,
        paint=surface.paint,
        coords=surface.coords,
        edge=surface.edge,
    )


def _in_sphere(surface: Surface) -> Surface:
    """Cut off what lies farther from head space's origin than `HEAD_RADIUS`."""
    room = HEAD_RADIUS - np.linalg.norm(surface.vertices, axis=1)
    return clip(surface, room) if room.min() < 0 else surface
