"""Body fits as parameters: poses, shapes and cameras of a capture that move in phase 2.

Fits of real videos are off by pixels, and a texture that averages over wrong fits is blurred.
Here every training frame has a correction of its pose, its translation and its camera, and
every person one of the shape, all 0 at first. The posed body is skinned and rasterised anew in
each step; the UV that each sub-pixel sees follows the corrections differentiably, and so the
losses on colours pull them into place: where the texture's own pattern tells where it wants to be.

Silhouettes give no gradient: the rasteriser decides which pixels see the body, and that decision
is not differentiable. Fits that are off by more than the pattern's own scale need keypoints or
contours first. A prior keeps what no pixel speaks for near the original fit.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from blender_addon.contract.capture import DESCRIPTION_FILE
from blender_addon.contract.errors import CaptureError, TrainingError
from blender_addon.contract.joints import JOINT_COUNT
from models.body import skin
from models.package import DEFAULT_LIBRARY
from models.rotations import rotations
from models.shell import with_shell
from models.surface_motion import moving_samples
from training.captures import CaptureFrame, CaptureWriter, find_captures
from training.checkpoint import load_checkpoint
from training.dressing_data import NEAR, People, load_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from models.body import Body
    from training.captures import Capture
    from training.dressing_data import Batch, Frame

SCALES = {
    "pose": 0.05,
    "transl": 0.03,
    "betas": 0.5,
    "camera_rotation": 0.01,
    "camera_transl": 0.03,
    "focal": 0.02,
}
"""How far a correction may well be off, for the prior: radians, metres, coefficients, radians,
metres, logarithm of the focal length."""


class FitRefinement(nn.Module):
    """Corrections of the body fits of training frames.

    Args:
        people: captures and body; their parameters are what is corrected.
        frames: training frames per person.
        focal: also one correction of the focal length per person: a video has one lens.
    """

    def __init__(
        self, people: People, frames: Sequence[Sequence[Frame]], *, focal: bool = False
    ) -> None:
        super().__init__()
        self._people = people
        self._shell = people.shell
        self._moved_body: Body | None = None
        order = [(frame.person, frame.index) for some in frames for frame in some]
        self._row = {place: row for row, place in enumerate(order)}
        bodies = [people.captures[person].posed_body(index) for person, index in order]
        cameras = [people.captures[person].camera(index) for person, index in order]
        fits = {
            "fit_pose": np.stack([body.pose for body in bodies]),
            "fit_transl": np.stack([body.transl for body in bodies]),
            "fit_expression": _stacked([body.expression for body in bodies]),
            "fit_R": np.stack([camera.R for camera in cameras]),
            "fit_t": np.stack([camera.t for camera in cameras]),
            "fit_betas": _stacked([capture.betas for capture in people.captures]),
        }
        for name, values in fits.items():
            tensor = torch.from_numpy(np.asarray(values, np.float32))
            # The captures hold them: a checkpoint need not.
            self.register_buffer(name, tensor, persistent=False)
        count = len(order)
        self.pose = nn.Parameter(torch.zeros(count, JOINT_COUNT, 3))
        self.transl = nn.Parameter(torch.zeros(count, 3))
        self.betas = nn.Parameter(torch.zeros_like(self._fit("betas")))
        self.camera_rotation = nn.Parameter(torch.zeros(count, 3))
        self.camera_transl = nn.Parameter(torch.zeros(count, 3))
        self.focal = nn.Parameter(torch.zeros(len(people.captures)), requires_grad=focal)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters by what they correct: "pose", "betas", "camera"."""
        camera = [self.camera_rotation, self.camera_transl]
        return {
            "pose": [self.pose, self.transl],
            "betas": [self.betas],
            "camera": [*camera, self.focal] if self.focal.requires_grad else camera,
        }

    def refined(self, batch: Batch) -> Batch:
        """Return a batch as the corrected bodies and cameras see it.

        The body is rasterised anew: pixels, samples and footprints are those of the corrected fit.
        Colours, masks and windows stay. UVs are differentiable in the corrections; joints and
        intrinsics follow them without gradient.

        Args:
            batch: of `make_batch`, of the frames that this was made for.

        Raises:
            TrainingError: a crop is of another frame, a held-out one perhaps.
        """
        rows = self._rows(batch)
        persons = [person for person, _ in batch.frames]
        body = self._body()
        vertices, joints = self._seen(body, rows, persons)
        K = self._intrinsics(batch, persons)
        layers = vertices
        if self._shell is not None:
            layers = with_shell(vertices, body.faces.long(), self._shell)
        samples = moving_samples(
            layers,
            body.faces,
            body.uv[body.uv_faces],
            K.repeat(batch.layers, 1, 1),
            batch.shape[1:],
            supersampling=batch.supersampling,
            near=NEAR,
        )
        with torch.no_grad():
            projected = joints @ K.transpose(1, 2)
            pixels = projected[..., :2] / joints[..., 2:].clamp_min(1e-6)
        return batch._replace(
            pixel=samples.pixel,
            offset=samples.offset,
            uv=samples.uv,
            footprint=samples.footprint,
            K=K.detach(),
            joints=torch.cat([pixels, joints[..., 2:]], dim=2).detach(),
        )

    def prior(self, batch: Batch) -> Tensor:
        """Return the mean square of a batch's corrections in units of `SCALES`, a scalar.

        Only the batch's frames and people count: others would be pulled in every step, and
        pushed in few.
        """
        rows = self._rows(batch)
        persons = [person for person, _ in batch.frames]
        framewise = ("pose", "transl", "camera_rotation", "camera_transl")
        terms = [
            (getattr(self, name)[rows] / SCALES[name]).square().flatten(1).sum(dim=1)
            for name in framewise
        ]
        terms.append((self.betas[persons] / SCALES["betas"]).square().sum(dim=1))
        terms.append((self.focal[persons] / SCALES["focal"]).square())
        return torch.stack(terms).sum(dim=0).mean()

    @torch.no_grad()
    def refined_body(self, person: int, index: int) -> PosedBody:
        """Return a frame's corrected body; one without a correction keeps its pose."""
        given = self._people.captures[person].posed_body(index)
        betas = given.betas + self.betas[person, : len(given.betas)].cpu().numpy()
        row = self._row.get((person, index))
        if row is None:
            return replace(given, betas=betas)
        turn = rotations(self.pose[row]).cpu().numpy()
        return replace(
            given,
            # In float64, and made a rotation again: rounding would add up otherwise.
            pose=_orthonormal(turn.astype(np.float64) @ given.pose).astype(np.float32),
            transl=given.transl + self.transl[row].cpu().numpy(),
            betas=betas,
        )

    @torch.no_grad()
    def refined_camera(self, person: int, index: int) -> Camera:
        """Return a frame's corrected camera; one without a correction keeps all but its lens."""
        given = self._people.captures[person].camera(index)
        K = given.K.copy()
        K[[0, 1], [0, 1]] *= float(self.focal[person].exp())
        row = self._row.get((person, index))
        if row is None:
            return replace(given, K=K)
        turn = rotations(self.camera_rotation[row]).cpu().numpy().astype(np.float64)
        t = turn @ given.t + self.camera_transl[row].cpu().numpy()
        return replace(given, K=K, R=_orthonormal(turn @ given.R), t=t)

    def write_refined(self, capture: Capture, folder: Path) -> Path:
        """Write a copy of a capture with the corrected parameters; the original stays as it is.

        Frames that were not refined (held-out ones) keep their pose and camera, but share the
        corrected shape and lens. Their digests, and those of the refined frames, are new ones
        where parameters moved.

        Args:
            capture: one of the people's.
            folder: must not exist.

        Returns:
            the folder.

        Raises:
            CaptureError: the folder exists, or the capture is none of the people's.
        """
        if folder.exists():
            raise CaptureError(f"{folder} already exists", "give another folder")
        person = self._person_of(capture)
        given = capture.description
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            with CaptureWriter(
                staging,
                id=given.id,
                body=given.body,
                licence=given.licence,
                background=given.background,
                image_size=given.image_size,
                betas=self.refined_body(person, 0).betas,
                image_suffix=given.image_suffix,
                source={**given.source, "refined_from": capture.digest},
            ) as writer:
                for index in range(len(capture)):
                    writer.add(self._refined_frame(capture, person, index))
            staging.chmod(0o755)
            staging.rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return folder

    def _refined_frame(self, capture: Capture, person: int, index: int) -> CaptureFrame:
        entry = capture.description.frames[index]
        return CaptureFrame(
            name=entry.name,
            split=entry.split,
            tags=entry.tags,
            image=capture.image(index),
            masks=capture.masks(index),
            body=self.refined_body(person, index),
            camera=self.refined_camera(person, index),
            depth=capture.depth(index),
        )

    def _person_of(self, capture: Capture) -> int:
        for person, known in enumerate(self._people.captures):
            if known.folder.resolve() == capture.folder.resolve():
                return person
        raise CaptureError(
            f"{capture.folder / DESCRIPTION_FILE} is none of the captures that were refined"
        )

    def _rows(self, batch: Batch) -> Tensor:
        try:
            rows = [self._row[place] for place in batch.frames]
        except KeyError as error:
            raise TrainingError(
                f"frame {error.args[0]} has no correction",
                "refine batches of the training's own frames only",
            ) from error
        return torch.tensor(rows, device=self.pose.device)

    def _body(self) -> Body:
        """Return the body on this module's device."""
        device = self.pose.device
        if self._moved_body is None or self._moved_body.v_template.device != device:
            self._moved_body = _moved(self._people.body, device)
        return self._moved_body

    def _seen(self, body: Body, rows: Tensor, persons: list[int]) -> tuple[Tensor, Tensor]:
        """Return vertices (B, V, 3) and joints (B, 55, 3) in camera space, metres."""
        skinned = skin(
            body,
            rotations(self.pose[rows]) @ self._fit("pose")[rows],
            self._fit("betas")[persons] + self.betas[persons],
            self._fit("expression")[rows],
            self._fit("transl")[rows] + self.transl[rows],
        )
        turn = rotations(self.camera_rotation[rows])
        R = (turn @ self._fit("R")[rows]).transpose(1, 2)
        t = (turn @ self._fit("t")[rows][..., None])[..., 0] + self.camera_transl[rows]
        return skinned.vertices @ R + t[:, None], skinned.joints @ R + t[:, None]

    def _intrinsics(self, batch: Batch, persons: list[int]) -> Tensor:
        """Return the crops' intrinsics with the corrected focal lengths, (B, 3, 3)."""
        factor = self.focal[persons].exp()[:, None, None]
        focal = torch.tensor([1.0, 1.0, 0.0], device=factor.device).diag()
        return batch.K * (factor * focal + (1.0 - focal))

    def _fit(self, name: str) -> Tensor:
        return self.get_buffer(f"fit_{name}")


def export_fits(
    run: Path, captures: Path | list[Path], out: Path, library: Path = DEFAULT_LIBRARY
) -> int:
    """Write copies of captures with the fits that a training refined.

    Args:
        run: folder of `dressform train dressing --refine.enabled true`.
        captures: those of the training: the folder that holds them, or a list in its order.
        out: folder of the copies, one a person, named by their ids.
        library: where the captures' body lies.
    """
    state = load_checkpoint(run)
    if state is None or state.get("refinement") is None:
        raise TrainingError(
            f"{run} holds no refined fits", "train with --refine.enabled true, then ask again"
        )
    people = People.open(find_captures(captures), library)
    if state["digests"] != [capture.digest for capture in people.captures]:
        raise TrainingError(
            f"{run} was trained on other captures than those given",
            f"give the captures of {', '.join(state['people'])} in this order",
        )
    refinement = FitRefinement(people, load_frames(people, "train"))
    try:
        refinement.load_state_dict(state["refinement"])
    except RuntimeError as error:
        raise TrainingError(
            f"{run} refined a part of the frames only", "train on all of them (--overfit 0)"
        ) from error
    for name, capture in zip(people.ids, people.captures, strict=True):
        print(refinement.write_refined(capture, out / name))  # noqa: T201 - a command's output
    return 0


def _moved(body: Body, device: torch.device) -> Body:
    """Return a body on a device; itself where it lies there already."""
    if body.v_template.device == device:
        return body
    tensors = {
        field.name: value.to(device)
        for field in fields(body)
        if isinstance(value := getattr(body, field.name), torch.Tensor)
    }
    return replace(body, **tensors)


def _orthonormal(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotations nearest to matrices (…, 3, 3)."""
    u, _, v = np.linalg.svd(matrices)
    return u @ v


def _stacked(rows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return coefficients of different counts as rows of one array, filled up with 0."""
    length = max(len(row) for row in rows)
    return np.stack([np.pad(row, (0, length - len(row))) for row in rows])
