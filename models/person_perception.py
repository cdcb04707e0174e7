"""Runs in an environment of its own (`scripts/environments.py photo`): people of one photograph.

`models/person_photo.py` starts this file as a process: a request on its standard input, an answer
on its standard output, both .npz without objects. Nothing of ours is imported here: MediaPipe wants
an older numpy than the rest of the project.

Request: `protocol` (), `image` (H, W, 3) uint8 sRGB, `most` (): people to look for at most.
Answer: `protocol` (), `count` (), and for each person K, counted from the left edge:
`landmarks_K` (33, 3) float32: x and y in pixels from the corner, visibility 0…1;
`world_K` (33, 3) float32 metres round the middle of the hips, x right, y down, z away;
`mask_K` (H, W) uint8; `hands_K` (2, 21, 3) float32: hands, left first, x and y in pixels and
how sure (0: not seen); `hands_world_K` (2, 21, 3) float32 metres.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import types
from typing import Any

import numpy as np

PROTOCOL = 1

FIRST_SURE, FURTHER_SURE = 0.5, 0.7
"""How sure the detector must be. What is left of somebody painted over can look like one more
person, but not to 0.6; people beside them are found at 0.8."""
LEAST_SHARE = 0.06
"""A further person's mask is at least this large a share of the first one's."""
LEAST_VISIBILITY = 0.5
"""Mean visibility of head and shoulders below which nobody is taken to be there."""
_UPPER = [0, 2, 5, 7, 8, 11, 12]
"""Nose, eyes, ears and shoulders among the landmarks."""
_WRISTS = (15, 16)


def main() -> None:
    """Answer one request."""
    # Libraries write to standard output as they like: the answer goes through a copy of it.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as request:
        if int(request["protocol"]) != PROTOCOL:
            sys.exit("another version of the protocol")
        image = np.ascontiguousarray(request["image"])
        most = int(request["most"])
    stream = io.BytesIO()
    np.savez(stream, **look(image, most))
    answer.write(stream.getvalue())
    answer.close()


def look(image: np.ndarray[Any, Any], most: int) -> dict[str, Any]:
    """Return the answer for an image."""
    people = _people(image, most)
    _give_hands(image, people)
    people.sort(key=lambda person: _middle(person["mask"]))
    found: dict[str, Any] = {"protocol": np.int64(PROTOCOL), "count": np.int64(len(people))}
    for number, person in enumerate(people):
        found.update({f"{name}_{number}": value for name, value in person.items()})
    return found


def _solution(name: str) -> Any:
    # Only MediaPipe's drawing, which nobody asks for, needs matplotlib.
    for module in ("matplotlib", "matplotlib.pyplot"):
        sys.modules.setdefault(module, types.ModuleType(module))
    sys.modules["matplotlib"].__dict__["pyplot"] = sys.modules["matplotlib.pyplot"]
    return importlib.import_module(f"mediapipe.python.solutions.{name}")


def _people(image: np.ndarray[Any, Any], most: int) -> list[dict[str, Any]]:
    """Find one person after another, each in what the ones before leave of the image.

    MediaPipe's pose sees one person. Painting over whom it saw shows it the next one, or nobody.
    """
    height, width = image.shape[:2]
    rest = image.copy()
    people: list[dict[str, Any]] = []
    taken = np.zeros((height, width), bool)
    for number in range(most):
        person = _first_person(rest, FURTHER_SURE if number else FIRST_SURE)
        if person is None:
            break
        person["mask"][taken] = 0
        inside = person["mask"] > 127
        if inside.sum() < max(LEAST_SHARE * taken.sum(), 1):
            break
        people.append(person)
        taken |= inside
        around = _grown(_box(person, inside), max(height, width) // 50)
        if around.all():
            break
        rest[around] = rest[~around].mean(axis=0).astype(np.uint8)
    return people


def _first_person(image: np.ndarray[Any, Any], sure: float) -> dict[str, Any] | None:
    """Return whom MediaPipe sees, if it is as sure as that and head and shoulders are seen."""
    with _solution("pose").Pose(
        static_image_mode=True,
        model_complexity=1,
        enable_segmentation=True,
        min_detection_confidence=sure,
    ) as pose:
        seen = pose.process(image)
    if seen.pose_landmarks is None or seen.segmentation_mask is None:
        return None
    person = _person(seen, image.shape[1], image.shape[0])
    return person if person["landmarks"][_UPPER, 2].mean() >= LEAST_VISIBILITY else None


def _person(seen: Any, width: int, height: int) -> dict[str, Any]:
    points = seen.pose_landmarks.landmark
    world = seen.pose_world_landmarks.landmark
    return {
        "landmarks": np.array(
            [[p.x * width, p.y * height, p.visibility] for p in points], np.float32
        ),
        "world": np.array([[p.x, p.y, p.z] for p in world], np.float32),
        "mask": np.clip(seen.segmentation_mask * 255.0 + 0.5, 0, 255).astype(np.uint8),
        "hands": np.zeros((2, 21, 3), np.float32),
        "hands_world": np.zeros((2, 21, 3), np.float32),
    }


def _give_hands(image: np.ndarray[Any, Any], people: list[dict[str, Any]]) -> None:
    """Find hands and give each to the nearest wrist that is near enough."""
    if not people:
        return
    height, width = image.shape[:2]
    with _solution("hands").Hands(static_image_mode=True, max_num_hands=2 * len(people)) as hands:
        seen = hands.process(image)
    for points, world, side in zip(
        seen.multi_hand_landmarks or [],
        seen.multi_hand_world_landmarks or [],
        seen.multi_handedness or [],
        strict=True,
    ):
        hand = np.array([[p.x * width, p.y * height] for p in points.landmark], np.float32)
        size = float(np.ptp(hand, axis=0).max())
        away, person, which = min(
            (float(np.linalg.norm(one["landmarks"][wrist, :2] - hand[0])), number, index)
            for number, one in enumerate(people)
            for index, wrist in enumerate(_WRISTS)
        )
        score = float(side.classification[0].score)
        if away > size or score <= float(people[person]["hands"][which, 0, 2]):
            continue
        people[person]["hands"][which] = np.concatenate(
            [hand, np.full((21, 1), score, np.float32)], axis=1
        )
        people[person]["hands_world"][which] = [[p.x, p.y, p.z] for p in world.landmark]


def _box(person: dict[str, Any], inside: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return what of a mask lies about the person's own landmarks: not a neighbour's part of it."""
    points = person["landmarks"]
    points = points[points[:, 2] > 0.3, :2] if (points[:, 2] > 0.3).any() else points[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    slack = 0.35 * float((high - low).max())
    box = np.zeros_like(inside)
    x0, y0 = np.maximum(low - slack, 0).astype(int)
    x1, y1 = np.maximum(high + slack, 0).astype(int)
    box[y0:y1, x0:x1] = True
    return inside & box


def _grown(mask: np.ndarray[Any, Any], pixels: int) -> np.ndarray[Any, Any]:
    cv2: Any = importlib.import_module("cv2")
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * pixels + 1,) * 2, np.uint8)) > 0


def _middle(mask: np.ndarray[Any, Any]) -> float:
    columns = (mask > 127).sum(axis=0)
    return float((columns * np.arange(len(columns))).sum() / max(columns.sum(), 1))


if __name__ == "__main__":
    main()
