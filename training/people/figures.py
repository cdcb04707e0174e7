"""A dressed person as one mesh: pieces of surface with materials, posed together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from blender_addon.contract.errors import BadParameter
from blender_addon.contract.joints import (
    LEFT_HAND_JOINTS,
    RIGHT_HAND_JOINTS,
)
from training.people.bare import BareBody, bare_body, posed_vertices
from training.people.beard import BEARD_STRANDS, grow_beard
from training.people.collisions import Solids, body_solids
from training.people.garments import (
    make_shoes,
    sew_top,
    sew_trousers,
    shoes_field,
    skin_under,
    top_field,
    trousers_field,
)
from training.people.hair import grow, knit_cap, strand_style
from training.people.materials import Cloth, Hair, Leather
from training.people.skeleton import apply_transforms, joint_transforms
from training.people.skin import Nail, find_nails
from training.people.skirts import Skirt
from training.people.surfaces import NormalOperator, Surface, normals, occlusion

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from blender_addon.contract.operations import PosedBody
    from models.body import Body
    from training.people.identities import Identity
    from training.people.strands import StrandStyle

Kind = Literal["skin", "eyes", "cloth", "hair", "shoes"]


@dataclass(frozen=True)
class Piece:
    """One piece over the skin: its rest surface, material and, for skirts, its own posing.

    `strands` says how single hairs lie on a piece of hair; only characters have them.
    """

    kind: Kind
    surface: Surface
    material: Cloth | Leather | Hair
    skirt: Skirt | None = None
    strands: StrandStyle | None = None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A dressed person, ready to be posed and rendered.

    Attributes:
        identity: who it is.
        bare: the body under the clothes.
        pieces: what covers it.
        faces: (F, 3) of the whole mesh: the body's vertices first, then each piece's.
        owner: (F,) 0 skin, 1 eyes, 2 + k piece k.
        static: (V, 12) float32 per-vertex values that no pose changes: paint 3, rest 3,
            coords 2, edge, palm, openness, hand share.
        nails: finger nails.
        solids: for collision tests.
        normal_operator: vertex normals of the whole mesh.
    """

    identity: Identity
    bare: BareBody
    pieces: tuple[Piece, ...]
    faces: NDArray[np.int64]
    owner: NDArray[np.int64]
    static: NDArray[np.float32]
    nails: list[Nail]
    solids: Solids
    normal_operator: NormalOperator

    def posed(self, body: PosedBody) -> NDArray[np.float32]:
        """Return the (V, 3) vertices of skin and pieces in a pose."""
        transforms = joint_transforms(body.pose, self.bare.joints, body.transl)
        parts = [posed_vertices(self.bare.body, body)]
        for piece in self.pieces:
            if piece.skirt is not None:
                parts.append(piece.skirt.posed(transforms).astype(np.float32))
            else:
                parts.append(
                    apply_transforms(transforms, piece.surface.weights, piece.surface.vertices)
                )
        return np.concatenate(parts)


def build_figure(
    identity: Identity, body: Body, assets: Path | None = None, *, skinned_skirts: bool = False
) -> Figure:
    """Dress a person.

    Args:
        identity: who it is.
        body: on the CPU.
        assets: folder of the asset set, for identities that wear pieces of it.
        skinned_skirts: give skirts weights of their own, for whoever poses by weights alone, and
            leave out the skin that they hide but cannot be kept above.
    """
    bare = bare_body(body, identity.shape())
    pieces, hidden = _tailored(identity, bare)
    if skinned_skirts:
        for number, piece in enumerate(pieces):
            if piece.skirt is not None:
                hidden |= piece.skirt.hidden_skin(bare)
                pieces[number] = Piece(piece.kind, piece.skirt.skinned(), piece.material)
    if identity.assets:
        worn, under = _from_assets(identity, bare, assets)
        pieces += worn
        hidden |= under
    eyes = bare.eyes[bare.faces].all(axis=1)
    skin_faces = bare.faces[~eyes & ~hidden]
    faces, owner = [skin_faces, bare.faces[eyes]], [0, 1]
    start = len(bare.vertices)
    for index, piece in enumerate(pieces):
        faces.append(piece.surface.faces + start)
        owner.append(2 + index)
        start += len(piece.surface.vertices)
    all_faces = np.concatenate(faces)
    owners = np.repeat(owner, [len(f) for f in faces])
    return Figure(
        identity=identity,
        bare=bare,
        pieces=tuple(pieces),
        faces=all_faces,
        owner=owners,
        static=_static_values(bare, pieces, all_faces),
        nails=find_nails(bare),
        solids=body_solids(bare.vertices, bare.weights, cloth=0.016),
        normal_operator=NormalOperator(all_faces, start),
    )


def _tailored(identity: Identity, bare: BareBody) -> tuple[list[Piece], NDArray[np.bool_]]:
    pieces: list[Piece] = []
    covered: list[NDArray[np.float64]] = []
    if identity.trousers is not None:
        cut, cloth = identity.trousers
        over = identity.top[0] if identity.top else None
        pieces.append(Piece("cloth", sew_trousers(bare, cut, identity.seed % 97, over=over), cloth))
        covered.append(trousers_field(bare, cut, bare.template))
    for garment in (identity.shirt, identity.top):
        if garment is None:
            continue
        top, cloth = garment
        over = identity.top[0] if identity.top and garment is identity.shirt else None
        pieces.append(Piece("cloth", sew_top(bare, top, identity.seed % 89, over=over), cloth))
        covered.append(top_field(bare, top, bare.template))
    if identity.skirt is not None:
        skirt_cut, cloth = identity.skirt
        skirt = Skirt(bare, skirt_cut, identity.seed % 83)
        pieces.append(Piece("cloth", skirt.surface, cloth, skirt))
        # The seat and upper thighs are never seen under a skirt.
        hips = bare.mark("left_hip")[1] - 0.1
        waist = bare.mark("spine1")[1]
        y = bare.template[:, 1]
        covered.append(
            np.where(np.abs(bare.template[:, 0]) < 0.35, np.minimum(waist - y, y - hips), -1)
        )
    if identity.shoes is not None:
        shoes, leather = identity.shoes
        pieces.append(Piece("shoes", make_shoes(bare, shoes), leather))
        covered.append(shoes_field(bare, shoes, bare.template))
    if identity.hair_cut is not None:
        hair = grow(bare, identity.hair_cut, identity.seed % 79, under_hat=identity.hat is not None)
        if hair is not None:
            lying = strand_style(identity.hair_cut, curly=identity.hair.curly)
            pieces.append(Piece("hair", hair, identity.hair, strands=lying))
    if identity.beard is not None:
        beard = grow_beard(bare, identity.seed % 71)
        pieces.append(Piece("hair", beard, identity.beard, strands=BEARD_STRANDS))
    if identity.hat is not None:
        pieces.append(Piece("cloth", knit_cap(bare), identity.hat))
    return pieces, skin_under(bare, covered)


def _from_assets(
    identity: Identity, bare: BareBody, folder: Path | None
) -> tuple[list[Piece], NDArray[np.bool_]]:
    if folder is None:
        raise BadParameter(
            f"{identity.name} wears pieces of the asset set", "give its folder with --assets"
        )
    # MakeHuman's data files are needed from here on only.
    from training.people.assets import fit_hair, fit_piece, fit_shoes

    pieces: list[Piece] = []
    hidden = np.zeros(len(bare.vertices), bool)
    for asset in identity.assets:
        if isinstance(asset.material, Hair):
            kind, fitted = "hair", fit_hair(bare, folder, asset.name)
        elif isinstance(asset.material, Leather):
            kind, fitted = "shoes", fit_shoes(bare, folder, asset.name)
        else:
            kind, fitted = "cloth", fit_piece(bare, folder, asset.name)
        pieces.append(Piece(kind, fitted.surface, asset.material))
        hidden |= fitted.hidden
    return pieces, np.asarray(hidden[bare.faces].all(axis=1))


def _static_values(
    bare: BareBody, pieces: list[Piece], faces: NDArray[np.int64]
) -> NDArray[np.float32]:
    surfaces = [bare.surface(), *(piece.surface for piece in pieces)]
    rest = np.concatenate([surface.vertices for surface in surfaces])
    outward = normals(rest, faces)
    hands = bare.weights[:, [*LEFT_HAND_JOINTS, *RIGHT_HAND_JOINTS]].sum(axis=1)
    others = np.zeros(len(rest) - len(bare.vertices))
    columns = [
        np.concatenate([surface.paint for surface in surfaces]),
        rest,
        np.concatenate([surface.coords for surface in surfaces]),
        np.concatenate([surface.edge for surface in surfaces])[:, None],
        np.clip(-outward[:, 1:2], 0, 1),
        occlusion(rest, outward, rest, faces)[:, None],
        np.concatenate([hands, others])[:, None],
    ]
    return np.concatenate(columns, axis=1).astype(np.float32)


def face_share(bare: BareBody, paint: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (N,) how far template points lie on the face: before the ears, above the throat."""
    head = bare.mark("head")
    jaw = bare.mark("neck")[1]
    eye = bare.mark("left_eye_smplhf")
    # The border runs just before the ears and along the chin's underside.
    ahead = paint[:, 2] - (head[2] + 0.018)
    below = paint[:, 1] - (eye[1] - 0.112) - 0.28 * np.clip(eye[2] - 0.02 - paint[:, 2], 0, 0.1)
    inside = np.minimum(ahead, below)
    return (np.clip(0.5 + inside / 0.004, 0, 1) * (paint[:, 1] > jaw)).astype(np.float32)
