"""The pieces of an evaluation, each on pictures whose answer is known."""

from __future__ import annotations

import json
from dataclasses import replace

import lpips
import numpy as np
import pytest
import torch
import torchvision
from scipy.ndimage import gaussian_filter

from blender_addon.contract.errors import BadParameter, CaptureError, ModelError
from blender_addon.contract.joints import JOINT_COUNT
from models.body import load_body
from training.captures import Capture
from training.evaluation_alignment import (
    OPENPOSE_JOINTS,
    keypoint_affine,
    read_keypoints,
    silhouette_affine,
    true_keypoints,
    warp,
)
from training.evaluation_detail import detail_energy
from training.evaluation_flicker import counted, sequences, surface_flow, warped, warped_difference
from training.evaluation_measure import MethodFigures, measure_flicker, stills
from training.evaluation_perceptual import yardstick
from training.evaluation_regions import BodyParts, hand_boxes, head_box, projected
from training.evaluation_truth import Prediction, true_frame

from .toy_people import BODY_ID, write_toy_capture


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """A toy person who turns for eight frames after two others, and the parts of the body."""
    library, folder = tmp_path_factory.mktemp("library"), tmp_path_factory.mktemp("capture")
    write_toy_capture(library, folder / "toy", train=0, held_out=2, size=128, sequence=8)
    return Capture.open(folder / "toy"), BodyParts.of(load_body(library / BODY_ID))


# --- detail


def speckled(seed=0):
    return np.random.default_rng(seed).random((64, 64, 3))


def test_blur_costs_detail_and_the_outline_is_none():
    inside = np.zeros((64, 64), bool)
    inside[10:50, 12:40] = True
    image = speckled()
    image[~inside] = 0.0
    sharp = detail_energy(image, inside)
    assert detail_energy(gaussian_filter(image, (1, 1, 0)), inside) < 0.25 * sharp
    # What lies outside does not matter, however bright.
    other = image.copy()
    other[~inside] = 1.0
    assert detail_energy(other, inside) == pytest.approx(sharp, rel=1e-6)
    assert detail_energy(np.full((64, 64, 3), 0.4), inside) == pytest.approx(0.0, abs=1e-9)


def test_detail_is_energy():
    inside = np.ones((64, 64), bool)
    image = speckled()
    half = 0.5 + 0.5 * (image - 0.5)
    assert detail_energy(half, inside) == pytest.approx(
        0.25 * detail_energy(image, inside), rel=1e-3
    )


def test_detail_of_nothing_is_nothing():
    assert detail_energy(speckled(), np.zeros((64, 64), bool)) == 0.0


# --- flicker


def test_sequences_follow_their_tags(moving):
    capture, _ = moving
    assert sequences(capture) == {"turn": list(range(2, 10))}
    assert sequences(capture, [0, 1, 2]) == {}
    assert stills(capture, range(10)) == [0, 1]
    assert stills(capture, [4, 5]) == [4, 5]


def bilinear(values, x, y):
    column, row = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    right, down = x - 0.5 - column, y - 0.5 - row
    upper = values[row, column] * (1 - right) + values[row, column + 1] * right
    lower = values[row + 1, column] * (1 - right) + values[row + 1, column + 1] * right
    return upper * (1 - down) + lower * down


def test_the_surface_is_followed_exactly(moving):
    capture, parts = moving
    first, second = (true_frame(capture, index, parts, 128) for index in (4, 5))
    flow = surface_flow(
        parts.body, (first.vertices, second.vertices), (first.camera, second.camera)
    )
    before, after = (
        projected(first.vertices, first.camera),
        projected(second.vertices, second.camera),
    )
    checked = 0
    for start, end in zip(before, after, strict=True):
        column, row = int(start[0]), int(start[1])
        if start[2] > 2.77 or not flow.known[row, column]:
            continue
        goal = [bilinear(axis, start[0], start[1]) for axis in (flow.x, flow.y)]
        assert goal == pytest.approx(list(end[:2]), abs=0.1)
        checked += 1
    assert checked > 15


def test_warping_along_the_surface_undoes_its_motion(moving):
    capture, parts = moving
    first, second = (true_frame(capture, index, parts, 128) for index in (5, 6))
    flow = surface_flow(
        parts.body, (first.vertices, second.vertices), (first.camera, second.camera)
    )
    where = counted(flow, first.masks[..., 0])
    still = float(np.abs(second.image - first.image).mean(axis=-1)[where].sum())
    assert where.sum() > 2000
    assert (
        warped_difference(first.image, second.image, flow, where) < 0.45 * still
    )  # the coat stands off the body


def test_a_still_picture_is_warped_onto_itself(moving):
    capture, parts = moving
    frame = true_frame(capture, 3, parts, 128)
    flow = surface_flow(parts.body, (frame.vertices, frame.vertices), (frame.camera, frame.camera))
    assert np.abs(warped(frame.image, flow) - frame.image)[flow.known].max() < 2e-3


def test_what_is_hidden_in_the_next_frame_does_not_count(moving):
    capture, parts = moving
    frame = true_frame(capture, 3, parts, 128)
    turned = frame.vertices.copy()
    centre = turned.mean(axis=0)
    turned[:, [0, 2]] = 2 * centre[[0, 2]] - turned[:, [0, 2]]  # half a turn: all fronts are backs
    flow = surface_flow(parts.body, (frame.vertices, turned), (frame.camera, frame.camera))
    assert flow.known.sum() < 0.1 * (frame.masks[..., 0] > 0.5).sum()


def test_flicker_of_the_truth_is_one_and_noise_raises_it(moving):
    capture, parts = moving
    noise = np.random.default_rng(0)

    def shimmering(frame):
        shine = noise.normal(0.0, 0.05)
        return Prediction((frame.image + shine).astype(np.float32), frame.masks)

    def soft(frame):
        return Prediction(gaussian_filter(frame.image, (2, 2, 0)), frame.masks)

    methods = {
        "truth": lambda frame: Prediction(frame.image, frame.masks),
        "shimmer": shimmering,
        "soft": soft,
        "nothing": lambda _: None,
    }
    results = {name: MethodFigures() for name in methods}
    measure_flicker(
        capture, range(10), parts, methods, results, size=128, background=(0.8, 0.8, 0.8)
    )
    found = {name: result.means()["flicker"] for name, result in results.items()}
    assert found["truth"] == pytest.approx(1.0)
    assert found["shimmer"] > 2.0
    assert found["soft"] < 1.0
    assert np.isnan(found["nothing"])


# --- regions


def test_head_and_hands_lie_where_their_vertices_are(moving):
    capture, parts = moving
    frame = true_frame(capture, 0, parts, 128)
    # The toy's upper half follows the head; it has no vertices of hands.
    rows, columns = frame.head
    pixels = projected(frame.vertices, frame.camera)[parts.head]
    assert rows.start < pixels[:, 1].min() < pixels[:, 1].max() < rows.stop
    assert columns.start < pixels[:, 0].min() < pixels[:, 0].max() < columns.stop
    assert frame.hands == ()


def test_a_hand_counts_where_the_truth_shows_it(moving):
    capture, parts = moving
    frame = true_frame(capture, 0, parts, 128)
    weights = np.zeros((len(frame.vertices), JOINT_COUNT), np.float32)
    weights[:, 0] = 1.0
    weights[:60, 0], weights[:60, 20] = 0.0, 1.0
    body = replace(parts.body, skin_weights=torch.from_numpy(weights))
    sorted_anew = BodyParts.of(body)
    assert list(sorted_anew.left_hand) == list(range(60))
    assert not len(sorted_anew.right_hand)
    pixels = projected(frame.vertices, frame.camera)
    masks = np.zeros((128, 128, 3))
    assert hand_boxes(sorted_anew, pixels, masks) == ()
    masks[..., 1] = 1.0
    assert len(hand_boxes(sorted_anew, pixels, masks)) == 1
    assert head_box(sorted_anew, pixels, masks + 1) is None


# --- perceptual distance


def test_without_weights_the_distance_carries_its_own_name():
    stick = yardstick()
    image = speckled()
    box = (slice(4, 40), slice(4, 30))
    assert stick.name == "lite0_distance"
    assert stick.person(image, image, box) == pytest.approx(0.0, abs=1e-4)
    assert stick.person(image, 1 - image, box) > 0.1
    assert stick.parts(image, speckled(1), [box]) > stick.parts(image, image, [box])
    assert np.isnan(stick.parts(image, image, []))


def test_lpips_takes_its_trunk_from_a_file(tmp_path, recwarn):
    torch.manual_seed(0)
    trunk = torchvision.models.alexnet(weights=None)
    file = tmp_path / "alexnet.pth"
    torch.save({k: v for k, v in trunk.state_dict().items() if "features" in k}, file)
    stick = yardstick(lpips_trunk=file)
    assert stick.name == "lpips_alex"
    one, other = (
        torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(k)) for k in (1, 2)
    )
    # The same distance as the package's own with the same trunk.
    own = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    for name, value in own.net.state_dict().items():
        value.copy_(trunk.state_dict()["features." + name.split(".", 1)[1]])
    recwarn.clear()
    images = [image[0].permute(1, 2, 0).numpy() for image in (one, other)]
    box = (slice(0, 64), slice(0, 64))
    with torch.inference_mode():
        expected = float(own(one, other, normalize=True))
    assert stick.person(*images, box) == pytest.approx(expected, rel=1e-5)


def test_other_weights_are_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, tmp_path / "half.pth")
    with pytest.raises(ModelError, match="trunk"):
        yardstick(lpips_trunk=tmp_path / "half.pth")
    (tmp_path / "no.pth").write_text("none")
    with pytest.raises(ModelError, match="cannot be read"):
        yardstick(lpips_trunk=tmp_path / "no.pth")


# --- alignment

AFFINE = np.array([[1.12, 0.06, -9.0], [-0.05, 0.93, 8.0]])


def test_keypoints_give_back_the_map(moving):
    capture, parts = moving
    frame = true_frame(capture, 0, parts, 128)
    spread = np.random.default_rng(0).uniform(20, 100, (12, 2))
    moved = spread @ AFFINE[:, :2].T + AFFINE[:, 2]
    weight = np.ones(12)
    weight[3], moved[3] = 0.0, 999.0  # not found
    assert keypoint_affine(spread, moved, weight) == pytest.approx(AFFINE, abs=1e-6)
    with pytest.raises(BadParameter, match="fewer than three"):
        keypoint_affine(spread, moved, np.eye(12)[0] + np.eye(12)[1])
    assert true_keypoints(parts.body, frame).shape == (12, 2)


def test_openpose_files_are_read_in_measured_pixels(tmp_path):
    points = np.arange(75, dtype=float).reshape(25, 3)
    points[:, 2] = 0.9
    points[4, 2] = 0.1
    content = {"people": [{"pose_keypoints_2d": points.ravel().tolist()}]}
    (tmp_path / "a_keypoints.json").write_text(json.dumps(content))
    found, confidence = read_keypoints(tmp_path, "a", (0.5, 0.25))
    assert found[0] == pytest.approx(points[2, :2] * (0.5, 0.25))
    assert confidence[list(OPENPOSE_JOINTS).index(4)] == 0.0
    (tmp_path / "b.json").write_text('{"people": [{"pose_keypoints_2d": [1, 2]}]}')
    with pytest.raises(CaptureError, match="pose_keypoints_2d"):
        read_keypoints(tmp_path, "b", (1, 1))
    with pytest.raises(CaptureError, match=r"c_keypoints\.json is missing"):
        read_keypoints(tmp_path, "c", (1, 1))
    (tmp_path / "d.json").write_text('{"people": []}')
    assert not read_keypoints(tmp_path, "d", (1, 1))[1].any()


def test_warping_moves_pixels_where_the_map_says():
    image = np.zeros((40, 40, 1))
    image[10:14, 20:24] = 1.0
    moved = warp(image, np.array([[1.0, 0.0, 5.0], [0.0, 1.0, -3.0]]))
    assert moved[7:11, 25:29] == pytest.approx(1.0)
    assert moved.sum() == pytest.approx(16.0)
    larger = warp(image, np.array([[2.0, 0.0, -20.0], [0.0, 2.0, 0.0]]))
    assert larger[21:27, 21:27] == pytest.approx(1.0)
    assert larger.sum() == pytest.approx(64.0, rel=0.05)


def test_silhouettes_align_a_picture_that_was_moved(moving):
    capture, parts = moving
    planes = true_frame(capture, 1, parts, 128).premultiplied()
    off = warp(planes, AFFINE)
    affine = silhouette_affine(off, planes)
    before, after = np.square(off - planes).mean(), np.square(warp(off, affine) - planes).mean()
    assert after < 0.03 * before
    both = (np.concatenate([affine, [[0, 0, 1]]]) @ np.concatenate([AFFINE, [[0, 0, 1]]]))[:2]
    corners = np.array([[40.0, 30.0], [90.0, 30.0], [64.0, 100.0]])
    assert corners @ both[:, :2].T + both[:, 2] == pytest.approx(corners, abs=0.7)


def test_an_empty_silhouette_cannot_be_aligned(moving):
    capture, parts = moving
    planes = true_frame(capture, 1, parts, 128).premultiplied()
    with pytest.raises(BadParameter, match="empty mask"):
        silhouette_affine(np.zeros((128, 128, 4)), planes)
