"""`dressform dataset characters`: people of the synthetic cast as kits for Blender.

A kit (.npz) holds one person in the rest pose, piece by piece, with skinning weights and baked
textures; `scripts/build_character.py` makes a .blend of it inside Blender, whose meshes hang on
the add-on's own rig. Axes are SMPL-X's (Y up), units metres.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.spatial import KDTree
from tqdm import tqdm

from blender_addon.contract.errors import BadParameter
from blender_addon.contract.joints import HEAD_JOINTS
from models.body import load_body
from training.people.atlas import cell_atlas, own_atlas
from training.people.baking import Textures, bake
from training.people.cast import CAST
from training.people.dataset import DEFAULT_BODY
from training.people.figures import build_figure, face_share
from training.people.hair import hat_field
from training.people.identities import random_identity
from training.people.materials import Cloth, Hair, linear
from training.people.noise import smoothstep
from training.people.render import look_of
from training.people.strands import grow_strands

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from training.people.figures import Figure
    from training.people.identities import Identity
    from training.people.strands import StrandStyle

KIT_VERSION = 1

Kind = Literal["skin", "eyes", "cloth", "hair", "shoes", "strands"]

_TEXELS: dict[str, int] = {"skin": 3072, "eyes": 512, "cloth": 2048, "hair": 2048, "shoes": 1024}
# Roughness of no gloss and of full gloss (`materials.Look.gloss`).
_ROUGHNESS: dict[str, tuple[float, float]] = {
    "skin": (0.56, 0.02),
    "eyes": (0.3, 0.06),
    "cloth": (0.92, 0.5),
    "hair": (0.55, 0.25),
    "shoes": (0.7, 0.1),
}


@dataclass(frozen=True, kw_only=True)
class KitPiece:
    """One mesh of a character.

    Attributes:
        name: of the mesh.
        kind: what it is made of.
        vertices: (V, 3) metres, rest pose of the shaped person.
        faces: (F, 3).
        weights: (V, 55) skinning weights, rows sum to 1.
        uv: (F, 3, 2) of each face's corners, v up.
        place: (V, 3) on the unshaped template: what fine relief is drawn on.
        strand: (V, 2) across and along strands or print, metres.
        hands: (V,) 0…1.
        face: (V,) 0…1.
        expression: (V, 3, m) metres per coefficient, or None where faces do not move it.
        textures: baked colours and roughness, or None where vertices have colours.
        tint: (V, 3) linear colours of the vertices, or None where there are textures.
        look: what the material needs beside them.
    """

    name: str
    kind: Kind
    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    weights: NDArray[np.float32]
    uv: NDArray[np.float32]
    place: NDArray[np.float32]
    strand: NDArray[np.float32]
    hands: NDArray[np.float32]
    face: NDArray[np.float32]
    expression: NDArray[np.float32] | None
    textures: Textures | None
    tint: NDArray[np.float32] | None
    look: Mapping[str, Any]


def characters(
    *,
    people: str = "benchmark",
    out: Path = Path("runs/characters"),
    body: Path = DEFAULT_BODY,
    detail: float = 1.0,
) -> None:
    """Write kits of synthetic people, from which Blender makes characters.

    Args:
        people: `benchmark` for all of the shipped cast, or names separated by commas;
            `random-7` is the random person of seed 7.
        out: folder that receives one NAME.npz per person.
        body: body package or SMPL-X file.
        detail: factor on the side of every texture.
    """
    cast = {identity.name: identity for identity in CAST}
    names = list(cast) if people == "benchmark" else people.split(",")
    found = {name: _identity(name, cast) for name in names}
    loaded = load_body(body)
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        figure = build_figure(found[name], loaded, skinned_skirts=True)
        write_kit(out / f"{name}.npz", figure, detail=detail)
        tqdm.write(str(out / f"{name}.npz"))


def _identity(name: str, cast: Mapping[str, Identity]) -> Identity:
    if name in cast:
        return cast[name]
    word, _, seed = name.partition("-")
    if word == "random" and seed.isdecimal():
        return random_identity(name, int(seed))
    raise BadParameter(
        f"nobody is called {name!r}", f"choose among {', '.join(cast)} and random-SEED"
    )


def write_kit(path: Path, figure: Figure, *, detail: float = 1.0) -> None:
    """Write the kit of a person who was dressed with `skinned_skirts`."""
    body = figure.bare.body
    pieces = kit_pieces(figure, detail=detail)
    arrays: dict[str, NDArray[Any]] = _template(figure)
    described: list[dict[str, Any]] = []
    for number, piece in enumerate(pieces):
        described.append({"name": piece.name, "kind": piece.kind, "look": dict(piece.look)})
        values: dict[str, NDArray[Any] | None] = {
            "vertices": piece.vertices,
            "faces": piece.faces,
            "weights": piece.weights,
            "uv": piece.uv,
            "place": piece.place,
            "strand": piece.strand,
            "hands": piece.hands,
            "face": piece.face,
            "expression": piece.expression,
            "tint": piece.tint,
        }
        if piece.textures is not None:
            values["albedo"] = np.frombuffer(piece.textures.albedo, np.uint8)
            values["roughness"] = np.frombuffer(piece.textures.roughness, np.uint8)
        arrays |= {f"{number}.{key}": value for key, value in values.items() if value is not None}
    meta = {
        "kit": KIT_VERSION,
        "name": figure.identity.name,
        "body": {"id": body.id, "digest": body.digest},
        "licence": "CC0-1.0",
        "pieces": described,
    }
    partial = path.with_suffix(".part.npz")
    arrays["meta"] = np.array(json.dumps(meta))
    np.savez_compressed(partial, **arrays)  # pyright: ignore[reportArgumentType]
    partial.replace(path)


def kit_pieces(figure: Figure, *, detail: float = 1.0) -> list[KitPiece]:
    """Return the meshes of a dressed person, textures baked."""
    found = [_skin(figure, detail)]
    found.append(_other(figure, 1, "eyes", "eyes", detail))
    for number, piece in enumerate(figure.pieces):
        found.append(_other(figure, 2 + number, f"{piece.kind}-{number}", piece.kind, detail))
        if piece.strands is not None and isinstance(piece.material, Hair):
            found.append(_strands(figure, number, piece.strands, piece.material))
    return found


def _skin(figure: Figure, detail: float) -> KitPiece:
    body = figure.bare.body
    faces = figure.faces[figure.owner == 0]
    uv, uv_faces = body.uv.numpy(), body.uv_faces.numpy()[_rows_of(figure.bare.faces, faces)]
    size = int(_TEXELS["skin"] * detail)
    texels = own_atlas(figure.bare.vertices, faces, uv, uv_faces, size)
    return _piece(figure, 0, "skin", "skin", faces, uv[uv_faces], texels, spread=True)


def _other(figure: Figure, owner: int, name: str, kind: Kind, detail: float) -> KitPiece:
    faces = figure.faces[figure.owner == owner]
    rest = figure.static[:, 3:6].astype(np.float64)
    # However coarse the texture is asked for, every face gets a cell.
    size = max(int(_TEXELS[kind] * detail), int(np.ceil(np.sqrt(40 * len(faces)))))
    uv, texels = cell_atlas(rest, faces, size)
    return _piece(figure, owner, name, kind, faces, uv, texels, spread=False)


def _strands(figure: Figure, number: int, style: StrandStyle, hair: Hair) -> KitPiece:
    bare, surface = figure.bare, figure.pieces[number].surface
    # Long hair may run on beyond its cut; hair may not run on over the face.
    low = surface.paint[:, 1] < bare.mark("left_eye_smplhf")[1] - 0.05
    below = low & (surface.paint[:, 2] < bare.mark("head")[2] + 0.03)
    ends = replace(surface, edge=np.where(below, 1.0, surface.edge))
    bareheaded = figure.identity.hat is None
    uncovered = np.ones(len(low), bool) if bareheaded else hat_field(bare, surface.paint) < -0.004
    grown = grow_strands(ends, style, figure.identity.seed + number, uncovered)
    color = linear(hair.color)[None] * grown.shade[:, None]
    count = len(grown.vertices)
    rest = grown.vertices.astype(np.float32)
    return KitPiece(
        name=f"strands-{number}",
        kind="strands",
        vertices=rest,
        faces=grown.faces.astype(np.int32),
        weights=grown.weights.astype(np.float32),
        uv=grown.coords[grown.faces].astype(np.float32),
        place=grown.paint.astype(np.float32),
        strand=grown.coords.astype(np.float32),
        hands=np.zeros(count, np.float32),
        face=np.zeros(count, np.float32),
        expression=_expression(figure, 2 + number, np.arange(0), grown.weights, rest),
        textures=None,
        tint=np.clip(color, 0, 1).astype(np.float32),
        look=_describe(figure, 2 + number),
    )


def _piece(
    figure: Figure,
    owner: int,
    name: str,
    kind: Kind,
    faces: NDArray[np.int64],
    uv: NDArray[np.float32],
    texels: Any,
    *,
    spread: bool,
) -> KitPiece:
    textures = bake(
        texels,
        faces,
        figure.static,
        lambda pixels, hand: look_of(figure, owner, pixels, hand),
        _ROUGHNESS[kind],
        spread=spread,
    )
    used, flat = np.unique(faces, return_inverse=True)
    static = figure.static[used]
    weights = all_weights(figure)[used]
    hands = smoothstep(0.45, 0.55, static[:, 11]) if owner == 0 else np.zeros(len(used))
    face = face_share(figure.bare, static[:, :3]) if owner <= 1 else np.zeros(len(used))
    return KitPiece(
        name=name,
        kind=kind,
        vertices=static[:, 3:6],
        faces=flat.reshape(-1, 3).astype(np.int32),
        weights=weights.astype(np.float32),
        uv=uv.astype(np.float32),
        place=static[:, :3],
        strand=static[:, 6:8],
        hands=hands.astype(np.float32),
        face=face.astype(np.float32),
        expression=_expression(figure, owner, used, weights, static[:, 3:6]),
        textures=textures,
        tint=None,
        look=_describe(figure, owner),
    )


def all_weights(figure: Figure) -> NDArray[np.float64]:
    """Return the (V, 55) skinning weights of the whole figure's vertices."""
    return np.concatenate(
        [figure.bare.weights, *(piece.surface.weights for piece in figure.pieces)]
    )


def _expression(
    figure: Figure,
    owner: int,
    used: NDArray[np.int64],
    weights: NDArray[np.float64],
    rest: NDArray[np.float32],
) -> NDArray[np.float32] | None:
    """Faces move the skin and the eyes by their own directions, hair on them by the nearest skin's."""
    dirs = figure.bare.body.expression_dirs.numpy()
    if owner <= 1:
        return dirs[used]
    on_head = weights[:, list(HEAD_JOINTS)].sum(axis=1) > 0.5
    if not on_head.any():
        return None
    _, near = KDTree(figure.bare.vertices).query(rest)
    moved = dirs[np.asarray(near)] * on_head[:, None, None]
    return moved if np.abs(moved).max() > 2e-4 else None


def _describe(figure: Figure, owner: int) -> dict[str, Any]:
    complexion = figure.identity.complexion
    if owner <= 1:
        return {"tone": list(complexion.skin)}
    material = figure.pieces[owner - 2].material
    if isinstance(material, Cloth):
        return {"pattern": material.pattern}
    if isinstance(material, Hair):
        return {"curly": material.curly, "color": list(material.color)}
    return {}


def _template(figure: Figure) -> dict[str, NDArray[Any]]:
    """The shaped body as the add-on's rig wants it: its shape is fixed, its betas are recorded."""
    bare = figure.bare
    body = bare.body
    order = np.argsort(-bare.weights, axis=1, kind="stable")[:, :4]
    values = np.take_along_axis(bare.weights, order, axis=1)
    return {
        "betas": bare.betas,
        "template.vertices": bare.vertices.astype(np.float32),
        "template.faces": bare.faces.astype(np.int32),
        "template.uv": body.uv.numpy(),
        "template.uv_faces": body.uv_faces.numpy().astype(np.int32),
        "template.joints": bare.joints.astype(np.float32),
        "template.expression_dirs": body.expression_dirs.numpy(),
        "template.weight_joints": order.astype(np.uint8),
        "template.weight_values": (values / values.sum(axis=1, keepdims=True)).astype(np.float32),
    }


def _rows_of(faces: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the row of each wanted face among `faces`."""
    count = int(faces.max()) + 1
    keys, sought = (f[:, 0] * count * count + f[:, 1] * count + f[:, 2] for f in (faces, wanted))
    order = np.argsort(keys)
    return order[np.searchsorted(keys[order], sought)]
