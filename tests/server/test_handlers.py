"""The product's own handlers, with the free body and an untrained avatar that wears it."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from blender_addon.client import Client
from blender_addon.contract import operations as ops
from blender_addon.contract.errors import BodyMismatch, PackageDamaged, SetupError, UnknownModel
from blender_addon.contract.wire import Arrays, Request
from models.body import load_body, skin
from models.dresser import Dresser, DresserConfig
from models.package import DEFAULT_LIBRARY, WEIGHTS_FILE, Manifest, write_package
from server import handlers
from server.handlers import avatar, body
from server.library import Library
from server.operation import Context
from tests.server.running import frame, start_product, worker_pid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from blender_addon.local_server import LocalServer

BODY = "body-cc0"


def request(operation: str, params: dict, arrays: Arrays | None = None) -> Request:
    return Request(id="r", operation=operation, timeout=1.0, params=params, arrays=arrays or {})


def write_avatar(library: Path, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    texture = torch.randn((16, 64, 64), generator=generator)
    manifest = Manifest(
        kind="avatar", id="eve", name="Eve", licence="CC0-1.0",
        requirements={"body": BODY, "dresser": "dress"}, architecture={"betas": [0.0] * 10},
    )  # fmt: skip
    write_package(library / "eve", manifest, {"texture": texture})


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of the free body, an untrained dresser and an avatar of noise."""
    library = tmp_path_factory.mktemp("library")
    shutil.copytree(DEFAULT_LIBRARY / BODY, library / BODY)
    torch.manual_seed(0)
    config = DresserConfig()
    manifest = Manifest(
        kind="dresser", id="dress", name="Dress", licence="CC0-1.0", architecture=config.to_plain()
    )
    write_package(library / "dress", manifest, Dresser(config).state_dict())
    write_avatar(library, 1)
    return library


@pytest.fixture
def context(untrained: Path) -> Context:
    return Context(library=Library(untrained), device="cpu")


def render(context: Context, asked: ops.AvatarRender) -> dict[str, np.ndarray]:
    return avatar.render(context, [request(ops.AVATAR_RENDER, *asked.to_wire())])[0].arrays


def test_a_template_poses_like_the_body_itself(context):
    answer = body.template(context, [request(ops.BODY_TEMPLATE, {"body": BODY})])[0]
    params, arrays = answer.params, answer.arrays
    free = load_body(context.library.package(BODY))
    assert (params["id"], params["digest"]) == (BODY, context.library.digest(BODY))
    betas = np.random.default_rng(0).normal(size=(params["betas"],)).astype(np.float32)
    rest = skin(
        free, torch.eye(3).expand(1, 55, 3, 3), torch.from_numpy(betas)[None],
        torch.zeros(1, params["expressions"]), torch.zeros(1, 3),
    )  # fmt: skip
    vertices = arrays["vertices"] + arrays["shape_dirs"] @ betas
    joints = arrays["joints"] + arrays["joint_shape_dirs"] @ betas
    assert np.abs(vertices - rest.vertices[0].numpy()).max() < 1e-5
    assert np.abs(joints - rest.joints[0].numpy()).max() < 1e-5
    assert arrays["faces"].max() < len(vertices)
    assert arrays["uv_faces"].max() < len(arrays["uv"])
    assert arrays["expression_dirs"].shape == (*vertices.shape, params["expressions"])
    assert {str(a.dtype) for a in arrays.values()} == {"float32", "int32", "uint8"}


def test_template_weights_are_the_strongest_ones(context):
    weights = load_body(context.library.package(BODY)).skin_weights.numpy()
    joints, values = body.strongest_weights(weights)
    assert values.sum(axis=1) == pytest.approx(np.ones(len(values)), abs=1e-5)
    assert (np.diff(values, axis=1) <= 0).all()
    assert np.array_equal(joints[:, 0], weights.argmax(axis=1))
    rows = np.zeros((2, 55), np.float32)
    rows[0, [3, 54, 7, 8, 9]] = 0.3, 0.25, 0.2, 0.15, 0.1
    rows[1, 5] = 1.0
    joints, values = body.strongest_weights(rows)
    assert joints[0].tolist() == [3, 54, 7, 8]
    assert values[0] == pytest.approx(np.array([0.3, 0.25, 0.2, 0.15]) / 0.9)
    assert values[1].tolist() == [1, 0, 0, 0]


def test_templates_of_other_things_are_refused(context):
    for name in ("eve", "gone"):
        with pytest.raises(UnknownModel):
            body.template(context, [request(ops.BODY_TEMPLATE, {"body": name})])


def test_a_render_has_the_passes_asked_for(context):
    asked = frame(1, avatar="eve", size=96)
    images = render(context, asked)
    assert images["rgba"].shape == (96, 96, 4)
    assert images["masks"].shape == (96, 96, 3)
    assert np.isfinite(images["depth"]).any()
    only = render(context, frame(1, avatar="eve", size=96, passes=("depth",)))
    assert list(only) == ["depth"]
    assert np.array_equal(only["depth"], images["depth"])


def test_only_bodies_are_worn_and_only_avatars_rendered(context):
    for name in (BODY, "dress", "gone"):
        with pytest.raises(UnknownModel):
            render(context, frame(1, avatar=name))
    params, arrays = frame(1, avatar="eve").to_wire()
    many = arrays | {"betas": np.zeros(300, np.float32)}
    with pytest.raises(BodyMismatch):
        avatar.render(context, [request(ops.AVATAR_RENDER, params, many)])


def test_a_changed_avatar_takes_the_old_ones_place(tmp_path, untrained):
    library = tmp_path / "library"
    shutil.copytree(untrained, library)
    context = Context(library=Library(library), device="cpu")
    asked = frame(1, avatar="eve", size=96)
    before, loaded = render(context, asked), avatar.loaded_avatar(context, "eve")
    assert avatar.loaded_avatar(context, "eve") is loaded
    write_avatar(library, 2)
    assert not np.array_equal(render(context, asked)["rgba"], before["rgba"])
    weights = library / "eve" / WEIGHTS_FILE
    write_avatar(library, 3)
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(PackageDamaged):
        render(context, asked)
    write_avatar(library, 1)
    assert np.array_equal(render(context, asked)["rgba"], before["rgba"])


def test_a_limited_number_of_avatars_stays_in_memory(context, monkeypatch):
    monkeypatch.setattr(avatar, "MAX_LOADED", 1)
    first = avatar.loaded_avatar(context, "eve")
    shutil.copytree(context.library.folders[0] / "eve", context.library.folders[0] / "eva")
    text = (context.library.folders[0] / "eva" / "model.json").read_text()
    (context.library.folders[0] / "eva" / "model.json").write_text(text.replace('"eve"', '"eva"'))
    avatar.loaded_avatar(context, "eva")
    assert avatar.loaded_avatar(context, "eve") is not first


def test_avatars_of_two_libraries_share_a_dresser_and_have_one_digest(context, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(context.library.folders[0] / "eve", own / "mine")
    manifest = own / "mine" / "model.json"
    manifest.write_text(manifest.read_text().replace('"eve"', '"mine"'))
    both = Context(
        library=Library(context.library.folders[0], own, tmp_path / "none"), device="cpu"
    )
    assert {BODY, "dress", "eve", "mine"} <= {each.id for each in both.library.manifests()}
    asked = frame(0, avatar="mine", size=64)
    expected = render(context, frame(0, avatar="eve", size=64))
    assert np.array_equal(render(both, asked)["rgba"], expected["rgba"])
    loaded = avatar.loaded_avatar(both, "mine")
    assert loaded.renderer.digest == loaded.digest == both.library.digest("mine")
    # The first library's own package wins over one of the same id in the second.
    shutil.copytree(own / "mine", own / "eve")
    assert both.library.package("eve") == context.library.folders[0] / "eve"


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_a_missing_gpu_is_named(untrained):
    context = Context(library=Library(untrained), device="cuda:0")
    with pytest.raises(SetupError, match="cuda:0"):
        handlers.prepare(context)
    context.device = "auto"
    handlers.prepare(context)
    assert context.device == "cpu"


# --- the same through a server, whose processes are killed -----------------------------------


@pytest.fixture
def real_server(untrained: Path, tmp_path: Path) -> Iterator[LocalServer]:
    server = start_product(tmp_path, untrained, "--cache-mb", "0")
    yield server
    server.stop()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_animation_of_an_avatar_survives_worker_and_server(real_server):
    def animation(blows: dict[int, str]) -> list[Arrays]:
        frames: list[Arrays] = []
        with Client(real_server.endpoint) as client:
            for number in range(48):
                victim = blows.get(number)
                if victim:
                    pid = worker_pid(client) if victim == "worker" else real_server.pid
                    client.submit(
                        ops.AVATAR_RENDER, *frame(99, avatar="eve", size=256).to_wire(), timeout=60
                    )
                    os.kill(pid, signal.SIGKILL)
                reply = client.call(
                    ops.AVATAR_RENDER, *frame(number, avatar="eve", size=128).to_wire(),
                    timeout=60, patience=240, revive=real_server.ensure_running,
                )  # fmt: skip
                frames.append({name: np.array(array) for name, array in reply.arrays.items()})
        return frames

    undisturbed, disturbed = animation({}), animation({16: "worker", 32: "server"})
    assert len(disturbed) == 48
    for number, (one, other) in enumerate(zip(undisturbed, disturbed, strict=True)):
        for name in ops.RENDER_PASSES:
            assert np.array_equal(one[name], other[name]), f"frame {number}, {name}"
    assert not np.array_equal(undisturbed[0]["rgba"], undisturbed[47]["rgba"])
