"""What a frame can show, ready to send: people and portraits. No bpy.

`people` and `portraits` read them off Blender's depsgraph, `engine.compose` asks the server for
each and lays the images over each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from ..contract.camera import Camera
from ..contract.operations import RENDER_PASSES, AvatarRender
from ..contract.portraits import PortraitRender
from ..contract.pose import Y_UP_TO_Z_UP
from .pose_math import nearest_rotations, uniform_scale
from .projection import for_scaled_rig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..contract.avatar_look import AvatarLook
    from ..contract.operations import PosedBody, Priority
    from ..contract.portraits import PortraitLook
    from .painted_labels import PaintedLabels


class RenderRequest(Protocol):
    """A render request of any family (`AvatarRender`, `PortraitRender`)."""

    operation: ClassVar[str]

    @property
    def camera(self) -> Camera: ...
    @property
    def passes(self) -> tuple[str, ...]: ...
    def to_wire(self) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]: ...


class Subject(Protocol):
    """Somebody to render."""

    @property
    def name(self) -> str:
        """Of the object, for messages."""
        ...

    @property
    def package(self) -> str:
        """Id of the package that makes the pixels."""
        ...

    @property
    def others(self) -> tuple[str, ...]:
        """Ids of further packages that the pixels depend on."""
        ...

    @property
    def scale(self) -> float:
        """What depths that come back have to be multiplied by."""
        ...

    def request(
        self, camera: Camera, passes: tuple[str, ...], priority: Priority, stream: str
    ) -> RenderRequest:
        """Return what to ask the server for.

        Args:
            camera: of the world, Y up.
            passes: wanted; what this family does not have is left out.
            priority: interactive requests may be answered coarsely.
            stream: of a viewport; empty for final frames.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Person:
    """One person of a frame.

    Attributes:
        name: of the armature object.
        avatar: id of the avatar.
        body: pose and shape in SMPL-X axes, metres of the unscaled person.
        scale: uniform scale of the rig (see `projection.for_scaled_rig`).
        look: whom they look like; None for the avatar's own look.
    """

    name: str
    avatar: str
    body: PosedBody
    scale: float
    look: AvatarLook | None = None

    @property
    def package(self) -> str:
        """Id of the avatar's package."""
        return self.avatar

    @property
    def others(self) -> tuple[str, ...]:
        """Ids of the wardrobe and the avatars that the look names."""
        if self.look is None:
            return ()
        named = {source.avatar for source in self.look.named()} | {self.look.wardrobe}
        return tuple(sorted(named - {"", self.avatar}))

    def request(
        self, camera: Camera, passes: tuple[str, ...], priority: Priority, stream: str
    ) -> AvatarRender:
        """Return the request for this person (see `Subject`)."""
        return AvatarRender(
            avatar=self.avatar,
            body=self.body,
            camera=for_scaled_rig(camera, self.scale),
            passes=tuple(name for name in passes if name in RENDER_PASSES),
            priority=priority,
            stream=f"{stream}/{self.name}" if stream else "",
            look=self.look,
        )


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """One portrait of a frame.

    Attributes:
        name: of the object.
        look: head and styles at this frame.
        place: where the head is.
        backdrop: whether the painted background shows, too.
        painted: a label map painted by hand, None for the head's own.
        unknown_colors: how many pixels of it had a colour of no label.
    """

    name: str
    look: PortraitLook
    place: HeadPlace
    backdrop: bool = False
    painted: PaintedLabels | None = None
    unknown_colors: int = 0

    @property
    def package(self) -> str:
        """Id of the portrait's package."""
        return self.look.portrait

    @property
    def others(self) -> tuple[str, ...]:
        """None: a portrait's digest is that of its networks, too."""
        return ()

    @property
    def scale(self) -> float:
        """Uniform scale of the object."""
        return self.place.scale

    def request(
        self, camera: Camera, passes: tuple[str, ...], priority: Priority, stream: str
    ) -> PortraitRender:
        """Return the request for this portrait; the viewport's is made from the baked head."""
        seen = self.place.camera_in_head(camera)
        return PortraitRender(
            look=self.look,
            camera=seen,
            passes=passes,
            geometry="baked" if priority == "interactive" else "marched",
            background=self.backdrop,
            labels=None if self.painted is None else self.painted.seen_by(seen),
            priority=priority,
            stream=f"{stream}/{self.name}" if stream else "",
        )

    def note(self, camera: Camera) -> str:
        """Return what an artist should know of the painted labels in this view; mostly nothing."""
        if self.painted is None:
            return ""
        if not self.painted.fits(self.place.camera_in_head(camera)):
            return (
                f"{self.name}: the labels were painted for another view and are not used here; "
                "look from there again, or paint new ones"
            )
        if self.unknown_colors:
            return (
                f"{self.name}: {self.unknown_colors} painted pixels have colours of no label; "
                "they count as the nearest. Paint without soft edges"
            )
        return ""


@dataclass(frozen=True, kw_only=True)
class HeadPlace:
    """How head space lies in the world, Y up: x_world = scale · rotation · x_head + origin.

    Attributes:
        rotation: (3, 3) float64.
        origin: (3,) float64 metres.
        scale: world metres per metre of head space.
    """

    rotation: NDArray[np.float64]
    origin: NDArray[np.float64]
    scale: float

    @classmethod
    def of_object(cls, world: NDArray[np.floating], name: str) -> HeadPlace:
        """Read a Blender object's (4, 4) matrix_world.

        Args:
            name: what to call the object in an error.

        Raises:
            UnsupportedTransform: sheared, mirrored or scaled unevenly.
        """
        matrix = np.asarray(world, np.float64)
        scale = uniform_scale(matrix, name)
        turned = nearest_rotations(matrix[:3, :3] / scale)
        return cls(
            rotation=Y_UP_TO_Z_UP.T @ turned @ Y_UP_TO_Z_UP,
            origin=Y_UP_TO_Z_UP.T @ matrix[:3, 3],
            scale=scale,
        )

    def camera_in_head(self, camera: Camera) -> Camera:
        """Return the camera of head space that sees the head as `camera` of the world sees it.

        Depths come back divided by `scale`.
        """
        return Camera(
            K=camera.K,
            R=camera.R @ self.rotation,
            t=(camera.R @ self.origin + camera.t) / self.scale,
            width=camera.width,
            height=camera.height,
        )
