"""Which pose and camera each frame of a capture gets, and the frame itself.

A frame depends on the person, the seed, its split and its number alone: any frame can be made
anywhere, in any order, with the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.operations import PosedBody
from training.captures import CaptureFrame
from training.people.cameras import VIEW_SHARES, VIEWS, View, sample_camera
from training.people.collisions import penetrates
from training.people.poses import FAMILIES, Family, sample_pose
from training.people.render import render
from training.people.skeleton import joint_transforms, posed_joints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.capture import Split
    from training.people.figures import Figure

EXPRESSIONS = 10
_ATTEMPTS = 60
_FAMILY_SHARES: dict[Family, float] = {
    "stand": 0.14, "walk": 0.16, "run": 0.08, "dance": 0.16, "reach": 0.13, "sit": 0.09,
    "turn": 0.08, "crossed arms": 0.07, "hands in front": 0.09,
}  # fmt: skip
_SPLIT_SEEDS: dict[Split, int] = {"train": 1, "held-out": 2}


@dataclass(frozen=True, kw_only=True)
class FramePlan:
    """What a frame shows.

    Attributes:
        number: of the frame in its split.
        split: of the frame.
        seed: of the capture.
        family: of the pose; drawn when None.
        view: of the camera; drawn when None.
        azimuth: of the camera against the person's front, radians; drawn when None.
    """

    number: int
    split: Split
    seed: int
    family: Family | None = None
    view: View | None = None
    azimuth: float | None = None

    @property
    def name(self) -> str:
        """File name: the split's letter and the number."""
        return f"{'t' if self.split == 'train' else 'h'}{self.number:04d}"


@dataclass(frozen=True)
class Shot:
    """A frame before it is rendered: name, split, tags, pose and camera."""

    name: str
    split: Split
    tags: tuple[str, ...]
    body: PosedBody
    camera: Camera


def make_frame(figure: Figure, plan: FramePlan, *, size: int) -> CaptureFrame:
    """Pose, see and render one frame; see `make_shot`."""
    shot = make_shot(figure, plan, size=size)
    picture = render(figure, shot.body, shot.camera)
    return CaptureFrame(
        name=shot.name,
        split=shot.split,
        tags=shot.tags,
        image=picture.image,
        masks=picture.masks,
        body=shot.body,
        camera=shot.camera,
    )


def make_shot(figure: Figure, plan: FramePlan, *, size: int) -> Shot:
    """Pose a person and place the camera.

    Args:
        figure: the person.
        plan: what the frame shows.
        size: width and height in pixels.
    """
    rng = np.random.default_rng(
        [plan.seed, figure.identity.seed, _SPLIT_SEEDS[plan.split], plan.number]
    )
    family = (
        plan.family or FAMILIES[int(rng.choice(len(FAMILIES), p=list(_FAMILY_SHARES.values())))]
    )
    view = plan.view or VIEWS[int(rng.choice(len(VIEWS), p=list(VIEW_SHARES.values())))]
    pose, family = _free_pose(rng, figure, family)
    body = PosedBody(
        pose=pose.astype(np.float32),
        transl=rng.uniform(-0.3, 0.3, 3).astype(np.float32),
        betas=figure.identity.shape(),
        expression=_expression(rng, figure),
    )
    transforms = joint_transforms(body.pose, figure.bare.joints, body.transl)
    joints = posed_joints(transforms, figure.bare.joints)
    azimuth = _azimuth(rng, view) if plan.azimuth is None else plan.azimuth
    camera = sample_camera(rng, view, joints, facing=body.pose[0], size=size, azimuth=azimuth)
    return Shot(plan.name, plan.split, _tags(family, view, body, camera), body, camera)


def _free_pose(
    rng: np.random.Generator, figure: Figure, family: Family
) -> tuple[NDArray[np.float64], Family]:
    """Draw poses until one keeps arms and legs out of the body."""
    rest = figure.bare.joints
    for attempt in range(2 * _ATTEMPTS):
        if attempt >= _ATTEMPTS:
            family = "stand"  # a broad person cannot do everything
        pose = sample_pose(rng, family, figure.identity.pose_style)
        if not penetrates(joint_transforms(pose, rest, np.zeros(3)), rest, figure.solids):
            return pose, family
    # Arms level at the sides touch nothing.
    pose = np.tile(np.eye(3), (rest.shape[0], 1, 1))
    return pose, "stand"


def _expression(rng: np.random.Generator, figure: Figure) -> NDArray[np.float32]:
    count = min(EXPRESSIONS, int(figure.bare.body.expression_dirs.shape[2]))
    values = rng.normal(0, 0.3, EXPRESSIONS)[:count]
    return np.clip(values, -1.2, 1.2).astype(np.float32)


def _azimuth(rng: np.random.Generator, view: View) -> float:
    # A head is looked at from the front more often than from behind.
    if view == "head" and rng.random() < 0.6:
        return float(rng.normal(0, 0.7))
    return float(rng.uniform(-np.pi, np.pi))


def _tags(family: Family, view: View, body: PosedBody, camera: Camera) -> tuple[str, ...]:
    facing = body.pose[0] @ np.array([0.0, 0.0, 1.0])
    towards = camera.center - body.transl
    cosine = float(facing @ towards / np.linalg.norm(towards))
    tags = [family, f"{view} view" if view in ("whole", "upper") else view]
    if cosine < -0.4:
        tags.append("back view")
    return tuple(tags)
