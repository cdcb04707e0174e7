"""A library of one portrait with tiny networks: a ball in random colours, made in a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from blender_addon.contract.camera import Camera, look_at
from blender_addon.contract.portraits import PortraitLook, PortraitRender
from models.package import Manifest
from models.portrait_package import Portrait, write_portrait
from models.siw_config import SiwConfig
from models.siw_package import Siw, save_siw
from models.sof import Sof, SofConfig
from models.sof_package import write_sof
from tests.training.toy_heads import toy_camera

if TYPE_CHECKING:
    from pathlib import Path

PORTRAIT = "portrait-toy"
HEADS = tuple(f"h{k:04d}" for k in range(6))
CODE = 6
STYLE = 10
SIZE = 32
RADIUS = 0.35
"""Of the sphere that holds a head, metres."""

PAINTER = SiwConfig(
    size=SIZE,
    label_size=SIZE,
    encoder=(6, 8, 12),
    base=256,
    widest=12,
    style=STYLE,
    code=4,
    mapping="regions",
    mapping_layers=2,
    mapping_width=12,
    spade=(16, 32),
    spade_hidden=5,
    spade_kernel=(3, 1),
    style_bias=True,
    colour_from=16,
)


def toy_sof(seed: int = 0) -> tuple[Sof, torch.Tensor]:
    """A SOF whose rays all end 0.3 m within the sphere, where labels come by chance."""
    torch.manual_seed(seed)
    sof = Sof(SofConfig(code=CODE, hidden=12, width=16, layers=3))
    with torch.no_grad():
        sof.marcher.step.weight.zero_()
        sof.marcher.step.bias.fill_(0.6)
        sof.classifier.weight.normal_()
        sof.classifier.bias.zero_()
        sof.classifier.bias[0] = -50.0
    return sof.eval(), torch.randn(len(HEADS), CODE)


def toy_painter(seed: int = 0) -> Siw:
    torch.manual_seed(seed)
    painter = Siw(PAINTER)
    for parameter in painter.generator.parameters():
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.3)
    painter.measure_style_mean(64)
    return painter.eval()


def write_toy_library(library: Path) -> Path:
    """Write a SOF, a SIW StyleGAN and a portrait of both."""
    sof, codes = toy_sof()
    heads = write_sof(
        library / "sof-toy", sof, codes, HEADS,
        name="Toy heads", licence="CC0-1.0", recipe={}, data={}, metrics={},
    )  # fmt: skip
    painter = toy_painter()
    described = Manifest(
        kind="siw", id="siw-toy", name="Toy painter", licence="CC0-1.0",
        architecture=PAINTER.to_plain(),
    )  # fmt: skip
    written = save_siw(library / "siw-toy", painter, described)
    with torch.no_grad():
        own = Portrait(code=codes[0], styles=painter.draw(1, seed=0)[0])
    write_portrait(library / PORTRAIT, own, sof=heads, siw=written, name="Toy", licence="CC0-1.0")
    return library


def a_render(size: int = 48, azimuth: float = 0.4, **changes) -> PortraitRender:
    """A request whose frame sees the whole head."""
    camera = changes.pop("camera", None) or toy_camera(azimuth, 0.1, size)
    look = changes.pop("look", None) or PortraitLook(portrait=PORTRAIT)
    return PortraitRender(look=look, camera=camera, **changes)


def a_camera(eye=(0.3, 0.2, 1.2), target=(0.0, 0.0, 0.0), *, focal=80.0, roll=0.0, size=(56, 44)):
    """A camera that looks at a point, rolled by an angle."""
    up, (width, height) = np.array([0.0, 1.0, 0.0]), size
    seen = look_at(np.array(eye), np.array(target), up, focal=focal, width=width, height=height)
    c, s = np.cos(roll), np.sin(roll)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return Camera(K=seen.K, R=turn @ seen.R, t=turn @ seen.t, width=width, height=height)
