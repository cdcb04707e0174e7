"""What the readers of fits produce, and how it becomes the parameters of a capture.

A fit comes in the axes of its tool (often a camera's, y down) and with betas of its own body.
A capture has one body, one set of betas, and a world whose y axis points up. `place` turns the
one into the other and keeps every projected pixel, as far as the bodies agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from blender_addon.contract.camera import Camera
from blender_addon.contract.errors import CaptureError
from blender_addon.contract.operations import PosedBody

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.body import Body

BodyModel = Literal["smpl", "smplx"]

FREE_BODY = "body-cc0"

SMPL_PELVIS: NDArray[np.float64] = np.array([-0.0018, -0.2233, 0.0282])
"""(3,) metres: the pelvis joint of SMPL's unposed mean body. SMPL turns the root about it;
another body's pelvis lies elsewhere in its own axes."""

_FLIP = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True, kw_only=True)
class FittedFrame:
    """One frame's fit, in the axes of its tool.

    Attributes:
        name: of the frame that it belongs to.
        rotations: (55, 3, 3) local rotations; the first is the root's.
        transl: (3,) metres.
        betas: (n,) shape coefficients of the fit's body.
        expression: (m,) expression coefficients of the fit's body.
        camera: of the frame as it lies on disk.
    """

    name: str
    rotations: NDArray[np.float64]
    transl: NDArray[np.float64]
    betas: NDArray[np.float64]
    expression: NDArray[np.float64]
    camera: Camera


@dataclass(frozen=True, kw_only=True)
class Take:
    """A video with its fits.

    Attributes:
        fits: at least one, in the order of the frames.
        indices: of the frames that the fits belong to, rising.
        model: body model of the fits.
        distortion: (5,) lens coefficients k1, k2, p1, p2, k3 of all frames, or None.
        notes: what was left out or approximated, in words for the user.
    """

    fits: tuple[FittedFrame, ...]
    indices: tuple[int, ...]
    model: BodyModel
    distortion: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Parameters of a capture.

    Attributes:
        betas: (n,) float32, of the whole capture.
        bodies: per frame, in a world with y up.
        cameras: per frame, in the same world.
        notes: what was approximated.
    """

    betas: NDArray[np.float32]
    bodies: tuple[PosedBody, ...]
    cameras: tuple[Camera, ...]
    notes: tuple[str, ...]


def place(take: Take, body: Body, betas: Sequence[float] | None = None) -> Placement:
    """Bring a take's fits to one body and a world with y up.

    SMPL and SMPL-X turn the root about the pelvis of the unposed, shaped body, so the
    translation depends on whose pelvis that is: it is corrected such that the pelvis stays
    where the fit has it.

    Args:
        take: the fits.
        body: body of the capture.
        betas: shape of the person in terms of `body`. None: the median of the fits' where they
            are that body's, otherwise zeros.

    Raises:
        CaptureError: more coefficients than the body has.
    """
    notes: list[str] = []
    same_body = take.model == "smplx" and body.id != FREE_BODY
    shape, shapes = _shape(take, body, betas, same_body=same_body, notes=notes)
    expressions = _expressions(take, body, same_body=same_body, notes=notes)
    turn = _FLIP if _upside_down(take) else np.eye(3)
    bodies: list[PosedBody] = []
    cameras: list[Camera] = []
    for fit, own, expression in zip(take.fits, shapes, expressions, strict=True):
        pivot = SMPL_PELVIS if take.model == "smpl" else rest_pelvis(body, own, expression)
        rotations = fit.rotations.copy()
        rotations[0] = turn @ rotations[0]
        pelvis = turn @ (pivot + fit.transl)
        bodies.append(
            PosedBody(
                pose=rotations.astype(np.float32),
                transl=(pelvis - rest_pelvis(body, shape, expression)).astype(np.float32),
                betas=shape,
                expression=expression.astype(np.float32),
            )
        )
        camera = fit.camera
        cameras.append(
            Camera(
                K=camera.K,
                R=camera.R @ turn.T,
                t=camera.t,
                width=camera.width,
                height=camera.height,
            )
        )
    return Placement(betas=shape, bodies=tuple(bodies), cameras=tuple(cameras), notes=tuple(notes))


def rest_pelvis(
    body: Body, betas: NDArray[np.floating], expression: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the (3,) pelvis of the unposed body of some shape, metres."""
    basis = body.basis[1].cpu().numpy().astype(np.float64)[:, :3]
    first = 1 + body.shape_dirs.shape[2]
    return (
        basis[0]
        + np.asarray(betas, np.float64) @ basis[1 : 1 + len(betas)]
        + np.asarray(expression, np.float64) @ basis[first : first + len(expression)]
    )


def _shape(
    take: Take,
    body: Body,
    given: Sequence[float] | None,
    *,
    same_body: bool,
    notes: list[str],
) -> tuple[NDArray[np.float32], list[NDArray[np.float64]]]:
    """Return the capture's betas, and per frame the betas by which the fit's pelvis is found."""
    count = body.shape_dirs.shape[2]
    widths = [len(fit.betas) for fit in take.fits]
    own = [fit.betas for fit in take.fits] if same_body else [np.zeros(0)] * len(take.fits)
    if same_body and max(widths) > count:
        raise CaptureError(
            f"the fits have {max(widths)} betas, the body {body.id!r} has {count}",
            "choose the body that the fits were made with",
            field="betas",
        )
    if given is not None:
        if len(given) > count or not np.isfinite(given).all():
            raise CaptureError(
                f"betas are {len(given)} numbers, the body {body.id!r} has {count}",
                "give finite shape coefficients of that body",
                field="betas",
            )
        return np.asarray(given, np.float32), own
    if not same_body:
        notes.append(
            f"betas of {take.model.upper()} mean nothing to {body.id!r}: its mean shape is used; "
            "give --betas, or let the training refine them"
        )
        return np.zeros(min(10, count), np.float32), own
    width = max(widths)
    stacked = np.stack([np.pad(fit.betas, (0, width - len(fit.betas))) for fit in take.fits])
    if np.ptp(stacked, axis=0).max(initial=0.0) > 1e-6:
        notes.append(f"betas differ from frame to frame: the median of {len(stacked)} is used")
    return np.median(stacked, axis=0).astype(np.float32), own


def _expressions(
    take: Take, body: Body, *, same_body: bool, notes: list[str]
) -> list[NDArray[np.float64]]:
    width = max(len(fit.expression) for fit in take.fits)
    if not same_body:
        if any(np.any(fit.expression) for fit in take.fits):
            notes.append(
                f"expressions of {take.model.upper()} mean nothing to {body.id!r}: the face is "
                "neutral, the jaw moves"
            )
        return [np.zeros(0)] * len(take.fits)
    if width > body.expression_dirs.shape[2]:
        raise CaptureError(
            f"the fits have {width} expression coefficients, the body {body.id!r} has "
            f"{body.expression_dirs.shape[2]}",
            "choose the body that the fits were made with",
            field="expression",
        )
    return [np.pad(fit.expression, (0, width - len(fit.expression))) for fit in take.fits]


def _upside_down(take: Take) -> bool:
    """Tell whether the fits' world has y down: most cameras' own down is its y axis."""
    return float(np.mean([fit.camera.R[1, 1] for fit in take.fits])) > 0.0
