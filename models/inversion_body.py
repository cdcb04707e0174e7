"""Shape and poses of photographs that move while an avatar is fitted, when that is asked for.

Corrections start at 0. Colours pull them through the texture's own pattern, as in phase 2 of neural
dressing (`models/surface_motion.py`); silhouettes have no gradient. Cameras stay.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from models.body import skin
from models.inversion_photo import NEAR, layered
from models.rotations import rotations
from models.surface_motion import moving_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blender_addon.contract.operations import PosedBody
    from models.body import Body
    from models.dresser import DresserConfig
    from models.inversion_photo import FitPhoto, FitTargets
    from models.surface import SurfaceSamples

SCALES = {"pose": 0.05, "transl": 0.03, "betas": 0.5}
"""How far a correction may well be off, for the prior: radians, metres, coefficients."""


class BodyRefinement:
    """Corrections of shape, poses and places.

    Args:
        photos: whose bodies are corrected; they share one shape.
        body: the parametric body.
    """

    def __init__(self, photos: Sequence[FitPhoto], body: Body) -> None:
        self._photos = tuple(photos)
        device = body.v_template.device
        self._fits = {
            name: torch.from_numpy(
                np.stack([np.asarray(getattr(each.body, name), np.float32) for each in photos])
            ).to(device)
            for name in ("pose", "transl", "betas", "expression")
        }
        self._cameras = [
            torch.from_numpy(np.stack(values).astype(np.float32)).to(device)
            for values in zip(*((p.camera.R, p.camera.t) for p in photos), strict=True)
        ]
        count = len(self._photos)
        self.corrections = {
            "pose": torch.zeros(count, self._fits["pose"].shape[1], 3, device=device),
            "transl": torch.zeros(count, 3, device=device),
            "betas": torch.zeros(self._fits["betas"].shape[1], device=device),
        }
        for each in self.corrections.values():
            each.requires_grad_()

    def parameters(self) -> list[Tensor]:
        """Return what moves."""
        return list(self.corrections.values())

    def prior(self) -> Tensor:
        """Return the mean square of the corrections in units of `SCALES`."""
        terms = [(value / SCALES[name]).square().mean() for name, value in self.corrections.items()]
        return torch.stack(terms).sum()

    def samples(
        self, targets: FitTargets, rows: slice, body: Body, config: DresserConfig
    ) -> SurfaceSamples:
        """Return the surface of the corrected bodies; its UVs are differentiable in what moves.

        Args:
            targets: of some of the photographs.
            rows: which of them these are.
            body: the parametric body.
            config: of the dresser.
        """
        turned = rotations(self.corrections["pose"][rows]) @ self._fits["pose"][rows]
        posed = skin(
            body,
            turned,
            self._fits["betas"][rows] + self.corrections["betas"],
            self._fits["expression"][rows],
            self._fits["transl"][rows] + self.corrections["transl"][rows],
        )
        R, t = (each[rows] for each in self._cameras)
        vertices = posed.vertices @ R.transpose(1, 2) + t[:, None]
        meshes, K, side = layered(vertices, targets.K, body, config, targets.shape[-1])
        corner_uv = body.uv[body.uv_faces.long()]
        return moving_samples(meshes, body.faces, corner_uv, K, (side, side), near=NEAR)

    @torch.no_grad()
    def bodies(self) -> tuple[PosedBody, ...]:
        """Return the corrected bodies."""
        turned = rotations(self.corrections["pose"]) @ self._fits["pose"]
        betas = (self._fits["betas"][0] + self.corrections["betas"]).cpu().numpy()
        transl = (self._fits["transl"] + self.corrections["transl"]).cpu().numpy()
        poses = turned.cpu().numpy()
        return tuple(
            replace(photo.body, pose=poses[k], transl=transl[k], betas=betas)
            for k, photo in enumerate(self._photos)
        )
