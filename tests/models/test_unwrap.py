"""Photographs on the body's surface: seen texels hold the photograph, hidden ones nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch

from models.body import Body, load_body, skin
from models.package import DEFAULT_LIBRARY
from models.shell import vertex_normals
from models.texture import MipChain, dressing_features
from models.unwrap import Unwrapped, UvLayout, averaged, filled, unwrap

if TYPE_CHECKING:
    from torch import Tensor

SIZE = 192


class Scene(NamedTuple):
    """A body in T-pose before a camera, painted with smooth colours."""

    body: Body
    layout: UvLayout
    vertices: Tensor
    K: Tensor
    painted: Tensor

    def photograph(self, texture: Tensor) -> tuple[Tensor, Tensor]:
        """Return colour (3, H, W) and coverage (H, W) of the body with a texture (3, S, S), 0…1."""
        chain = MipChain.build(torch.cat([texture, torch.ones_like(texture[:1])]))
        uv = self.body.uv[self.body.uv_faces]
        seen = dressing_features(
            self.vertices[None], self.body.faces, uv, self.K[None], (SIZE, SIZE), chain
        )
        mask = seen.features[0, 3].clamp(0, 1)
        return (seen.features[0, :3] / mask.clamp_min(1e-6)).clamp(0, 1), mask


@pytest.fixture(scope="module")
def scene() -> Scene:
    body = load_body(DEFAULT_LIBRARY / "body-cc0")
    pose = torch.eye(3).expand(1, 55, 3, 3)
    none = torch.zeros(1, 0)
    world = skin(body, pose, none, none, torch.zeros(1, 3)).vertices[0]
    # Half a turn about x: the camera looks along +z with y down.
    centre = (world.amax(dim=0) + world.amin(dim=0)) / 2
    vertices = (world - centre) * torch.tensor([1.0, -1.0, -1.0]) + torch.tensor([0.0, 0.0, 2.6])
    K = torch.tensor([[1.15 * SIZE, 0, SIZE / 2], [0, 1.15 * SIZE, SIZE / 2], [0, 0, 1]])
    layout = UvLayout.of(body, 128)
    # Colour follows height and depth: mirror images look alike, front and back differ.
    x, y, z = layout.rest.unbind(1)
    colours = torch.stack([0.5 + 0.4 * torch.sin(6 * y), 0.5 + 2.0 * z, 0.3 + 0.4 * x.abs()], dim=1)
    view = Unwrapped(layout.image(colours.clamp(0, 1) * 2 - 1), layout.covered[None].float())
    return Scene(body, layout, vertices, K, (filled(layout, view) + 1) / 2)


@pytest.fixture(scope="module")
def photograph(scene: Scene) -> tuple[Tensor, Tensor]:
    return scene.photograph(scene.painted)


def test_unwrapped_and_rendered_again_gives_the_photograph_inside_the_body(
    scene: Scene, photograph: tuple[Tensor, Tensor]
) -> None:
    colour, mask = photograph
    view = unwrap(scene.layout, colour, mask, scene.vertices, scene.K)
    again, _ = scene.photograph((filled(scene.layout, view) + 1) / 2)
    inside = mask > 0.99
    assert (again - colour).abs().mean(dim=0)[inside].mean() < 0.01


def test_only_what_faces_the_camera_is_seen(
    scene: Scene, photograph: tuple[Tensor, Tensor]
) -> None:
    view = unwrap(scene.layout, *photograph, scene.vertices, scene.K)
    seen = scene.layout.values(view.visibility)[:, 0]
    template = scene.body.v_template
    front = scene.layout.at_texels(vertex_normals(template[None], scene.body.faces)[0])[:, 2]
    assert seen[front > 0.9].mean() > 0.8
    assert seen[front < -0.2].amax() == 0.0
    assert (view.colour[:, (view.visibility == 0)[0]] == 0).all()


def test_background_never_bleeds_into_the_texture(
    scene: Scene, photograph: tuple[Tensor, Tensor]
) -> None:
    colour, mask = photograph
    # A body fit that is two pixels off, before a background of a colour that nobody wears.
    strange = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    photo = torch.where(mask > 0.5, colour * mask + strange * (1 - mask), strange)
    moved = scene.vertices + torch.tensor([2.0 * 2.6 / scene.K[0, 0], 0.0, 0.0])
    view = unwrap(scene.layout, photo, mask, moved, scene.K)
    true = scene.layout.values(scene.painted * 2 - 1)
    off = (scene.layout.values(view.colour) - true).abs()
    seen = scene.layout.values(view.visibility)[:, 0] > 0.05
    assert off[seen].amax() < 0.6


def test_photographs_average_by_how_well_they_see() -> None:
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 2, 2)
    here = Unwrapped(red, torch.tensor([[[1.0, 0.5], [0.0, 0.0]]]))
    there = Unwrapped(-red, torch.tensor([[[0.0, 0.5], [1.0, 0.0]]]))
    both = averaged([here, there])
    torch.testing.assert_close(both.colour[0], torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    torch.testing.assert_close(both.visibility[0], torch.tensor([[1.0, 0.5], [1.0, 0.0]]))


def test_hidden_texels_take_their_colour_from_the_other_side_of_the_body(scene: Scene) -> None:
    right = (scene.layout.rest[:, :1] < 0).float()
    coloured = scene.layout.image(scene.layout.values(scene.painted * 2 - 1) * right)
    whole = filled(scene.layout, Unwrapped(coloured, scene.layout.image(right)))
    off = (scene.layout.values(whole) - scene.layout.values(scene.painted * 2 - 1)).abs()
    assert off.mean() < 0.02
    assert (whole.abs().sum(dim=0) > 0).all()  # gaps between islands are filled, too
