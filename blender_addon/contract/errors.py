"""The exception tree of Dressform, whole.

    DressformError
    ├── InvalidRequest            what came in is wrong; sending it again unchanged cannot help
    │   ├── BadMessage            not a message of this protocol
    │   ├── UnsupportedVersion    another major wire version
    │   ├── UnknownOperation
    │   ├── BadParameter          a field or array fails validation
    │   ├── TooLarge              over a size limit
    │   ├── BadPose
    │   │   └── VPoserPose        a 32-number VPoser code instead of 63 numbers
    │   ├── BadMotion             a motion file that cannot be read
    │   ├── NoFaceFound           a photograph in which no face is seen
    │   ├── NoPersonFound         a photograph in which nobody is seen
    │   ├── SeveralPeople         a photograph of more than one person
    │   ├── BadPersonView         keypoints, mask or body fit of a photograph that cannot be used
    │   ├── UnsupportedCamera
    │   ├── UnsupportedTransform  a rig that is sheared or scaled unevenly
    │   ├── CannotMerge           a scene whose render cannot take in its people
    │   └── BadCharacter          a Blender character that cannot be captured
    ├── ModelError                a file of a model, body or capture is wrong
    │   ├── UnknownModel
    │   ├── PackageDamaged        digest or content differs from model.json
    │   ├── BodyFileError         not an SMPL-X body
    │   ├── BodyMismatch          more coefficients than the body has
    │   ├── CaptureError          names the file and the field
    │   ├── HeadSetError          a set of heads or portraits; names the file and the field
    │   └── UnknownCapture        the server holds no such capture or upload
    ├── Unavailable               may work later: the caller may try again
    │   ├── Busy                  queue full; says when to try again
    │   ├── ServerUnreachable
    │   ├── WorkerLost            the worker died or hung while working
    │   └── ServerStopping
    ├── Interrupted
    │   ├── Cancelled
    │   ├── Superseded            a newer frame of the same viewport stream
    │   └── DeadlineExceeded
    ├── TrainingError
    │   ├── TrainingDiverged
    │   └── SplitLeak             a model would be measured on frames it was trained on
    ├── SetupError                the machine lacks something
    │   ├── MissingExtra          an optional dependency is not installed
    │   ├── StorageFull           what the server may keep is used up
    │   └── InsecureEndpoint      an endpoint other than loopback without keys
    └── InternalError             a bug of ours; carries the worker's own words

Every error has a `code` (stable, for programs), a `cause` and a `next_step` (for people).
Panel, command line and scripts print the same three things. `to_wire` and `from_wire`
carry an error across the socket without losing its type.
"""

from __future__ import annotations

from typing import Any, ClassVar


class DressformError(Exception):
    """Root of the tree.

    Args:
        cause: what went wrong in plain words; the class's own when omitted.
        next_step: what the reader can do about it; the class's own when omitted.
        details: plain values for programs (msgpack-able).
    """

    code: ClassVar[str] = "dressform"
    default_cause: ClassVar[str] = "something went wrong"
    default_next_step: ClassVar[str] = "see the log for details"

    def __init__(
        self,
        cause: str | None = None,
        next_step: str | None = None,
        **details: Any,
    ) -> None:
        self.cause = cause or self.default_cause
        self.next_step = next_step or self.default_next_step
        self.details = details
        super().__init__(self.cause)

    def __str__(self) -> str:
        return f"{self.cause} → {self.next_step} [{self.code}]"

    def to_wire(self) -> dict[str, Any]:
        """Return the error as plain msgpack-able values."""
        return {
            "code": self.code,
            "cause": self.cause,
            "next_step": self.next_step,
            "details": self.details,
        }


class InvalidRequest(DressformError):
    code = "request.invalid"
    default_cause = "the request is not valid"
    default_next_step = "correct the request; sending it again unchanged cannot help"


class BadMessage(InvalidRequest):
    code = "request.message"
    default_cause = "this is not a message of Dressform's wire protocol"
    default_next_step = "check that both ends run the same version of Dressform"


class UnsupportedVersion(InvalidRequest):
    code = "request.version"
    default_cause = "the other side speaks another version of the wire protocol"
    default_next_step = "update the older of extension and server"


class UnknownOperation(InvalidRequest):
    code = "request.operation"
    default_cause = "the server does not know this operation"
    default_next_step = "update the server, or ask `hello` for its operations"


class BadParameter(InvalidRequest):
    code = "request.parameter"
    default_cause = "a parameter of the request is not valid"


class TooLarge(InvalidRequest):
    code = "request.too_large"
    default_cause = "the request is over a size limit"
    default_next_step = "render a smaller image or split the request"


class BadPose(InvalidRequest):
    code = "pose.invalid"
    default_cause = "this is not a pose of 55 SMPL-X joints"
    default_next_step = "send rotations of 55 joints in SMPL-X order"


class VPoserPose(BadPose):
    code = "pose.vposer32"
    default_cause = "this file holds a 32-number VPoser code, not a pose"
    default_next_step = (
        "export body_pose (63 numbers) from SMPLify-X, or decode it with VPoser first"
    )


class BadMotion(InvalidRequest):
    code = "motion.invalid"
    default_cause = "this file is not a motion that Dressform reads"
    default_next_step = "use an AMASS .npz or an SMPLify-X result (.npz, .pkl)"


class NoFaceFound(InvalidRequest):
    code = "photograph.no_face"
    default_cause = "no face is seen in this photograph"
    default_next_step = (
        "take one that shows a face from the front or three quarters, cut it to head and shoulders, "
        "or give a label map of your own"
    )


class NoPersonFound(InvalidRequest):
    code = "photograph.no_person"
    default_cause = "nobody is seen in this photograph"
    default_next_step = (
        "take one that shows a person larger and from the front, at least head and shoulders, "
        "or give keypoints and a mask of your own (docs/fit.md)"
    )


class SeveralPeople(InvalidRequest):
    code = "photograph.several_people"
    default_cause = "more than one person is seen in this photograph"
    default_next_step = (
        "cut the photograph to one of them, or say which one: they count from the left, from 0"
    )


class BadPersonView(InvalidRequest):
    code = "photograph.view"
    default_cause = "these keypoints, mask or body fit cannot be used"
    default_next_step = "see docs/fit.md for what each field holds"


class UnsupportedCamera(InvalidRequest):
    code = "camera.unsupported"
    default_cause = "this camera cannot be rendered"
    default_next_step = "use a perspective camera"


class UnsupportedTransform(InvalidRequest):
    code = "transform.unsupported"
    default_cause = "the rig is sheared or scaled unevenly"
    default_next_step = "apply the scale of the rig and of its parents (Ctrl-A, Scale)"


class BadCharacter(InvalidRequest):
    code = "character.invalid"
    default_cause = "this character cannot be captured"
    default_next_step = "see docs/own-avatar.md for what a character needs"


class CannotMerge(InvalidRequest):
    code = "scene.merge"
    default_cause = "the people cannot be merged with this scene's render"
    default_next_step = "see docs/merge.md for what a merge needs"


class ModelError(DressformError):
    code = "model.invalid"
    default_cause = "a model file is not valid"
    default_next_step = "build or download the model again"


class UnknownModel(ModelError):
    code = "model.unknown"
    default_cause = "the library has no such model"
    default_next_step = "list the library for the ids it holds"


class PackageDamaged(ModelError):
    code = "model.damaged"
    default_cause = "a file of the model package differs from what model.json says"


class BodyFileError(ModelError):
    code = "body.file"
    default_cause = "this is not an SMPL-X body file"
    default_next_step = "use an SMPLX_*.npz of the SMPL-X format"


class BodyMismatch(ModelError):
    code = "body.mismatch"
    default_cause = "there are more coefficients than the body has"
    default_next_step = "send no more coefficients than `body.template` reports"


class CaptureError(ModelError):
    code = "capture.invalid"
    default_cause = "this is not a valid capture"
    default_next_step = "see docs/captures.md for the format"


class HeadSetError(ModelError):
    code = "heads.invalid"
    default_cause = "this is not a valid set of heads or portraits"
    default_next_step = "see docs/heads.md for the format"


class UnknownCapture(ModelError):
    code = "capture.unknown"
    default_cause = "the server holds no such capture"
    default_next_step = "send it first (`capture.put`)"


class Unavailable(DressformError):
    code = "server.unavailable"
    default_cause = "the server cannot answer right now"
    default_next_step = "try again in a moment"


class Busy(Unavailable):
    code = "server.busy"
    default_cause = "the server's queue is full"


class ServerUnreachable(Unavailable):
    code = "server.unreachable"
    default_cause = "no model server answers"
    default_next_step = "start the server (panel: Start Server; shell: dressform serve)"


class WorkerLost(Unavailable):
    code = "server.worker_lost"
    default_cause = "the worker process died while working on this"


class ServerStopping(Unavailable):
    code = "server.stopping"
    default_cause = "the server is shutting down"


class Interrupted(DressformError):
    code = "request.interrupted"
    default_cause = "the work was interrupted"
    default_next_step = "send the request again if you still need it"


class Cancelled(Interrupted):
    code = "request.cancelled"
    default_cause = "the work was cancelled"


class Superseded(Interrupted):
    code = "request.superseded"
    default_cause = "a newer frame of the same viewport replaced this one"


class DeadlineExceeded(Interrupted):
    code = "request.deadline"
    default_cause = "the work did not finish in the time that the request allows"


class TrainingError(DressformError):
    code = "training.failed"
    default_cause = "the training cannot go on"


class TrainingDiverged(TrainingError):
    code = "training.diverged"
    default_cause = "the losses are no longer finite"
    default_next_step = "resume from the last good checkpoint with a lower learning rate"


class SplitLeak(TrainingError):
    code = "training.split_leak"
    default_cause = "the model was trained on frames that it would be measured on"
    default_next_step = "measure on held-out frames, or train without these"


class SetupError(DressformError):
    code = "setup.missing"
    default_cause = "this machine lacks something that Dressform needs"


class MissingExtra(SetupError):
    code = "setup.extra"
    default_cause = "an optional dependency is not installed"


class StorageFull(SetupError):
    code = "setup.storage_full"
    default_cause = "the server's folder of captures is full"
    default_next_step = "remove captures that are no longer needed, or allow more (--captures_gb)"


class InsecureEndpoint(SetupError):
    code = "setup.insecure_endpoint"
    default_cause = "the server listens on the loopback interface only"
    default_next_step = "bind 127.0.0.1 and reach it from elsewhere through `ssh -L`"


class InternalError(DressformError):
    code = "internal"
    default_cause = "an unexpected error inside Dressform"
    default_next_step = "please report it with the text of this message"


def error_types() -> dict[str, type[DressformError]]:
    """Return every class of the tree by its code."""
    found: dict[str, type[DressformError]] = {}
    pending: list[type[DressformError]] = [DressformError]
    while pending:
        kind = pending.pop()
        found[kind.code] = kind
        pending.extend(kind.__subclasses__())
    return found


def from_wire(fields: dict[str, Any]) -> DressformError:
    """Rebuild the error that `DressformError.to_wire` described.

    An unknown code (a newer server's) becomes the root class with the same words.
    """
    kind = error_types().get(str(fields.get("code")), DressformError)
    details = fields.get("details")
    plain: dict[str, Any] = {}
    if isinstance(details, dict):
        plain = {str(key): value for key, value in details.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    for name in ("self", "cause", "next_step"):
        plain.pop(name, None)
    return kind(str(fields.get("cause", "")), str(fields.get("next_step", "")), **plain)
