"""A body is fitted to what is seen of a person: SMPL-X parameters and the camera.

    keypoints ─► root and distance ─► pose ─► pose, shape and mask's contour together

`iterate_fit_body` is a generator of small steps, so that a worker serves others meanwhile. The world
of a fit has its y axis along the photograph's upright, and the body's pelvis where the unposed body
has it: the camera carries the distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from blender_addon.contract.camera import Camera
from blender_addon.contract.errors import BadParameter, NoPersonFound
from blender_addon.contract.joints import (
    BODY_JOINTS,
    JOINT_COUNT,
    JOINT_INDEX,
    LEFT_HAND,
    RIGHT_HAND,
)
from blender_addon.contract.operations import PosedBody
from models.body import part_of, skin
from models.body_fit_figures import fit_figures
from models.body_fit_hands import finger_curls
from models.body_fit_terms import (
    Seen,
    around_cost,
    direction_cost,
    inside_cost,
    landmark_cost,
    project,
)
from models.body_prior import hands_at_ease, pose_prior
from models.pose_landmarks import LANDMARK_INDEX, landmark_points
from models.rotations import rotations
from models.steps import finish

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from torch import Tensor

    from models.body import Body
    from models.person_photo import PersonView

GUESSED_FOCAL = 1.3
"""Focal length over the photograph's longer side when nobody knows it: a lens of 47 mm."""
LEAST_SEEN = 4.0
"""Sum of the landmarks' weights below which there is nobody to fit."""
_CONTOUR_CELL = 0.03
"""Metres between the vertices that are compared with the contour."""
_STEPS_AT_ONCE = 3
_TORSO = [
    LANDMARK_INDEX[f"{side}_{name}"]
    for name in ("shoulder", "hip", "ear")
    for side in ("left", "right")
]
_LEAST_COUNT = 0.2
"""How much limbs count for the contour that may be hidden."""
_GROUPS = {"root": 2, "pose": 3, "shape": 4}
"""How many of root, pelvis, pose and betas each stage moves."""
_FLIP = np.diag([1.0, -1.0, -1.0])
_LIMIT_SPREAD = 0.05
_UPRIGHT_SPREAD = 0.3


@dataclass(frozen=True, kw_only=True)
class BodyFitRecipe:
    """How a body is fitted.

    Attributes:
        focal: focal length in pixels of the photograph; guessed when None.
        root_steps: of distance and orientation.
        pose_steps: of the pose.
        shape_steps: of pose, shape and contour together.
        rate: first step of Adam, radians.
        prior: weight of the pose's prior.
        directions: weight of the limbs' guessed directions in space.
        contour: weight of the mask's contour; 0 leaves the mask out.
        betas: shape coefficients that are fitted; 0 keeps the mean shape.
    """

    focal: float | None = None
    root_steps: int = 40
    pose_steps: int = 100
    shape_steps: int = 100
    rate: float = 0.06
    prior: float = 1.0
    directions: float = 1.0
    contour: float = 1.0
    betas: int = 10


class BodyFitStep(NamedTuple):
    """Where a fit stands: stage ("root", "pose" or "shape"), share of the whole, and its cost."""

    stage: str
    share: float
    cost: float


@dataclass(frozen=True, kw_only=True)
class BodyFit:
    """A fitted body.

    Attributes:
        body: in its pose; a world with y up.
        camera: of the whole photograph, in the same world.
        figures: by name; see `models/body_fit_figures.py`.
    """

    body: PosedBody
    camera: Camera
    figures: Mapping[str, float]


def fit_body(view: PersonView, body: Body, recipe: BodyFitRecipe | None = None) -> BodyFit:
    """Fit a body; see `iterate_fit_body`."""
    return finish(iterate_fit_body(view, body, recipe))


def iterate_fit_body(
    view: PersonView, body: Body, recipe: BodyFitRecipe | None = None
) -> Generator[BodyFitStep, None, BodyFit]:
    """Fit a body to what is seen of a person, step by step.

    Joints outside the photograph, or hidden, stay where somebody who stands at ease has them.

    Args:
        view: keypoints and mask.
        body: the body model, on the CPU.
        recipe: how.

    Yields:
        where the fit stands. The same input gives the same fit.

    Returns:
        the fit, as the generator's value.

    Raises:
        NoPersonFound: too few landmarks are seen.
        BadParameter: the focal length or the count of shape coefficients cannot be.

    Source: SMPLify-X (Pavlakos et al. 2019) for the stages; terms and priors are ours.
    """
    chosen = recipe or BodyFitRecipe()
    focal = _focal(chosen, view)
    if not 0 <= chosen.betas <= body.shape_dirs.shape[2]:
        raise BadParameter(f"betas must lie in 0…{body.shape_dirs.shape[2]}")
    seen = Seen.of(view)
    if float(seen.weights.sum()) < LEAST_SEEN:
        raise NoPersonFound("too little is seen of the person to fit a body")
    fit = _Fit(view, seen, body, chosen, focal)
    total = chosen.root_steps + chosen.pose_steps + chosen.shape_steps
    done = 0
    for stage, steps in (
        ("root", chosen.root_steps),
        ("pose", chosen.pose_steps),
        ("shape", chosen.shape_steps),
    ):
        cost = 0.0
        for number, cost in enumerate(fit.optimise(stage, steps)):
            if number % _STEPS_AT_ONCE == 0:
                yield BodyFitStep(stage, (done + number) / max(total, 1), cost)
        done += steps
        fit.choose()
        yield BodyFitStep(stage, done / max(total, 1), cost)
    posed, camera = fit.outcome()
    return BodyFit(
        body=posed, camera=camera, figures=fit_figures(view, seen.weights, body, posed, camera)
    )


class _Fit:
    """The parameters of a fit, for B hypotheses of how the person faces the camera."""

    def __init__(
        self, view: PersonView, seen: Seen, body: Body, recipe: BodyFitRecipe, focal: float
    ) -> None:
        self._view, self._seen, self._recipe, self._focal = view, seen, recipe, focal
        self._body = body
        self._points = landmark_points(body)
        outline = _spread_vertices(body)
        self._part = part_of(body, torch.cat([self._points.vertices, outline]))
        self._outline = slice(len(self._points.vertices), len(self._points.vertices) + len(outline))
        self._prior = pose_prior()
        self._counts = _vertex_counts(body, seen)[outline]
        self._fixed = hands_at_ease()
        self._fixed[[*range(25, JOINT_COUNT)]] = finger_curls(view, self._fixed)[25:]
        self._start = self._starts()
        count = len(self._start)
        self._root = torch.zeros(count, 3)
        self._pose = self._prior.mean.expand(count, -1, -1).clone()
        self._betas = torch.zeros(count, recipe.betas)
        self._pelvis = self._placed()
        self._cost = torch.zeros(count)

    def optimise(self, stage: str, steps: int) -> Generator[float]:
        """Move a stage's parameters; yields the cost of the best hypothesis."""
        rate = self._recipe.rate
        groups: list[tuple[Tensor, float]] = [
            (self._root, rate),
            (self._pelvis, rate / 2),
            (self._pose, rate),
            (self._betas, 2 * rate),
        ][: _GROUPS[stage]]
        for value, _ in groups:
            value.requires_grad_()
        optimiser = torch.optim.Adam([{"params": [value], "lr": step} for value, step in groups])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1), 0.002)
        for _ in range(steps):
            optimiser.zero_grad()
            cost = self._costs(stage)
            cost.sum().backward()
            optimiser.step()
            schedule.step()
            self._cost = cost.detach()
            yield float(self._cost.min())
        for value, _ in groups:
            value.requires_grad_(False)

    def choose(self) -> None:
        """Keep the best hypothesis."""
        best = slice(int(self._cost.argmin()), int(self._cost.argmin()) + 1)
        for name in ("_root", "_pose", "_betas", "_pelvis", "_start", "_cost"):
            setattr(self, name, getattr(self, name)[best].detach().clone())

    def outcome(self) -> tuple[PosedBody, Camera]:
        """Return body and camera."""
        turned = self._rotations()[0].numpy().astype(np.float64)
        u, _, v = np.linalg.svd(turned)
        rest = self._rest(self._betas)[0].numpy().astype(np.float64)
        # The body's pelvis stays where the unposed one has it: the camera moves instead.
        away = self._pelvis[0].numpy().astype(np.float64) - rest
        view, f = self._view, self._focal
        K = np.array([[f, 0.0, view.width / 2], [0.0, f, view.height / 2], [0.0, 0.0, 1.0]])
        camera = Camera(K=K, R=_FLIP, t=_FLIP @ away, width=view.width, height=view.height)
        expression = min(10, self._body.expression_dirs.shape[2])
        posed = PosedBody(
            pose=(u @ v).astype(np.float32),
            transl=np.zeros(3, np.float32),
            betas=self._betas[0].numpy().astype(np.float32),
            expression=np.zeros(expression, np.float32),
        )
        return posed, camera

    def _costs(self, stage: str) -> Tensor:
        recipe, seen = self._recipe, self._seen
        posed = skin(
            self._part,
            self._rotations(),
            self._betas,
            self._betas.new_zeros(len(self._betas), 0),
            self._pelvis - self._rest(self._betas),
        )
        landmarks = self._points.of(posed.vertices[:, : len(self._points.vertices)], posed.joints)
        # At the distance as it is now, without gradient: else a farther person would fit better.
        metres = float(-self._pelvis[:, 2].detach().mean()) / self._focal
        cost = landmark_cost(seen, self._pixels(landmarks), metres)
        cost = cost + recipe.directions * direction_cost(seen, landmarks)
        cost = cost + self._upright_cost()
        if stage == "root":
            return cost
        cost = cost + recipe.prior * self._prior.cost(self._pose)
        cost = cost + self._prior.excess(self._pose) / _LIMIT_SPREAD**2
        if stage == "pose":
            return cost
        cost = cost + self._betas.square().sum(dim=1)
        if recipe.contour > 0:
            outline = self._pixels(posed.vertices[:, self._outline])
            around = inside_cost(seen, outline, self._counts, metres) + around_cost(
                seen, outline, self._counts, metres
            )
            cost = cost + recipe.contour * around
        return cost

    def _upright_cost(self) -> Tensor:
        """Return (B,): people mostly stand upright; counts when hips are not seen."""
        hips = [LANDMARK_INDEX[f"{side}_hip"] for side in ("left", "right")]
        unseen = 1.0 - float(self._seen.weights[hips].mean())
        up = (rotations(self._root) @ self._start)[:, :, 1]
        return unseen * 2.0 * (1.0 - up[:, 1]) / _UPRIGHT_SPREAD**2

    def _rotations(self) -> Tensor:
        """Return (B, 55, 3, 3)."""
        count = len(self._pose)
        turns = self._fixed.expand(count, -1, -1)
        root = rotations(self._root) @ self._start
        first = BODY_JOINTS[-1] + 1
        return torch.cat([root[:, None], rotations(self._pose), rotations(turns[:, first:])], dim=1)

    def _pixels(self, points: Tensor) -> Tensor:
        return project(points, self._focal, self._view.width, self._view.height)

    def _rest(self, betas: Tensor) -> Tensor:
        """Return (B, 3), the pelvis of the unposed body."""
        basis = self._part.basis[1][:, :3]
        return basis[0] + betas @ basis[1 : 1 + betas.shape[1]]

    def _starts(self) -> Tensor:
        """Return (B, 3, 3), hypotheses of how the body faces the camera."""
        yaw = torch.linspace(0, 2 * np.pi, 9)[:-1]
        turns = rotations(torch.stack([torch.zeros(8), yaw, torch.zeros(8)], dim=1))
        if self._view.world is None:
            return turns
        world = torch.from_numpy(self._view.world * np.array([1.0, -1.0, -1.0], np.float32))[_TORSO]
        rest = self._rest_landmarks()[0, _TORSO]
        weights = torch.from_numpy(self._view.visibility)[_TORSO, None] + 0.05
        world = world - (weights * world).sum(dim=0) / weights.sum()
        rest = rest - (weights * rest).sum(dim=0) / weights.sum()
        u, _, v = torch.linalg.svd((weights * world).T @ rest)
        sign = torch.det(u @ v).sign()
        return (u @ torch.diag(torch.stack([torch.ones(()), torch.ones(()), sign])) @ v)[None]

    def _rest_landmarks(self) -> Tensor:
        turns = torch.zeros(1, JOINT_COUNT, 3)
        turns[0, 1 : BODY_JOINTS[-1] + 1] = self._prior.mean
        empty = torch.zeros(1, 0)
        posed = skin(self._part, rotations(turns), empty, empty, torch.zeros(1, 3))
        points = self._points.of(posed.vertices[:, : len(self._points.vertices)], posed.joints)
        return points - posed.joints[:, :1]

    def _placed(self) -> Tensor:
        """Return (B, 3): where the pelvis is such that the turned body projects onto what is seen."""
        points = self._rest_landmarks()[0] @ self._start.transpose(1, 2)
        weights = self._seen.weights.clone()
        # Limbs are not where they will be.
        limbs = [i for i in range(len(weights)) if i not in (0, *_TORSO)]
        weights[limbs] *= 0.02
        middle = torch.tensor([self._view.width / 2, self._view.height / 2])
        # y down and z forward here; x = (X + a) / (Z + c) is linear in a and c.
        rays = (self._seen.landmarks - middle) / self._focal
        X, Y, Z = points[..., 0], -points[..., 1], -points[..., 2]
        one, zero = torch.ones_like(X), torch.zeros_like(X)
        x, y = rays[:, 0].expand_as(X), rays[:, 1].expand_as(X)
        rows = torch.cat(
            [torch.stack([one, zero, -x], dim=2), torch.stack([zero, one, -y], dim=2)], dim=1
        )
        right = torch.cat([x * Z - X, y * Z - Y], dim=1)
        weight = weights.sqrt().repeat(2)[:, None]
        found = torch.linalg.lstsq(rows * weight, right[..., None] * weight).solution[..., 0]
        # Seen from the side, a wrong hypothesis may have no sensible distance.
        found[:, 2] = found[:, 2].clamp(0.4, 100.0)
        return found * torch.tensor([1.0, -1.0, -1.0])


def _spread_vertices(body: Body) -> Tensor:
    """Return indices of vertices spread evenly over the body: meshes are dense at face and hands."""
    cells = (body.v_template / _CONTOUR_CELL).round().numpy().astype(np.int64)
    _, first = np.unique(cells, axis=0, return_index=True)
    return torch.from_numpy(np.sort(first))


def _vertex_counts(body: Body, seen: Seen) -> Tensor:
    """Return (V,): how much each vertex counts for the contour, by how well its joints are seen.

    What is hidden behind something lies outside the mask, and rightly so.
    """
    joint = torch.full((JOINT_COUNT,), 1.0)
    for side, hand in (("left", LEFT_HAND), ("right", RIGHT_HAND)):
        parts = {
            "elbow": ["elbow"], "wrist": ["wrist", *(n.removeprefix(f"{side}_") for n in hand)],
            "knee": ["knee"], "ankle": ["ankle", "foot"],
        }  # fmt: skip
        for landmark, names in parts.items():
            weight = seen.weights[LANDMARK_INDEX[f"{side}_{landmark}"]].clamp_min(_LEAST_COUNT)
            for name in names:
                joint[JOINT_INDEX[f"{side}_{name}"]] = weight
    return body.skin_weights @ joint


def _focal(recipe: BodyFitRecipe, view: PersonView) -> float:
    longest = max(view.width, view.height)
    focal = GUESSED_FOCAL * longest if recipe.focal is None else float(recipe.focal)
    if not 0.1 * longest <= focal <= 100.0 * longest:
        raise BadParameter(
            f"a focal length of {focal:.0f} pixels cannot be for {longest} pixels",
            "give the focal length in pixels of this photograph, or leave it out",
        )
    return focal
