"""Characters: atlases, strands, kits, plans, and the freezing of what was rendered of them."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from blender_addon.contract.errors import BadParameter, CaptureError
from blender_addon.contract.joints import JOINT_INDEX
from models.body import load_body
from training.captures import Capture, CaptureFrame, CaptureWriter
from training.people import benchmark
from training.people.atlas import cell_atlas
from training.people.bare import posed_vertices
from training.people.cast import ANNA, CAST
from training.people.character_plans import (
    WALK_TAG,
    character_plan,
    planned_shots,
    walking_shots,
    write_plan,
)
from training.people.characters import write_kit
from training.people.dataset import DEFAULT_BODY
from training.people.figures import build_figure
from training.people.frames import FramePlan, make_shot
from training.people.skeleton import apply_transforms, joint_transforms
from training.people.strands import StrandStyle, grow_strands
from training.people.surfaces import Surface, normals


@pytest.fixture(scope="module")
def body():
    return load_body(DEFAULT_BODY)


@pytest.fixture(scope="module")
def anna(body):
    """Without a top: tailoring takes its time."""
    return build_figure(replace(ANNA, top=None), body, skinned_skirts=True)


@pytest.fixture(scope="module")
def kit(anna, tmp_path_factory):
    path = tmp_path_factory.mktemp("kit") / "anna.npz"
    write_kit(path, anna, detail=0.1)
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def pieces(kit, *kinds):
    described = json.loads(str(kit["meta"]))["pieces"]
    return [
        {key.split(".")[1]: kit[key] for key in kit if key.startswith(f"{k}.")}
        for k, piece in enumerate(described)
        if piece["kind"] in kinds
    ]


def plane(side=9):
    """A wavy sheet of faces of many sizes."""
    u, v = np.meshgrid(np.linspace(0, 1, side) ** 2, np.linspace(0, 1, side), indexing="ij")
    vertices = np.stack([u, v, 0.1 * np.sin(6 * u)], axis=-1).reshape(-1, 3)
    row, column = np.meshgrid(np.arange(side - 1), np.arange(side - 1), indexing="ij")
    k = (row * side + column).ravel()
    faces = np.concatenate(
        [np.stack([k, k + side, k + side + 1], 1), np.stack([k, k + side + 1, k + 1], 1)]
    )
    return vertices, faces


def bilinear(texture, uv):
    size = len(texture)
    x, y = uv[:, 0] * size - 0.5, (1 - uv[:, 1]) * size - 0.5
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    a, b = (x - column)[:, None], (y - row)[:, None]
    upper = texture[row, column] * (1 - a) + texture[row, column + 1] * a
    lower = texture[row + 1, column] * (1 - a) + texture[row + 1, column + 1] * a
    return upper * (1 - b) + lower * b


def test_filtering_a_cell_atlas_finds_no_seams():
    vertices, faces = plane()
    uv, texels = cell_atlas(vertices, faces, 256)
    assert len(np.unique(texels.index)) == len(texels.index)
    texture = np.full((256 * 256, 3), np.nan)
    texture[texels.index] = texels.values(faces, vertices)
    share = np.random.default_rng(0).dirichlet(np.ones(3) * 0.5, len(faces))
    for weights in (share, np.eye(3)[np.zeros(len(faces), int)], np.eye(3)[share.argmax(1)]):
        at = np.einsum("fc,fck->fk", weights, uv)
        wanted = np.einsum("fc,fck->fk", weights, vertices[faces])
        np.testing.assert_allclose(bilinear(texture.reshape(256, 256, 3), at), wanted, atol=1e-4)


def test_too_many_faces_for_a_texture_are_refused():
    vertices, faces = plane()
    with pytest.raises(ValueError, match="do not fit"):
        cell_atlas(vertices, faces, 32)


def test_strands_run_along_the_flow_close_to_the_surface():
    vertices, faces = plane(24)
    vertices = vertices * np.array([0.2, 0.2, 0.05])
    weights = np.zeros((len(vertices), 55))
    weights[:, 15] = 1
    sheet = Surface(
        vertices=vertices,
        faces=faces,
        weights=weights,
        paint=vertices,
        coords=vertices[:, :2],
        edge=np.ones(len(vertices)),
    )
    style = StrandStyle(count=50, length=(0.03, 0.05), lift=0.004, wave=0.0)
    strands = grow_strands(sheet, style, 1)
    spine = strands.vertices.reshape(50, -1, 2, 3).mean(axis=2)
    assert np.median(spine[:, -1, 1] - spine[:, 0, 1]) > 0.02
    np.testing.assert_allclose(strands.weights.sum(axis=1), 1)
    inner = spine[..., 1] < 0.2
    assert np.abs(spine[..., 2] - 0.005 * np.sin(30 * spine[..., 0]))[inner].max() < 0.006
    assert np.array_equal(grow_strands(sheet, style, 1).vertices, strands.vertices)


def test_a_kit_is_the_body_dressed(kit, anna):
    described = json.loads(str(kit["meta"]))["pieces"]
    assert {piece["kind"] for piece in described} == {
        "skin", "eyes", "cloth", "hair", "shoes", "strands",
    }  # fmt: skip
    for piece in pieces(kit, "skin", "eyes", "cloth", "hair", "shoes", "strands"):
        np.testing.assert_allclose(piece["weights"].sum(axis=1), 1, atol=1e-5)
        assert piece["faces"].max() == len(piece["vertices"]) - 1
        assert np.isfinite(piece["vertices"]).all()
        if "albedo" in piece:
            image = np.asarray(Image.open(io.BytesIO(piece["albedo"].tobytes())))
            assert image.std(axis=(0, 1)).max() > 3
        else:
            assert piece["tint"].shape == piece["vertices"].shape
    skin = pieces(kit, "skin")[0]
    assert 0.02 < skin["hands"].mean() < 0.6
    assert 0.05 < skin["face"].mean() < 0.6
    np.testing.assert_array_equal(kit["betas"], ANNA.shape())


def test_the_skin_of_a_kit_moves_as_the_body_does(kit, anna):
    """Rest, weights and expression directions suffice: that is all that Blender has."""
    skin = pieces(kit, "skin")[0]
    shot = make_shot(anna, FramePlan(number=3, split="train", seed=9), size=64)
    moved = skin["vertices"] + skin["expression"] @ shot.body.expression
    transforms = joint_transforms(shot.body.pose, kit["template.joints"], shot.body.transl)
    posed = apply_transforms(transforms, skin["weights"], moved)
    wanted = posed_vertices(anna.bare.body, shot.body)
    rows = {tuple(v): k for k, v in enumerate(kit["template.vertices"].round(6).tolist())}
    index = [rows[tuple(v)] for v in skin["vertices"].round(6).tolist()]
    assert np.abs(posed - wanted[index]).max() < 1e-3


def test_legs_stay_under_a_skinned_skirt(anna, body):
    skirt = next(piece.surface for piece in anna.pieces if piece.surface.weights[:, 3:].max() == 0)
    hem = skirt.vertices[:, 1].min()
    seen = np.unique(anna.faces[anna.owner == 0])
    thighs = anna.bare.weights[seen][:, [1, 2]].sum(axis=1) > 0.5
    legs = seen[thighs & (anna.bare.vertices[seen, 1] > hem)]
    assert len(legs) > 20
    assert anna.bare.vertices[legs, 1].max() < hem + 0.14
    for number, family in enumerate(("walk", "dance", "sit", "run")):
        plan = FramePlan(number=number, split="train", seed=77, family=family)
        shot = make_shot(anna, plan, size=64)
        transforms = joint_transforms(shot.body.pose, anna.bare.joints, shot.body.transl)
        cloth = apply_transforms(transforms, skirt.weights, skirt.vertices)
        points = posed_vertices(body, shot.body)[legs]
        nearest = np.linalg.norm(points[:, None] - cloth[None], axis=2).argmin(axis=1)
        out = ((points - cloth[nearest]) * normals(cloth, skirt.faces)[nearest]).sum(axis=1)
        assert out.max() < 0, family


def test_a_plan_holds_the_benchmarks_own_frames_and_a_walk(anna, tmp_path):
    shots = planned_shots(anna, frames=3, held_out=4, walk=5, size=512, seed=1)
    write_plan(tmp_path / "plan.npz", anna, shots, size=512)
    with np.load(tmp_path / "plan.npz") as file:
        plan = {name: file[name] for name in file.files}
    assert plan["name"].tolist()[:4] == ["t0000", "t0001", "t0002", "h0000"]
    assert plan["split"].tolist() == ["train"] * 3 + ["held-out"] * 9
    frozen = Capture.open(benchmark.BENCHMARK / "anna")
    for number in range(4):
        body, camera = frozen.posed_body(number), frozen.camera(number)
        np.testing.assert_allclose(plan["pose"][3 + number], body.pose, atol=1e-6)
        np.testing.assert_allclose(plan["K"][3 + number], camera.K, atol=1e-6)
    assert [WALK_TAG in tags for tags in plan["tags"]] == [False] * 7 + [True] * 5


def test_a_walk_is_smooth_under_one_camera(anna):
    shots = walking_shots(anna, 6, size=64)
    poses = np.stack([shot.body.pose for shot in shots])
    assert 0 < np.abs(np.diff(poses, axis=0)).max() < 0.25
    hand = JOINT_INDEX["left_index1"]
    assert np.abs(np.diff(poses[:, hand], axis=0)).max() == 0
    assert all(np.array_equal(shot.camera.K, shots[0].camera.K) for shot in shots)


def test_a_stranger_and_the_benchmarks_seed_are_refused(tmp_path):
    with pytest.raises(BadParameter, match="nobody is called 'otto'"):
        character_plan("otto", out=tmp_path / "p.npz")
    with pytest.raises(BadParameter, match="seed belongs"):
        character_plan("anna", out=tmp_path / "p.npz", seed=benchmark.BENCHMARK_SEED)


def test_the_cast_differs():
    assert len({identity.name for identity in CAST}) == len({i.seed for i in CAST}) == 5


def captured(shots, folder):
    """A capture of shots with pixels of chance."""
    rng = np.random.default_rng(0)
    with CaptureWriter(
        folder,
        id="anna",
        body="body-cc0",
        licence="CC0-1.0",
        background="black",
        image_size=(32, 32),
        betas=ANNA.shape(),
    ) as writer:
        for shot in shots:
            image, masks = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
            body = replace(shot.body, expression=np.resize(shot.body.expression, 10))
            writer.add(
                CaptureFrame(
                    name=shot.name,
                    split=shot.split,
                    tags=shot.tags,
                    image=image,
                    masks=masks,
                    body=body,
                    camera=shot.camera,
                )
            )


def test_freezing_keeps_pixels_and_refuses_other_poses(anna, body, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "PEOPLE", (ANNA,))
    monkeypatch.setattr("training.people.figures.build_figure", lambda *_: anna)
    shots = planned_shots(anna, frames=1, held_out=40, walk=2, size=32, seed=1)
    captured(shots, tmp_path / "good" / "anna")
    benchmark.freeze_benchmark(captures=tmp_path / "good", out=tmp_path / "frozen")
    frozen = benchmark.open_benchmark(tmp_path / "frozen")["anna"]
    assert len(frozen.frames("held-out")) == 42
    assert frozen.frames("train") == []
    before = Capture.open(tmp_path / "good" / "anna")
    np.testing.assert_array_equal(frozen.image(5), before.image(6))
    with pytest.raises(CaptureError, match="already holds a benchmark"):
        benchmark.freeze_benchmark(captures=tmp_path / "good", out=tmp_path / "frozen")
    turned = shots[5].body.pose.copy()
    turned[16] = np.eye(3)
    shots[5] = replace(shots[5], body=replace(shots[5].body, pose=turned))
    captured(shots, tmp_path / "bad" / "anna")
    with pytest.raises(CaptureError, match="another pose or camera"):
        benchmark.freeze_benchmark(captures=tmp_path / "bad", out=tmp_path / "other")
