"""Refined body fits: corrections that start at nothing, follow colours, and find the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from blender_addon.contract.errors import CaptureError, TrainingError
from blender_addon.contract.pose import check_rotations, rotation_from_axis_angle
from models.body import skin
from models.texture import MipChain, gather_features
from training.captures import Capture, CaptureFrame, CaptureWriter
from training.dressing_data import (
    People,
    cut_batch,
    load_frames,
    make_batch,
    project,
    whole_window,
)
from training.dressing_recipe import DressingData
from training.fit_refinement import FitRefinement, rotations
from training.plain_texture import fit_plain_texture

from .toy_people import write_toy_capture

DATA = DressingData(size=96, batch=3, people_per_batch=1, whole_share=1.0, margin=(1.2, 1.2))


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> People:
    """A toy person, seen exactly as the capture says."""
    library = tmp_path_factory.mktemp("library")
    folder = tmp_path_factory.mktemp("captures") / "true"
    return People.open([write_toy_capture(library, folder, train=5, held_out=1)], library)


@pytest.fixture(scope="module")
def misfit(truth, tmp_path_factory) -> People:
    """The same pictures, with training frames whose pose, place and camera are off."""
    capture = truth.captures[0]
    rng = np.random.default_rng(5)

    def turn(angle):
        return rotation_from_axis_angle(rng.normal(0, angle, 3))

    folder = tmp_path_factory.mktemp("captures") / "off"
    with CaptureWriter(
        folder,
        id=capture.description.id,
        body=capture.description.body,
        licence="CC0-1.0",
        background="black",
        image_size=capture.description.image_size,
        betas=capture.betas,
    ) as writer:
        for index, entry in enumerate(capture.description.frames):
            body, camera = capture.posed_body(index), capture.camera(index)
            if entry.split == "train":
                pose = body.pose.copy()
                pose[0], pose[15] = turn(0.05) @ pose[0], turn(0.05) @ pose[15]
                transl = (body.transl + rng.normal(0, 0.03, 3)).astype(np.float32)
                body = replace(body, pose=pose, transl=transl)
                camera = replace(camera, R=turn(0.01) @ camera.R)
            writer.add(
                CaptureFrame(
                    name=entry.name,
                    split=entry.split,
                    tags=entry.tags,
                    image=capture.image(index),
                    masks=capture.masks(index),
                    body=body,
                    camera=camera,
                )
            )
    return replace(truth, captures=(Capture.open(folder),))


def pixels(people, body, camera):
    values = (body.pose, body.betas, body.expression, body.transl)
    posed = skin(people.body, *(torch.from_numpy(np.asarray(v, np.float32))[None] for v in values))
    seen = posed.vertices[0].numpy() @ camera.R.T + camera.t
    return project(seen.astype(np.float32), camera.K)[:, :2]


def mean_error(truth, refinement, frames):
    """Return by how many pixels the body's vertices are off, on average."""
    capture = truth.captures[0]
    off = [
        pixels(truth, refinement.refined_body(0, k), refinement.refined_camera(0, k))
        - pixels(truth, capture.posed_body(k), capture.camera(k))
        for k in (frame.index for frame in frames)
    ]
    return float(np.mean(np.linalg.norm(off, axis=-1)))


def test_no_correction_changes_nothing(misfit):
    frames = load_frames(misfit, "train")
    batch = make_batch(misfit, frames, DATA, 0, 3)
    refined = FitRefinement(misfit, frames).refined(batch)
    assert torch.equal(refined.pixel, batch.pixel)
    assert torch.equal(refined.offset, batch.offset)
    assert torch.allclose(refined.uv, batch.uv, atol=2e-4)
    assert (refined.uv - batch.uv).abs().mean() < 1e-5
    assert torch.allclose(refined.joints, batch.joints, atol=1e-3)
    assert torch.equal(refined.colour, batch.colour)


def test_colours_pull_a_wrong_fit_to_the_truth(truth, misfit):
    colour = fit_plain_texture(
        truth, 0, load_frames(truth, "train")[0], DATA, steps=40, seed=0, size=64
    )
    chain = MipChain.build(colour)
    frames = load_frames(misfit, "train")
    refinement = FitRefinement(misfit, frames)
    groups = refinement.groups()
    rates = {"pose": 4e-3, "betas": 0.0, "camera": 1e-3}
    optimiser = torch.optim.Adam([{"params": groups[k], "lr": rates[k]} for k in groups])
    before = mean_error(truth, refinement, frames[0])
    assert before > 1.5
    for step in range(60):
        batch = refinement.refined(make_batch(misfit, frames, DATA, 0, step))
        seen = gather_features(batch.samples(), chain, batch.texture)
        inside = (seen.coverage * batch.masks[:, :1]) > 0.99
        loss = ((seen.features[:, :3] - batch.colour) * inside).abs().mean()
        loss = loss + 1e-5 * refinement.prior(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after = mean_error(truth, refinement, frames[0])
    assert after < 0.5 * before, (before, after)


def test_every_correction_has_a_gradient_and_only_where_the_batch_looks(misfit):
    frames = load_frames(misfit, "train")
    refinement = FitRefinement(misfit, frames, focal=True)
    first = frames[0][0]
    batch = cut_batch(misfit, [first], [whole_window(first, 1.2)], 64)
    refinement.refined(batch).uv[:, 1].square().sum().backward()
    for parameter in (p for group in refinement.groups().values() for p in group):
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad[0].abs().sum() > 0
        if parameter.shape[0] == len(frames[0]):
            assert not parameter.grad[1:].any()


@pytest.fixture
def corrected(misfit):
    """A refinement some way into a training: corrections of all kinds."""
    refinement = FitRefinement(misfit, load_frames(misfit, "train"), focal=True)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in refinement.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator))
    return refinement


def test_corrected_bodies_and_cameras_are_what_the_batch_saw(misfit, corrected):
    frame = load_frames(misfit, "train")[0][2]
    window = whole_window(frame, 1.2)
    batch = corrected.refined(cut_batch(misfit, [frame], [window], 64))
    body, camera = (
        get(0, frame.index) for get in (corrected.refined_body, corrected.refined_camera)
    )
    check_rotations(body.pose)
    seen = (
        skin(
            misfit.body,
            *(
                torch.from_numpy(np.asarray(values, np.float32))[None]
                for values in (body.pose, body.betas, body.expression, body.transl)
            ),
        )
        .joints[0]
        .numpy()
    )
    camera = camera.cropped(window.x, window.y, 64, 64, 64 / window.side)
    expected = project((seen @ camera.R.T + camera.t).astype(np.float32), camera.K)
    assert np.allclose(batch.joints[0].numpy(), expected, atol=0.01)


def test_a_refined_capture_is_a_new_one_with_the_same_pictures_and_splits(
    misfit, corrected, tmp_path
):
    capture = misfit.captures[0]
    before = capture.digest
    corrected.write_refined(capture, tmp_path / "refined")
    refined = Capture.open(tmp_path / "refined")
    names = [(entry.name, entry.split, entry.tags) for entry in capture.description.frames]
    assert [(e.name, e.split, e.tags) for e in refined.description.frames] == names
    assert refined.description.source["refined_from"] == before
    for index in range(len(capture)):
        assert np.array_equal(refined.image(index), capture.image(index))
        assert np.array_equal(refined.masks(index), capture.masks(index))
    (held_out,) = capture.frames("held-out")
    assert np.array_equal(refined.posed_body(held_out).pose, capture.posed_body(held_out).pose)
    assert np.allclose(refined.posed_body(0).pose, corrected.refined_body(0, 0).pose)
    assert not np.allclose(refined.posed_body(0).pose, capture.posed_body(0).pose, atol=1e-3)
    assert not np.allclose(refined.betas, capture.betas, atol=1e-3)
    assert Capture.open(capture.folder).digest == before
    with pytest.raises(CaptureError, match="already exists"):
        corrected.write_refined(capture, tmp_path / "refined")


def test_frames_that_are_not_trained_on_have_no_correction(misfit, corrected):
    frame = load_frames(misfit, "held-out")[0][0]
    batch = cut_batch(misfit, [frame], [whole_window(frame, 1.2)], 64)
    with pytest.raises(TrainingError, match="no correction"):
        corrected.refined(batch)


def test_the_prior_pulls_the_batchs_corrections_back(misfit, corrected):
    frames = load_frames(misfit, "train")
    batch = make_batch(misfit, frames, DATA, 0, 0)
    assert FitRefinement(misfit, frames).prior(batch) == 0
    prior = corrected.prior(batch)
    prior.backward()
    with torch.no_grad():
        for parameter in corrected.parameters():
            assert parameter.grad is not None
            assert (parameter.grad * parameter).sum() > 0
            parameter.sub_(1e-5 * parameter.grad)
    assert corrected.prior(batch) < prior


def test_rotations_are_those_of_the_contract_and_smooth_at_nothing():
    vectors = torch.tensor([[0.3, -1.2, 0.5], [0.0, 0.0, 0.0], [1e-4, 0.0, 2e-4]]).double()
    expected = rotation_from_axis_angle(vectors.numpy())
    assert np.allclose(rotations(vectors).numpy(), expected, atol=1e-6)
    assert torch.autograd.gradcheck(
        rotations, (vectors.clone().requires_grad_(),), eps=1e-4, atol=1e-4
    )
