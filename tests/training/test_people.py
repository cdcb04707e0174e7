"""Synthetic people: same seed same bytes, exact parameters, masks that mean what they say."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from blender_addon.contract.errors import BadParameter, CaptureError
from models.body import load_body
from models.raster import rasterize
from training.captures import Capture
from training.people.bare import posed_vertices
from training.people.dataset import DEFAULT_BODY, people
from training.people.figures import build_figure
from training.people.frames import FramePlan, make_frame
from training.people.hair import HAIR_STYLES, HairCut, grow
from training.people.identities import random_identity

SIZE = 96
FOREGROUND, HANDS, FACE = 0, 1, 2


@pytest.fixture(scope="module")
def body():
    return load_body(DEFAULT_BODY)


@pytest.fixture(scope="module")
def figure(body):
    return build_figure(random_identity("tester", 3), body)


def whole(number, **changes):
    options = {"split": "train", "seed": 0, "view": "whole", "family": "stand"}
    return FramePlan(number=number, **{**options, **changes})


def test_same_seed_same_bytes_whatever_the_workers(tmp_path):
    options = {"identities": 1, "frames": 3, "held_out": 1, "size": 48, "seed": 5}
    people(out=tmp_path / "one", workers=0, **options)
    people(out=tmp_path / "two", workers=1, **options)
    one, two = (Capture.open(tmp_path / name / "person-5-00") for name in ("one", "two"))
    for a, b in zip(one.files(), two.files(), strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
    assert one.description.body == "body-cc0"
    assert (len(one.frames("train")), len(one.frames("held-out"))) == (2, 1)


def test_another_seed_gives_other_people(tmp_path):
    for seed in (1, 2):
        people(out=tmp_path, identities=1, frames=1, held_out=0, size=32, seed=seed, workers=0)
    one, two = (Capture.open(tmp_path / f"person-{seed}-00") for seed in (1, 2))
    assert not np.array_equal(one.betas, two.betas)


def test_a_capture_is_not_overwritten(tmp_path):
    options = {"identities": 1, "frames": 1, "held_out": 0, "size": 32, "workers": 0}
    people(out=tmp_path, **options)
    with pytest.raises(CaptureError, match="already holds a capture"):
        people(out=tmp_path, **options)


@pytest.mark.parametrize(
    "wrong", [{"frames": 0}, {"held_out": 9, "frames": 8}, {"size": 2}, {"identities": 0}]
)
def test_impossible_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(BadParameter):
        people(out=tmp_path, workers=0, **wrong)


def test_masks_lie_within_each_other_and_the_image_within_the_foreground(figure):
    for number in range(3):
        frame = make_frame(figure, whole(number), size=SIZE)
        foreground = frame.masks[..., FOREGROUND].astype(int)
        assert 0.02 < (foreground > 127).mean() < 0.6
        assert (frame.masks[..., HANDS] <= foreground).all()
        assert (frame.masks[..., FACE] <= foreground).all()
        assert (np.minimum(frame.masks[..., HANDS], frame.masks[..., FACE]) < 255).all()
        assert (frame.image.max(axis=-1)[foreground == 0] == 0).all()
        # Premultiplied: no colour is brighter than the share of the pixel that is covered.
        assert (frame.image.max(axis=-1) <= foreground + 1).all()


def test_edges_are_soft(figure):
    masks = make_frame(figure, whole(0), size=SIZE).masks[..., FOREGROUND]
    assert ((masks > 0) & (masks < 255)).sum() > 20


def test_hands_and_face_masks_sit_on_hands_and_face(figure, body):
    # Seen from the front, so that the face shows.
    frame = make_frame(figure, whole(1, azimuth=0.0), size=192)
    pixels = frame.camera.project(posed_vertices(body, frame.body))[:, :2]
    weights = body.skin_weights.numpy()
    for channel, joints in ((HANDS, [20, 21, *range(25, 55)]), (FACE, [15, 22, 23, 24])):
        owned = pixels[weights[:, joints].sum(axis=1) > 0.3]
        y, x = np.nonzero(frame.masks[..., channel] > 127)
        assert len(x) > 10
        nearest = np.linalg.norm(owned[None] - np.stack([x, y], 1)[:, None] - 0.5, axis=-1).min(1)
        assert nearest.max() < 4.0


def test_parameters_reproject_onto_the_person(figure, body):
    """The bare body of the stored parameters lies inside the dressed silhouette."""
    for number, view in enumerate(("whole", "upper", "head")):
        frame = make_frame(figure, whole(number, view=view), size=SIZE)
        vertices = torch.from_numpy(posed_vertices(body, frame.body)).double().numpy()
        seen = vertices @ frame.camera.R.T + frame.camera.t
        fragments = rasterize(
            torch.from_numpy(seen.astype(np.float32))[None],
            body.faces,
            torch.from_numpy(frame.camera.K.astype(np.float32))[None],
            (SIZE, SIZE),
        )
        bare = fragments.covered[0].numpy()
        dressed = binary_dilation(frame.masks[..., FOREGROUND] > 20, iterations=1)
        assert (bare & ~dressed).sum() <= 0.002 * bare.sum()
        assert bare.sum() > 0.6 * (frame.masks[..., FOREGROUND] > 127).sum()


def test_back_views_are_tagged(figure):
    behind = make_frame(figure, whole(0, azimuth=np.pi), size=32)
    before = make_frame(figure, whole(0, azimuth=0.0), size=32)
    assert "back view" in behind.tags
    assert "back view" not in before.tags
    assert "stand" in behind.tags


def test_train_and_held_out_frames_differ(figure):
    one = make_frame(figure, whole(0), size=32)
    other = make_frame(figure, whole(0, split="held-out"), size=32)
    assert not np.allclose(one.body.pose, other.body.pose)


@pytest.mark.parametrize("style", HAIR_STYLES)
def test_hair_leaves_face_and_ears_free(figure, style):
    bare = figure.bare
    hair = grow(bare, HairCut(style=style), seed=1)
    eyes = bare.joint("left_eye_smplhf")
    front = hair.vertices[np.abs(hair.vertices[:, 0]) < 0.02]
    low = front[(front[:, 1] < eyes[1] + 0.03) & (front[:, 2] > eyes[2] - 0.03)]
    assert len(low) == 0


def test_a_hat_covers_the_hair_under_it(body):
    from dataclasses import replace

    from training.people.materials import Cloth

    hatted = replace(
        random_identity("hatted", 3),
        hair_cut=HairCut(style="short", volume=0.02),
        hat=Cloth(pattern="knit", color=(0.8, 0.2, 0.2), hem=False),
        assets=(),
    )
    figure = build_figure(hatted, body)
    eyes = figure.bare.joint("left_eye_smplhf")
    hair, hat = figure.pieces[-2].surface, figure.pieces[-1].surface
    crown = eyes[1] + 0.075
    top_of_hair = hair.vertices[hair.vertices[:, 1] > crown]
    middle = np.array([0.0, eyes[1], eyes[2] - 0.09])
    ways = top_of_hair - middle
    hat_ways = hat.vertices - middle
    directions = hat_ways / np.linalg.norm(hat_ways, axis=1, keepdims=True)
    for way in ways[::7]:
        length = np.linalg.norm(way)
        near = directions @ (way / length) > 0.998
        assert not near.any() or length < np.linalg.norm(hat_ways[near], axis=1).max()


def test_the_procedural_path_needs_neither_assets_nor_anny():
    code = (
        "import sys; sys.modules['anny'] = None\n"
        "from models.body import load_body\n"
        "from training.people.dataset import DEFAULT_BODY\n"
        "from training.people.figures import build_figure\n"
        "from training.people.identities import random_identity\n"
        "build_figure(random_identity('a', 1), load_body(DEFAULT_BODY))\n"
        "assert not [n for n in sys.modules if n.startswith('training.makehuman')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


def test_pieces_of_the_asset_set_ask_for_its_folder(body):
    from dataclasses import replace

    from training.people.identities import AssetPiece
    from training.people.materials import Hair

    piece = AssetPiece(name="long01", material=Hair(color=(0.3, 0.2, 0.1)))
    identity = replace(random_identity("asset", 3), assets=(piece,))
    with pytest.raises(BadParameter, match="asset set"):
        build_figure(identity, body)


def test_a_missing_piece_of_the_asset_set_is_named(tmp_path):
    from blender_addon.contract.errors import ModelError
    from training.people.assets import find_piece

    with pytest.raises(ModelError, match=r"long01\.mhclo"):
        find_piece(tmp_path, "long01")
