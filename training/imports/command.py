"""`dressform dataset import`: a video with fits becomes a capture. docs/real-captures.md."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotation
from typing import TYPE_CHECKING, Any, Literal

from blender_addon.contract.capture import DESCRIPTION_FILE
from blender_addon.contract.errors import CaptureError
from models.body import load_body
from models.package import DEFAULT_LIBRARY
from training.captures import CaptureWriter
from training.imports.arrays import open_rows, rows, wrong
from training.imports.body_regions import BodyRegions
from training.imports.fits import FREE_BODY, Take, place
from training.imports.frames import open_frames
from training.imports.keypoints import KeypointSource, find_keypoints, read_keypoint_table
from training.imports.lens import Undistortion, undistorted_points
from training.imports.masks import MaskFolder, Masks, MaskTable, find_mask_folder
from training.imports.openpose import MIN_CONFIDENCE
from training.imports.people_snapshot import MASKS_STEM, is_people_snapshot, read_people_snapshot
from training.imports.planning import FrameChoice, OnBadFrame, plan_frames
from training.imports.report import frame_row, header, source_errors, summary
from training.imports.rotations import HandMean  # noqa: TC001 - jsonargparse reads the annotation
from training.imports.smplify_x import FIT_FOLDERS, FitReading, find_fits, read_smplify_x
from training.imports.splits import HeldOut  # noqa: TC001 - jsonargparse reads the annotation
from training.imports.writing import WrittenFrame, write_frames, written_size

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

Kind = Literal["auto", "smplify-x", "people-snapshot"]

LICENCE = "not stated; the person who is seen decides"


def import_capture(
    folder: Path,
    *,
    out: Path,
    kind: Kind = "auto",
    body: str = FREE_BODY,
    library: Path = DEFAULT_LIBRARY,
    betas: list[float] | None = None,
    frames: Path | None = None,
    masks: Path | None = None,
    fits: Path | None = None,
    keypoints: Path | None = None,
    focal: float | None = None,
    fit_size: tuple[int, int] | None = None,
    hand_mean: HandMean = "auto",
    size: int | None = None,
    first: int = 0,
    last: int | None = None,
    step: int = 1,
    held_out: float = 0.2,
    held_out_where: HeldOut = "end",
    max_error: float | None = None,
    min_confidence: float = MIN_CONFIDENCE,
    on_bad_frame: OnBadFrame = "stop",
    id: str | None = None,  # noqa: A002 - the format's own name
    licence: str = LICENCE,
    image_suffix: Literal[".png", ".webp"] = ".png",
) -> None:
    """Turn a video with masks and body fits into a capture.

    Reads folders of the People-Snapshot kind (SMPL) and of the AzurePeople kind (SMPLify-X).

    Args:
        folder: holds the frames or the video, the masks and the fits.
        out: folder of the capture; it must not hold one yet.
        kind: of the folder; auto looks for reconstructed_poses.
        body: id of the body in the library; betas and expressions of SMPL-X fits are taken over
            for a licensed body, never for the free one.
        library: folder of model packages.
        betas: the person's shape in terms of the body, instead of the fits'.
        frames: folder of images or video file, if elsewhere.
        masks: folder of mask images, if elsewhere.
        fits: folder of the SMPLify-X fits, if elsewhere.
        keypoints: folder of OpenPose's JSON files, if elsewhere.
        focal: focal length in pixels of the fitted images, for fits that name none.
        fit_size: width and height of the fitted images, if other than the frames'.
        hand_mean: whether the mean hand is added to hand poses; auto: to coefficients only.
        size: pixels of the longer side of the capture's images; the frames' own when omitted.
        first: index of the first frame.
        last: index of the last frame; the video's when omitted.
        step: every so many frames.
        held_out: share of the frames to hold out from training.
        held_out_where: the end or the start of the video, or frames spread over it.
        max_error: leave out frames whose fit lies farther from the keypoints, in pixels.
        min_confidence: keypoints below it do not count.
        on_bad_frame: stop at a frame that cannot be used, or leave it out with a note.
        id: name of the capture; the folder's when omitted.
        licence: SPDX identifier or a plain sentence.
        image_suffix: .png, or .webp (lossless: smaller, slower to write).

    Raises:
        CaptureError: a file or field is missing or wrong; names it.
        VPoserPose: the fits hold 32-number VPoser codes.
        MissingExtra: .hdf5 files, and the `captures` extra is not installed.
    """
    choice = FrameChoice(
        first=first,
        last=last,
        step=step,
        held_out=held_out,
        held_out_where=held_out_where,
        max_error=max_error,
        min_confidence=min_confidence,
        on_bad_frame=on_bad_frame,
    )
    if (out / DESCRIPTION_FILE).exists():
        raise CaptureError(f"{out} already holds a capture", "give another folder, or remove it")
    if not folder.is_dir():
        raise CaptureError(f"{folder} is not a folder", "give the folder of frames and fits")
    wearer = load_body(library / body)
    pictures = open_frames(folder, frames)
    frame_size = pictures.size
    target = written_size(frame_size, size)
    names = list(pictures.names)
    wanted = choice.indices(len(names))
    snapshot = kind == "people-snapshot" or (
        kind == "auto" and fits is None and is_people_snapshot(folder)
    )
    if snapshot:
        take, errors = read_people_snapshot(folder, names, wanted, frame_size)
    else:
        reading = FitReading(
            size=frame_size,
            fit_size=fit_size,
            focal=focal,
            hands=wearer.hands,
            hand_mean=hand_mean,
        )
        take, errors = read_smplify_x(_fits(folder, fits), names, wanted, reading)
    notes = list(take.notes)
    bad = partial(_stop_or_note, on_bad_frame, notes)
    for error in errors:
        bad(error)
    placement = place(take, wearer, betas)
    notes += placement.notes
    regions = BodyRegions(wearer)
    seen = _keypoints(folder, keypoints, take, snapshot=snapshot)
    plans = plan_frames(take, placement, regions, seen, choice, notes=notes, bad=bad)
    undistort = None
    if take.distortion is not None:
        undistort = Undistortion(take.fits[0].camera.K, take.distortion, frame_size)
        notes.append("the lens's distortion is taken out of frames, masks and keypoints")
    with _masks(folder, masks) as source_masks:
        channels = _channels(source_masks, plans[0].index, plans[0].name, frame_size)
        source: dict[str, Any] = {
            "command": "dataset import",
            "kind": "people-snapshot" if snapshot else "smplify-x",
            "folder": folder.resolve().name,
            "frame_size": list(frame_size),
            "masks": {
                "foreground": "given",
                "hands": "given" if channels == 3 else "projected body",
                "face": "given" if channels == 3 else "projected body",
            },
            "reprojection": source_errors(plans),
            "notes": notes,  # the same list: frames that are left out below are added to it
        }
        with CaptureWriter(
            out,
            id=id or folder.resolve().name,
            body=wearer.id,
            licence=licence,
            background="photograph",
            image_size=target,
            betas=placement.betas,
            image_suffix=image_suffix,
            source=source,
        ) as writer:
            _say(header())
            written = write_frames(
                writer,
                plans,
                pictures,
                source_masks,
                regions,
                target,
                channels=channels,
                undistort=undistort,
                bad=bad,
                done=_say_frame,
            )
            if not written:
                raise CaptureError("no frame is left to import", "see the notes above")
    _say(summary(written))
    for note in notes:
        _say(f"note: {note}")
    _say(str(out))


def _fits(folder: Path, given: Path | None) -> Path:
    found = find_fits(folder, given)
    if found is None:
        raise wrong(
            folder,
            "",
            f"holds neither reconstructed_poses nor a folder of fits ({', '.join(FIT_FOLDERS)})",
            "give the folder of the fits with --fits",
        )
    return found


def _keypoints(
    folder: Path, given: Path | None, take: Take, *, snapshot: bool
) -> KeypointSource | None:
    found = find_keypoints(folder, given)
    if found is not None or not snapshot:
        return found

    def undistort(points: NDArray[Any]) -> NDArray[Any]:
        if take.distortion is None:
            return points
        return undistorted_points(points, take.fits[0].camera.K, take.distortion)

    return read_keypoint_table(folder, undistort)


@contextmanager
def _masks(folder: Path, given: Path | None) -> Generator[Masks]:
    found = find_mask_folder(folder, given)
    if found is not None:
        yield MaskFolder.open(found)
        return
    with open_rows(folder, MASKS_STEM) as (path, tables):
        yield MaskTable(path, rows(tables, "masks", path, -1, -1))


def _channels(masks: Masks, index: int, frame: str, size: tuple[int, int]) -> Literal[1, 3]:
    return 3 if masks.read(index, frame, size).ndim == 3 else 1


def _stop_or_note(on_bad_frame: OnBadFrame, notes: list[str], error: CaptureError) -> None:
    if on_bad_frame == "stop":
        raise error
    notes.append(f"left out: {error.cause}")
    _say(f"left out: {error.cause}")


def _say_frame(frame: WrittenFrame) -> None:
    _say(frame_row(frame))


def _say(line: str) -> None:
    print(line)  # noqa: T201 - a command's own output
