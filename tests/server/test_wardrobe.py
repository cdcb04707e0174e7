"""The wardrobe through the product's own handlers and a real server, with tiny networks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from blender_addon.contract import wardrobe
from blender_addon.contract.avatar_look import AvatarLook, LookSource, seeded
from blender_addon.contract.wire import Request
from models.package import load_arrays, read_manifest, write_package
from server.handlers import avatar as avatar_handlers
from server.handlers import wardrobe as handlers
from server.library import Library
from server.operation import Answer, Context
from server.storage import Storage
from tests.models.toy_wardrobe import WARDROBE, write_toy_avatar, write_toy_wardrobe
from tests.server.running import add_model, frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADA, BO, CY = "avatar-ada", "avatar-bo", "avatar-cy"
SEVEN = LookSource(seed=7)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """Ada and Bo have styles, Cy has a texture only, and Di wears another dresser."""
    folder = tmp_path_factory.mktemp("library")
    write_toy_wardrobe(folder)
    for number, each in enumerate((ADA, BO, CY)):
        write_toy_avatar(folder, each, number + 1, styles=each != CY)
    add_model(folder, "dresser-other", kind="dresser")
    own = read_manifest(folder / ADA)
    required = own.requirements | {"dresser": "dresser-other"}
    di = replace(own, id="avatar-di", requirements=required)
    write_package(folder / "avatar-di", di, load_arrays(folder / ADA))
    return folder


@pytest.fixture(scope="module")
def context(library, tmp_path_factory) -> Context:
    storage = Storage.beside(tmp_path_factory.mktemp("own") / "library")
    return Context(library=Library(library, storage.library), device="cpu", storage=storage)


def call(context: Context, handler, asked) -> Answer:
    params, arrays = asked.to_wire()
    request = Request(id="r", operation=asked.operation, timeout=1.0, params=params, arrays=arrays)
    return handler(context, [request])[0]


def render(context: Context, avatar: str, look: AvatarLook | None = None) -> Answer:
    return call(context, avatar_handlers.render, frame(3, avatar=avatar, size=64, look=look))


def rgba(context: Context, avatar: str, look: AvatarLook | None = None) -> np.ndarray:
    return render(context, avatar, look).arrays["rgba"]


def test_samples_can_be_rendered_and_saved_as_they_were_shown(context):
    asked = wardrobe.AvatarSample(
        avatar=WARDROBE, seeds=(1, 2), view=wardrobe.PersonView(size=32, yaw=20.0)
    )
    answer = call(context, handlers.sample, asked)
    images = answer.arrays["images"]
    assert images.shape == (2, 32, 32, 3)
    assert not np.array_equal(images[0], images[1])
    assert answer.params["directions"] == ["first", "second"]
    assert answer.params["looks"] == [seeded(1).to_wire(), seeded(2).to_wire()]
    look = seeded(2)
    saved = call(
        context, handlers.save, wardrobe.AvatarSave(avatar=WARDROBE, name="Eve", look=look)
    )
    assert saved.params["avatar"] == "avatar-eve"
    np.testing.assert_array_equal(rgba(context, WARDROBE, look), rgba(context, "avatar-eve"))
