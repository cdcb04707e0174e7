"""Baked heads: fusing views, cutting by label, and label maps by rasterising."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from blender_addon.contract.errors import BadParameter
from models.baked_head import BAND, BakedHead, BakeSettings, bake_cameras, iterate_bake
from models.head_fusion import SeenView, VotedMesh, fuse, vertex_normals
from models.label_agreement import Confusion, agreement_off_borders, off_borders
from models.label_mesh import cut_by_label
from models.sof_render import LabelMap, SofRenderer
from tests.training.toy_heads import toy_camera, toy_view
from tests.training.toy_sof import trained_toy

SETTINGS = BakeSettings(views=40, size=96, resolution=72, widest=np.pi, lowest=-0.6, highest=1.0)


def seen_exactly(camera) -> LabelMap:
    labels, depth = toy_view(0, camera)
    depth = np.where(labels > 0, depth, np.inf).astype(np.float32)
    return LabelMap(torch.from_numpy(labels), torch.from_numpy(depth))


@pytest.fixture(scope="module")
def toy_mesh() -> VotedMesh:
    views = [SeenView(camera, seen_exactly(camera)) for camera in bake_cameras(SETTINGS, 0.35)]
    spacing = 0.7 / (SETTINGS.resolution - 1)
    return fuse(views, radius=0.35, resolution=72, truncation=3 * spacing)


@pytest.fixture(scope="module")
def toy_head(toy_mesh) -> BakedHead:
    return BakedHead(*cut_by_label(toy_mesh))


@pytest.mark.parametrize("azimuth", [0.0, 0.7, -1.5, 3.0])
def test_fused_views_show_the_head_from_other_cameras(toy_head, azimuth):
    camera = toy_camera(azimuth, 0.1, 128)
    truth, depth = toy_view(0, camera)
    baked = toy_head.label_map(camera)
    labels = baked.labels.numpy()
    assert agreement_off_borders(labels, truth) >= 0.96
    both = (labels > 0) & (truth > 0)
    assert float(np.median(np.abs(baked.depth.numpy() - depth)[both])) < 0.003


def test_the_mesh_is_closed_and_faces_outwards(toy_mesh):
    faces = toy_mesh.faces
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward = {tuple(edge) for edge in edges.tolist()}
    assert len(forward) == len(edges)
    assert all((b, a) in forward for a, b in forward)
    normals = vertex_normals(toy_mesh.vertices, faces)
    skull = toy_mesh.vertices[:, 1] > 0.0
    assert (normals * toy_mesh.vertices)[skull].sum(axis=1).mean() > 0.05
    assert np.abs(toy_mesh.votes.sum(axis=1) - 1.0).max() < 1e-3
    assert toy_mesh.votes[:, 0].max() == 0.0


def test_cutting_by_label_keeps_the_surface_and_closes_it(toy_mesh):
    vertices, faces, labels = cut_by_label(toy_mesh)
    assert len(labels) == len(faces)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward = {tuple(edge) for edge in edges.tolist()}
    assert len(forward) == len(edges)
    assert all((b, a) in forward for a, b in forward)

    def area(points, triangles):
        a, b, c = (points[triangles[:, k]].astype(float) for k in range(3))
        return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()

    assert area(vertices, faces) == pytest.approx(area(toy_mesh.vertices, toy_mesh.faces), rel=1e-5)
    assert {1, 3, 7, 14, 15} <= set(labels.tolist())


def test_a_border_lies_where_two_labels_have_equal_votes():
    votes = np.zeros((3, 17), np.float32)
    votes[0, 1], votes[0, 15] = 0.9, 0.1
    votes[1, 1], votes[1, 15] = 0.3, 0.7
    votes[2, 1] = 1.0
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    vertices, faces, labels = cut_by_label(
        VotedMesh(corners, np.array([[0, 1, 2]], np.int64), votes)
    )
    # From 0.8 in favour of skin to 0.4 in favour of hair: two thirds of the way.
    assert np.abs(vertices - [2 / 3, 0, 0]).sum(axis=1).min() < 1e-5
    assert sorted(labels.tolist()) == [1, 1, 15]
    lone = faces[labels.tolist().index(15)]
    assert 1 in lone


def test_three_labels_meet_in_the_middle_of_a_face():
    votes = np.zeros((3, 17), np.float32)
    votes[[0, 1, 2], [1, 2, 3]] = 1.0
    corners = np.array([[0, 0, 0], [3, 0, 0], [0, 3, 0]], np.float32)
    vertices, faces, labels = cut_by_label(
        VotedMesh(corners, np.array([[0, 1, 2]], np.int64), votes)
    )
    assert np.abs(vertices - [1, 1, 0]).sum(axis=1).min() < 1e-6
    assert sorted(labels.tolist()) == [1, 1, 2, 2, 3, 3]
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    assert bool((np.cross(b - a, c - a)[:, 2] > 0).all())


def test_a_trained_head_bakes_step_by_step_into_what_its_rays_see():
    model = trained_toy().model
    renderer = SofRenderer(model.sof)
    coarse = replace(SETTINGS, views=24, size=72, resolution=56)
    steps = list(iterate_bake(renderer, model.codes[0], coarse))
    assert len(steps) == -(-coarse.size // BAND) * coarse.views + 1
    assert [share for share, _ in steps] == sorted(share for share, _ in steps)
    head = steps[-1][1]
    assert all(done is None for _, done in steps[:-1])
    agreements = []
    for azimuth in (0.3, 2.0, -1.2):
        camera = toy_camera(azimuth, 0.1, 96)
        marched = renderer.label_map(model.codes[0], camera).labels.numpy()
        agreements.append(agreement_off_borders(head.label_map(camera).labels.numpy(), marched))
    assert np.mean(agreements) > 0.9


def test_views_that_see_nothing_make_no_head():
    camera = bake_cameras(SETTINGS, 0.35)[0]
    nothing = LabelMap(torch.zeros((96, 96), dtype=torch.uint8), torch.full((96, 96), torch.inf))
    with pytest.raises(BadParameter, match="no view sees"):
        fuse([SeenView(camera, nothing)], radius=0.35, resolution=16, truncation=0.1)


def test_every_camera_of_a_bake_sees_the_whole_sphere():
    from models.rays import Pinhole, pixel_rays, sphere_chord

    for camera in bake_cameras(BakeSettings(), 0.35)[::9]:
        along = torch.arange(192) + 0.5
        edge = torch.full((192,), 0.5)
        for x, y in ((along, edge), (edge, along), (along, 192 - edge), (192 - edge, along)):
            chord = sphere_chord(pixel_rays(Pinhole.of(camera), x[None], y[None]), 0.345)
            assert not bool(chord.hit.any())


# --- agreement


def test_iou_counts_what_it_says():
    truth = np.array([[0, 0, 1, 1], [0, 2, 2, 1]], np.uint8)
    seen = np.array([[0, 1, 1, 1], [0, 2, 1, 1]], np.uint8)
    total = Confusion.of(truth, seen)
    assert total.accuracy == 6 / 8
    assert total.iou[0] == 2 / 3
    assert total.iou[1] == 3 / 5
    assert total.iou[2] == 1 / 2
    assert np.isnan(total.iou[3])
    assert total.mean_iou() == pytest.approx((3 / 5 + 1 / 2) / 2)
    assert total.mean_iou(frequent=0.3) == pytest.approx(3 / 5)
    assert set(total.by_name()) == {"background", "skin", "brow"}
    with pytest.raises(BadParameter):
        total.add(truth, seen[:1])


def test_borders_are_left_out():
    labels = np.zeros((5, 8), np.uint8)
    labels[:, 4:] = 3
    inner = off_borders(labels)
    assert not inner[:, 3:5].any()
    assert inner[:, :3].all()
    assert inner[:, 5:].all()
    shifted = np.roll(labels, 1, axis=1)
    shifted[:, 0] = 0
    assert agreement_off_borders(labels, shifted) == 1.0
