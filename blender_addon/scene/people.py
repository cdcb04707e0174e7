"""Find the people of a scene and read their poses from the evaluated depsgraph."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract.errors import BadPose
from ..contract.joints import JOINT_COUNT, JOINT_NAMES
from ..contract.operations import PosedBody
from .pose_math import read_rig
from .properties import JOINT_TABLE, beta_name, expression_name
from .stand_in import joint_positions
from .subjects import Person
from .worn_looks import read_look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import bpy
    from numpy.typing import NDArray


def is_person(ob: bpy.types.Object | None) -> bool:
    """Tell whether an object is a rig that wears an avatar."""
    return ob is not None and ob.type == "ARMATURE" and bool(ob.dressform.avatar)


def person_of(ob: bpy.types.Object | None) -> bpy.types.Object | None:
    """Return the rig of an object: itself, or that of its stand-in."""
    if ob is not None and not is_person(ob) and is_person(ob.parent):
        return ob.parent
    return ob if is_person(ob) else None


def visible_people(depsgraph: bpy.types.Depsgraph, within: set[str] | None = None) -> list[Person]:
    """Return the people that this depsgraph shows, instances of collections too.

    Args:
        within: names of the objects that count, and whose instances do; None for all.

    Raises:
        BadPose: a rig lacks bones.
        UnsupportedTransform: a rig is sheared, mirrored or scaled unevenly.
    """
    return [read_person(ob, world) for ob, world in shown(depsgraph, is_person, within)]


def shown(
    depsgraph: bpy.types.Depsgraph,
    wanted: Callable[[bpy.types.Object], bool],
    within: set[str] | None = None,
) -> Iterator[tuple[bpy.types.Object, NDArray[np.float64]]]:
    """Yield the evaluated objects of a kind that a depsgraph shows, with their world matrices.

    Args:
        wanted: tells the kind.
        within: names of the objects that count, and whose instances do; None for all.
    """
    for instance in depsgraph.object_instances:
        ob: Any = instance.object
        if within is not None and (instance.parent or ob).name not in within:
            continue
        if instance.show_self and wanted(ob):
            yield ob, np.array(instance.matrix_world, np.float64)  # pyright: ignore[reportArgumentType]


def read_person(rig: bpy.types.Object, world: NDArray[np.float64] | None = None) -> Person:
    """Read the pose and sliders of an *evaluated* armature object.

    Args:
        world: (4, 4) matrix to use instead of the object's own.
    """
    reading = read_rig(
        ordered_matrices(rig.data.bones, "matrix_local", rig.name),
        ordered_matrices(rig.pose.bones, "matrix", rig.name),
        np.array(rig.matrix_world, np.float64) if world is None else world,
        rig.name,
    )
    person = rig.dressform
    betas = betas_of(rig)
    transl = reading.pelvis - joint_positions(joint_table_of(rig)[:1], betas)[0]
    return Person(
        name=rig.name,
        avatar=person.avatar,
        scale=reading.scale,
        look=read_look(rig),
        body=PosedBody(
            pose=reading.pose.astype(np.float32),
            transl=transl.astype(np.float32),
            betas=betas.astype(np.float32),
            expression=_coefficients(rig, expression_name, person.expressions).astype(np.float32),
        ),
    )


def joint_table_of(rig: bpy.types.Object) -> NDArray[np.float64]:
    """Return the (55, 3, 1 + n) joints of a rig's body (`stand_in.joint_positions`).

    Raises:
        BadPose: the armature has lost it.
    """
    stored = rig.data.get(JOINT_TABLE)
    if stored is None:
        raise BadPose(f"{rig.name} has lost the joints of its body", "add the person again")
    return np.array(stored, np.float64).reshape(JOINT_COUNT, 3, -1)


def betas_of(rig: bpy.types.Object) -> NDArray[np.float64]:
    """Return the (n,) values of a rig's shape sliders."""
    return _coefficients(rig, beta_name, rig.dressform.betas)


def _coefficients(rig: bpy.types.Object, name: Any, count: int) -> NDArray[np.float64]:
    return np.array([float(rig.get(name(index), 0.0)) for index in range(count)], np.float64)


def ordered_matrices(bones: Any, attribute: str, rig_name: str) -> NDArray[np.float64]:
    """Return a matrix of each of the 55 joints' bones, in SMPL-X order.

    Args:
        bones: `armature.bones` or `pose.bones`; Blender orders them depth first.
        attribute: "matrix_local" or "matrix".

    Raises:
        BadPose: a bone is missing; names it.
    """
    position = {name: index for index, name in enumerate(bones.keys())}
    missing = [name for name in JOINT_NAMES if name not in position]
    if missing:
        raise BadPose(
            f"{rig_name} lacks the bone {missing[0]}"
            + (f" and {len(missing) - 1} more" if missing[1:] else ""),
            "restore the bone's name, or add the person again",
        )
    values = np.empty(len(bones) * 16, np.float32)
    bones.foreach_get(attribute, values)
    # Blender stores matrices column by column.
    matrices = values.reshape(-1, 4, 4).swapaxes(-1, -2).astype(np.float64)
    order = [position[name] for name in JOINT_NAMES]
    return matrices[order].reshape(JOINT_COUNT, 4, 4)
