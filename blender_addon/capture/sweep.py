"""The sweep: one Cycles render per frame, written as a capture, going on where it was stopped.

A frame's files are written whole; its parameters follow in `shots/NAME.npz`, the mark that the
frame is there. When every frame is, capture.json is written and `shots` goes away.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zipfile
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import bpy
import numpy as np

from ..contract.camera import Camera
from ..contract.capture import DESCRIPTION_FILE
from ..contract.capture_writer import CaptureFrame, CaptureWriter, write_arrays
from ..contract.errors import BadCharacter, CaptureError, InternalError
from ..contract.operations import PosedBody
from ..contract.pose import Y_UP_TO_Z_UP
from ..scene.people import read_person
from .exr import read_exr
from .masks import FACE_ATTRIBUTE, HANDS_ATTRIBUTE, MaskAttributes
from .posing import RigPoser, check_pose
from .shaders import MaskOutputs
from .studio import Lights, Studio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .character import Character
    from .plan import PlannedFrame

Denoise = Literal["held-out", "all", "none"]
SHOTS_FOLDER = "shots"
_SHOT_ARRAYS = ("request", "pose", "transl", "expression", "K", "R", "t", "size")
_MARGIN = 4
_NOTHING = 1e9


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """How a sweep renders.

    Attributes:
        samples: of a training frame, per pixel.
        held_out_samples: of a held-out frame.
        denoise: which frames the denoiser cleans.
        lights: see `studio.Studio`.
        depth: whether depth is written.
        threads: of Cycles; 0 for all.
    """

    samples: int = 12
    held_out_samples: int = 48
    denoise: Denoise = "all"
    lights: Lights = "studio"
    depth: bool = True
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A frame that is there.

    Attributes:
        index: of the frame in the plan.
        count: frames of the plan.
        name: of the frame.
        seconds: it took; 0 when it was there already.
        kept: it was there already.
    """

    index: int
    count: int
    name: str
    seconds: float
    kept: bool


def sweep(
    character: Character,
    frames: Sequence[PlannedFrame],
    out: Path,
    settings: SweepSettings,
    *,
    id: str,  # noqa: A002 - the format's own name
    licence: str,
    character_digest: str,
    user_scene: bpy.types.Scene,
) -> Iterator[Progress]:
    """Render a character's frames into a capture; yields as each frame is there.

    Materials, meshes, rig and scene are as before when the iterator ends or is closed.

    Args:
        character: who.
        frames: what; all of one image size.
        out: folder of the capture; may hold what an interrupted sweep of the same frames left.
        settings: how.
        id: name of the capture.
        licence: of its images.
        character_digest: names the character's state: frames of another one are made anew.
        user_scene: the scene that the character stands in.

    Raises:
        CaptureError: the folder holds another capture.
        BadCharacter: the plan is for another shape, or something moves the rig.
        InternalError: Cycles wrote no image.
    """
    frames = _with_betas(character, frames)
    size = frames[0].camera.width, frames[0].camera.height
    requests = [_request(frame, settings, character_digest) for frame in frames]
    source = _source(settings, requests)
    if _is_finished(out, source):
        for index, frame in enumerate(frames):
            yield Progress(index=index, count=len(frames), name=frame.name, seconds=0.0, kept=True)
        return
    writer = CaptureWriter(
        out, id=id, body=character.rig.dressform.body or "body", licence=licence,
        background="black", image_size=size, betas=character.betas, source=source,
    )  # fmt: skip
    shots = out / SHOTS_FOLDER
    shots.mkdir(exist_ok=True)
    stage: _Stage | None = None
    try:
        for index, (frame, request) in enumerate(zip(frames, requests, strict=True)):
            started = time.monotonic()
            kept = _read_shot(shots, frame.name, request)
            if kept is None:
                stage = stage or _Stage(character, size, settings, user_scene)
                shot = stage.shoot(frame, out, _seed(frame))
                writer.write_pixels(shot)
                _write_shot(shots, shot, request)
                kept = shot.body, shot.camera
                seconds = time.monotonic() - started
            else:
                seconds = 0.0
            body, camera = kept
            writer.add_written(
                frame.name,
                frame.split,
                frame.tags,
                replace(body, betas=character.betas.astype(np.float32)),
                replace(camera, width=size[0], height=size[1]),
            )
            yield Progress(
                index=index, count=len(frames), name=frame.name, seconds=seconds,
                kept=seconds == 0.0,
            )  # fmt: skip
    finally:
        if stage is not None:
            stage.restore()
    writer.close()
    shutil.rmtree(shots)


class _Stage:
    """A character made ready to be rendered, until `restore`."""

    def __init__(
        self,
        character: Character,
        size: tuple[int, int],
        settings: SweepSettings,
        user_scene: bpy.types.Scene,
    ) -> None:
        self._character, self._settings, self._size = character, settings, size
        self._undo: list[Any] = []
        try:
            self._poser = self._keep(RigPoser(character.rig))
            self._keep(MaskAttributes(character))
            self._keep(MaskOutputs(character.objects))
            self._studio = self._keep(
                Studio(
                    character,
                    size,
                    lights=settings.lights,
                    user_scene=user_scene,
                    threads=settings.threads,
                )
            )
        except BaseException:
            self.restore()
            raise

    def restore(self) -> None:
        for part in reversed(self._undo):
            part.restore()

    def _keep(self, part: Any) -> Any:
        self._undo.append(part)
        return part

    def shoot(self, frame: PlannedFrame, out: Path, seed: int) -> CaptureFrame:
        """Pose, look, render."""
        studio, settings = self._studio, self._settings
        self._poser.apply(frame.body)
        studio.aim(frame.camera)
        pelvis = Y_UP_TO_Z_UP @ (frame.body.transl + self._character.joints[0])
        studio.turn_lights(frame.body, tuple(pelvis.tolist()))
        depsgraph = studio.depsgraph()
        body = read_person(self._character.rig.evaluated_get(depsgraph)).body
        check_pose(frame.body, body, self._character.rig.name)
        camera = studio.shown_camera()
        window = self._window(depsgraph, camera)
        held_out = frame.split == "held-out"
        cycles = studio.scene.cycles
        cycles.samples = settings.held_out_samples if held_out else settings.samples
        cycles.use_denoising = settings.denoise == "all" or (
            settings.denoise == "held-out" and held_out
        )
        # Measured on one thread at 512²: the default denoiser adds 2.5 s to a frame of 1.6 s and
        # 1.5 dB to its fast setting, which adds 0.3 s. Only what is measured on deserves that.
        cycles.denoising_prefilter = "ACCURATE" if held_out else "FAST"
        if hasattr(cycles, "denoising_quality"):
            cycles.denoising_quality = "HIGH" if held_out else "FAST"
        cycles.seed = seed
        passes = _render(studio.scene, window, self._size, out)
        image, masks, depth = _pictures(passes, window, self._size)
        return CaptureFrame(
            name=frame.name, split=frame.split, tags=frame.tags, image=image, masks=masks,
            body=replace(body, betas=self._character.betas.astype(np.float32)),
            camera=camera, depth=depth if settings.depth else None,
        )  # fmt: skip

    def _window(self, depsgraph: bpy.types.Depsgraph, camera: Camera) -> tuple[int, int, int, int]:
        """Return left, top, right, bottom of the pixels that the character can cover."""
        width, height = self._size
        points = np.concatenate(
            [_points(ob.evaluated_get(depsgraph)) for ob in self._character.objects]
        )
        seen = camera.project(points @ Y_UP_TO_Z_UP)
        if not (seen[:, 2] > 0.02).all():
            return 0, 0, width, height
        low = np.clip(np.floor(seen[:, :2].min(axis=0)) - _MARGIN, 0, [width - 1, height - 1])
        high = np.clip(np.ceil(seen[:, :2].max(axis=0)) + _MARGIN, low + 1, [width, height])
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _points(ob: bpy.types.Object) -> NDArray[np.float64]:
    """Return (N, 3) points around an evaluated object, world space."""
    data: Any = ob.data
    if ob.type == "MESH" and len(data.vertices):
        local = np.empty(len(data.vertices) * 3, np.float32)
        data.vertices.foreach_get("co", local)
    else:
        local = np.array([list(corner) for corner in ob.bound_box], np.float32)
    points = local.reshape(-1, 3).astype(np.float64)
    hair = max((system.settings.hair_length for system in ob.particle_systems), default=0.0)
    if hair:
        corners = np.array([points.min(axis=0) - hair, points.max(axis=0) + hair])
        points = np.stack(np.meshgrid(*corners.T), -1).reshape(-1, 3)
    matrix = np.array(ob.matrix_world, np.float64)
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _render(
    scene: bpy.types.Scene, window: tuple[int, int, int, int], size: tuple[int, int], out: Path
) -> dict[str, NDArray[np.float32]]:
    left, top, right, bottom = window
    render = scene.render
    # Blender cuts to whole pixels after a product in float32: half a pixel keeps it safe.
    render.border_min_x, render.border_max_x = (left + 0.5) / size[0], (right + 0.5) / size[0]
    render.border_min_y = (size[1] - bottom + 0.5) / size[1]
    render.border_max_y = (size[1] - top + 0.5) / size[1]
    file = out.resolve() / f".render.{os.getpid()}.exr"
    render.filepath = str(file)
    try:
        bpy.ops.render.render(scene=scene.name, write_still=True)
        data = file.read_bytes()
    except (OSError, RuntimeError) as error:
        raise InternalError(f"Cycles wrote no image: {str(error).strip()}") from error
    finally:
        file.unlink(missing_ok=True)
    channels = read_exr(data)
    found: dict[str, NDArray[np.float32]] = {}
    for name, ending in (
        *((part, f"Combined.{part}") for part in "RGBA"),
        ("depth", "Depth.Z"),
        ("hands", f"{HANDS_ATTRIBUTE}.X"),
        ("face", f"{FACE_ATTRIBUTE}.X"),
    ):
        match = [value for key, value in channels.items() if key.endswith(ending)]
        if len(match) != 1:
            raise InternalError(f"Blender's EXR holds no {ending}, but {sorted(channels)}")
        if match[0].shape != (bottom - top, right - left):
            raise InternalError(f"Blender's EXR is of another size: {match[0].shape}")
        found[name] = match[0]
    return found


def _pictures(
    passes: dict[str, NDArray[np.float32]],
    window: tuple[int, int, int, int],
    size: tuple[int, int],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    """Return image, masks and depth of the whole frame."""
    left, top, right, bottom = window
    part = slice(top, bottom), slice(left, right)
    alpha = np.clip(passes["A"], 0.0, 1.0)
    light = np.stack([passes[name] for name in "RGB"], axis=-1)
    straight = light / np.maximum(passes["A"], 1e-6)[..., None]
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[part] = _bytes(_srgb(straight) * alpha[..., None])
    masks = np.zeros((size[1], size[0], 3), np.uint8)
    # A mask counts the samples that hit hands or face; the pixel's others count as nothing.
    layers = [alpha, *(np.clip(passes[name], 0.0, alpha) for name in ("hands", "face"))]
    masks[part] = _bytes(np.stack(layers, axis=-1))
    depth = np.zeros((size[1], size[0]), np.float32)
    depth[part] = np.where((alpha >= 0.5) & (passes["depth"] < _NOTHING), passes["depth"], 0.0)
    return image, masks, depth


def _srgb(light: NDArray[np.floating]) -> NDArray[np.floating]:
    """Turn linear light into sRGB, 0…1: Blender's Standard view transform."""
    value = np.clip(light, 0.0, 1.0)
    return np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)


def _bytes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.rint(values * 255.0).astype(np.uint8)


def _with_betas(character: Character, frames: Sequence[PlannedFrame]) -> list[PlannedFrame]:
    """Return the frames with the character's own shape, after checking that it is theirs."""
    own = character.betas.astype(np.float32)
    for frame in frames:
        given = frame.body.betas
        count = max(len(own), len(given))
        a, b = (np.pad(values, (0, count - len(values))) for values in (own, given))
        if np.abs(a - b).max(initial=0.0) > 1e-3:
            raise BadCharacter(
                "the plan is for a person of another shape than the character's rig",
                "make the plan with the betas of this rig",
            )
    return [replace(frame, body=replace(frame.body, betas=own)) for frame in frames]


def _seed(frame: PlannedFrame) -> int:
    # Noise of its own for every frame: a network learns noise that stays in its place.
    return int(hashlib.sha256(frame.name.encode()).hexdigest()[:7], 16)


def _request(frame: PlannedFrame, settings: SweepSettings, character_digest: str) -> str:
    fields = asdict(settings)
    del fields["threads"]  # does not change a pixel
    text = json.dumps([frame.digest(), fields, character_digest, bpy.app.version_string])
    return hashlib.sha256(text.encode()).hexdigest()


def _source(settings: SweepSettings, requests: Sequence[str]) -> dict[str, Any]:
    fields = asdict(settings)
    del fields["threads"]
    return {
        "made_by": "capture_character",
        "blender": bpy.app.version_string,
        "request": hashlib.sha256("".join(requests).encode()).hexdigest(),
        **fields,
    }


def _is_finished(out: Path, source: dict[str, Any]) -> bool:
    """Tell whether the folder holds this very capture already.

    Raises:
        CaptureError: it holds another one.
    """
    file = out / DESCRIPTION_FILE
    if not file.exists():
        return False
    try:
        known = json.loads(file.read_text(encoding="utf-8")).get("source", {}).get("request")
    except (OSError, ValueError, AttributeError):
        known = None
    if known == source["request"]:
        return True
    raise CaptureError(
        f"{out} already holds another capture", "give another folder, or remove that one"
    )


def _write_shot(folder: Path, shot: CaptureFrame, request: str) -> None:
    write_arrays(
        folder / f"{shot.name}.npz",
        {
            "request": np.array(request),
            "pose": shot.body.pose,
            "transl": shot.body.transl,
            "expression": shot.body.expression,
            "K": shot.camera.K,
            "R": shot.camera.R,
            "t": shot.camera.t,
            "size": np.array([shot.camera.width, shot.camera.height]),
        },
    )


def _read_shot(folder: Path, name: str, request: str) -> tuple[PosedBody, Camera] | None:
    """Return a finished frame's parameters, or None when it has to be made."""
    file = folder / f"{name}.npz"
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays: dict[str, Any] = {key: archive[key] for key in _SHOT_ARRAYS}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    if str(arrays["request"].ravel()[0]) != request:
        return None
    body = PosedBody(
        pose=arrays["pose"], transl=arrays["transl"], expression=arrays["expression"],
        betas=np.zeros(0, np.float32),
    )  # fmt: skip
    width, height = (int(value) for value in arrays["size"])
    return body, Camera(K=arrays["K"], R=arrays["R"], t=arrays["t"], width=width, height=height)
