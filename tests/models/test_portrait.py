"""Portraits: packages, looks, and the frames that they are seen in."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blender_addon.contract.camera import look_at
from blender_addon.contract.errors import BadParameter, PackageDamaged, UnknownModel
from blender_addon.contract.labels import Label
from blender_addon.contract.portraits import (
    NOT_PAINTED,
    PORTRAIT_PASSES,
    HeadShape,
    PortraitLook,
    PortraitSample,
    RegionStyle,
    Source,
)
from models.baked_head import BakeSettings
from models.package import MANIFEST_FILE, WEIGHTS_FILE, read_manifest
from models.portrait import PortraitRenderer, view_camera
from models.portrait_networks import shared_heads
from models.portrait_package import LABELS_FILE, Portrait, load_portrait, write_portrait
from models.portrait_paint import (
    FACE,
)
from models.portrait_square import Square, choose_square
from tests.models.toy_portraits import (
    CODE,
    HEADS,
    PORTRAIT,
    RADIUS,
    SIZE,
    STYLE,
    a_camera,
    a_render,
    write_toy_library,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    return write_toy_library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def renderer(library) -> PortraitRenderer:
    return PortraitRenderer.load(library, PORTRAIT)


def styled(style: RegionStyle, labels=range(17), **shape) -> PortraitLook:
    return PortraitLook(
        portrait=PORTRAIT, shape=HeadShape(**shape), styles=dict.fromkeys(labels, style)
    )


# --- packages ------------------------------------------------------------------------------


def test_a_package_holds_code_styles_camera_and_labels(library, renderer, tmp_path):
    shutil.copytree(library, tmp_path / "l")
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    camera = a_camera()
    own = replace(renderer.portrait, camera=camera, labels=labels)
    manifests = {role: read_manifest(library / f"{role}-toy") for role in ("sof", "siw")}
    folder = tmp_path / "l" / "portrait-fitted"
    preview = Image.fromarray(renderer.view(own.code, own.styles, 0.0, 64))
    write_portrait(folder, own, **manifests, name="F", licence="CC0-1.0", preview=preview)
    manifest, read = load_portrait(folder)
    assert torch.equal(read.code, own.code)
    assert torch.equal(read.styles, own.styles)
    np.testing.assert_array_equal(read.labels, labels)
    for name in ("K", "R", "t", "width", "height"):
        np.testing.assert_array_equal(getattr(read.camera, name), getattr(camera, name))
    assert manifest.requirements == {"sof": "sof-toy", "siw": "siw-toy"}
    small = sum(file.stat().st_size for file in folder.iterdir() if file.name != "preview.png")
    assert small < 100_000
    (folder / LABELS_FILE).write_bytes(b"no picture")
    with pytest.raises(PackageDamaged):
        load_portrait(folder)


@pytest.mark.parametrize(
    ("code", "styles"),
    [((CODE + 1,), (17, STYLE)), ((CODE,), (16, STYLE)), ((CODE,), (17, STYLE + 1))],
)
def test_codes_and_styles_of_other_networks_are_not_written(library, tmp_path, code, styles):
    sof, siw = (read_manifest(library / f"{role}-toy") for role in ("sof", "siw"))
    wrong = Portrait(code=torch.zeros(code), styles=torch.zeros(styles))
    with pytest.raises(BadParameter):
        write_portrait(
            tmp_path / "portrait-x", wrong, sof=sof, siw=siw, name="X", licence="CC0-1.0"
        )


def test_a_portrait_stays_with_the_version_of_its_networks(library, tmp_path):
    shutil.copytree(library, tmp_path / "l")
    weights = tmp_path / "l" / PORTRAIT / WEIGHTS_FILE
    manifest = tmp_path / "l" / "siw-toy" / MANIFEST_FILE
    values = json.loads(manifest.read_text())
    values["architecture"]["mapping_rate"] = 0.5
    manifest.write_text(json.dumps(values))
    with pytest.raises(PackageDamaged, match="another version"):
        PortraitRenderer.load(tmp_path / "l", PORTRAIT)
    shutil.rmtree(tmp_path / "l" / "siw-toy")
    with pytest.raises(UnknownModel, match="siw-toy"):
        PortraitRenderer.load(tmp_path / "l", PORTRAIT)
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(PackageDamaged):
        PortraitRenderer.load(tmp_path / "l", PORTRAIT)
    for other in ("sof-toy", "gone"):
        with pytest.raises(UnknownModel):
            PortraitRenderer.load(library, other)


def test_portraits_of_the_same_networks_share_them(library, renderer, tmp_path):
    shutil.copytree(library, tmp_path / "l")
    text = (tmp_path / "l" / PORTRAIT / MANIFEST_FILE).read_text()
    shutil.copytree(tmp_path / "l" / PORTRAIT, tmp_path / "l" / "portrait-twin")
    twin = tmp_path / "l" / "portrait-twin" / MANIFEST_FILE
    twin.write_text(text.replace(f'"{PORTRAIT}"', '"portrait-twin"'))
    other = PortraitRenderer.load(tmp_path / "l", "portrait-twin")
    assert other.heads is renderer.heads is shared_heads(library / "sof-toy")
    assert other.painter is renderer.painter


# --- looks ---------------------------------------------------------------------------------


def test_codes_blend_linearly_and_move_along_directions(renderer):
    code = renderer.resolver.code
    sources = (Source(), Source(seed=4), Source(head=HEADS[2]), Source(row=0))
    rows = np.full((1, CODE), 0.5, np.float32)
    single = [
        code(PortraitLook(portrait="", shape=HeadShape(blend=((s, 1.0),)), codes=rows))
        for s in sources
    ]
    torch.testing.assert_close(single[0], renderer.portrait.code, rtol=0, atol=0)
    torch.testing.assert_close(single[2], renderer.heads.sof.codes[2], rtol=0, atol=0)
    weights = (0.5, -0.25, 0.25, 0.5)
    blend = tuple(zip(sources, weights, strict=True))
    together = code(PortraitLook(portrait="", shape=HeadShape(blend=blend), codes=rows))
    expected = sum(w * z for w, z in zip(weights, single, strict=True))
    torch.testing.assert_close(together, expected)
    moved = code(PortraitLook(portrait="", shape=HeadShape(directions=(0.0, 2.0))))
    space = renderer.heads.space
    amounts = space.amounts(moved, 3) - space.amounts(renderer.portrait.code, 3)
    torch.testing.assert_close(amounts, torch.tensor([0.0, 2.0, 0.0]), atol=1e-4, rtol=0)


def test_styles_blend_by_region_and_are_pulled_to_the_mean(renderer):
    styles = renderer.resolver.styles
    seeds = [styles(styled(RegionStyle(blend=((Source(seed=s), 1.0),)))) for s in (1, 2)]
    assert not torch.equal(*seeds)
    half = ((Source(seed=1), 0.5), (Source(seed=2), 0.5))
    torch.testing.assert_close(styles(styled(RegionStyle(blend=half))), sum(seeds) / 2)
    hair = styles(styled(RegionStyle(blend=half), labels=[Label.HAIR]))
    changed = (hair != renderer.portrait.styles).any(dim=1).nonzero()[:, 0].tolist()
    assert changed == [Label.HAIR]
    mean = renderer.painter.get_buffer("style_mean")
    torch.testing.assert_close(styles(styled(RegionStyle(truncation=0.0))), mean)
    third = styles(styled(RegionStyle(truncation=0.3)))
    torch.testing.assert_close(third, mean + 0.3 * (renderer.portrait.styles - mean))
    rows = np.random.default_rng(0).normal(size=(2, 17, STYLE)).astype(np.float32)
    look = replace(styled(RegionStyle(blend=((Source(row=1), 1.0),))), style_rows=rows)
    np.testing.assert_array_equal(styles(look).numpy(), rows[1])


@pytest.mark.parametrize(
    ("look", "error"),
    [
        (PortraitLook(portrait="", codes=np.zeros((1, CODE + 1), np.float32)), BadParameter),
        (PortraitLook(portrait="", style_rows=np.zeros((1, 17, 3), np.float32)), BadParameter),
        (PortraitLook(portrait="", shape=HeadShape(directions=(0.0,) * 40)), BadParameter),
        (PortraitLook(portrait="", shape=HeadShape(blend=((Source(head="x"), 1.0),))), UnknownModel),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_networks_is_refused(renderer, look, error):
    with pytest.raises(error):
        renderer.render(a_render(look=look))


def test_samples_vary_what_was_asked_for(renderer):
    def samples(**changes):
        look = PortraitLook(portrait=PORTRAIT)
        asked = PortraitSample(look=look, **{"seeds": (1, 2), "size": 0} | changes)
        return list(renderer.iterate_sample(asked))

    own = renderer.portrait
    one, two = samples()
    assert one.image is None
    assert not np.array_equal(one.code, two.code)
    assert not np.array_equal(one.styles, two.styles)
    (same,) = samples(seeds=(1,), vary=())
    np.testing.assert_array_equal(same.code, own.code.numpy())
    np.testing.assert_array_equal(same.styles, own.styles.numpy())
    (hair,) = samples(seeds=(1,), vary=("styles",), labels=(15,))
    np.testing.assert_array_equal(hair.styles[15], one.styles[15])
    np.testing.assert_array_equal(hair.styles[:15], own.styles.numpy()[:15])
    (near,) = samples(seeds=(1,), near=0.75)
    for drawn, close, mine in (
        (one.code, near.code, own.code),
        (one.styles, near.styles, own.styles),
    ):
        np.testing.assert_allclose(close - mine.numpy(), 0.25 * (drawn - mine.numpy()), atol=1e-5)
    (shown,) = samples(seeds=(1,), size=48, yaw=30.0)
    assert shown.image.shape == (48, 48, 3)
    assert shown.image.std() > 5


# --- frames --------------------------------------------------------------------------------


@pytest.mark.parametrize("eye", [(0.0, 1.2, 0.0), (0.0, -1.2, 1e-9), (1e-7, 1.2, 0.0)])
def test_cameras_above_and_below_see_the_head(renderer, eye):
    camera = look_at(
        np.array(eye), np.zeros(3), np.array([0.0, 0.0, 1.0]), focal=60.0, width=40, height=40
    )
    frame = renderer.render(a_render(camera=camera))
    assert frame["masks"][20, 20, 0] == 255


@pytest.mark.parametrize(
    "camera",
    [
        a_camera(), a_camera(roll=0.8), a_camera(target=(0.25, 0.1, 0.0)),
        a_camera(focal=400.0, target=(0.05, 0.05, 0.0)), a_camera(size=(20, 90)),
    ],
    ids=["whole", "rolled", "panned", "close", "tall"],
)  # fmt: skip
def test_labels_and_depth_are_those_that_the_frames_own_camera_sees(renderer, camera):
    frame = renderer.render(a_render(camera=camera, passes=("labels", "depth")))
    truth = renderer.heads.renderer.label_map(renderer.portrait.code, camera)
    labels, depth = (each.numpy() for each in truth)
    seen = np.where(frame["labels"] == NOT_PAINTED, 0, frame["labels"])
    assert (seen == labels).mean() > 0.93
    both = np.isfinite(frame["depth"]) & np.isfinite(depth)
    assert both.sum() > 0.9 * np.isfinite(depth).sum()
    assert np.median(np.abs(frame["depth"][both] - depth[both])) < 0.004


def test_a_frame_has_the_passes_asked_for_premultiplied(renderer):
    frame = renderer.render(a_render(passes=PORTRAIT_PASSES))
    assert list(frame) == list(PORTRAIT_PASSES)
    rgba, masks = frame["rgba"], frame["masks"]
    assert {frame[name].dtype for name in PORTRAIT_PASSES} == {np.dtype("u1"), np.dtype("f4")}
    assert (rgba[..., :3] <= rgba[..., 3:]).all()
    assert len(np.unique(rgba[..., 3])) > 4, "edges are soft"
    np.testing.assert_array_equal(rgba[..., 3], masks[..., 0])
    assert not masks[..., 1].any()
    np.testing.assert_array_equal(np.isfinite(frame["depth"]), rgba[..., 3] > 0)
    face = np.isin(frame["labels"], FACE)
    assert masks[face, 2].mean() > masks[~face, 2].mean() + 150
    only = renderer.render(a_render(passes=("depth",)))
    assert list(only) == ["depth"]
    np.testing.assert_array_equal(only["depth"], frame["depth"])


def test_a_head_behind_the_camera_gives_an_empty_frame(renderer):
    asked = a_render(camera=a_camera(target=(0.6, 0.4, 2.4)), passes=PORTRAIT_PASSES)
    frame = renderer.render(asked)
    assert not frame["rgba"].any()
    assert np.isinf(frame["depth"]).all()
    assert (frame["labels"] == NOT_PAINTED).all()


def test_the_background_makes_the_square_opaque(renderer):
    camera = a_camera(focal=70.0)
    cut, whole = (
        renderer.render(a_render(camera=camera, background=b, passes=PORTRAIT_PASSES))
        for b in (False, True)
    )
    inside = whole["labels"] != NOT_PAINTED
    core = inside & np.roll(inside, 2, 0) & np.roll(inside, -2, 0)
    core &= np.roll(inside, 2, 1) & np.roll(inside, -2, 1)
    assert (whole["rgba"][core, 3] == 255).all()
    assert (cut["rgba"][core, 3] < 255).any()
    np.testing.assert_array_equal(whole["masks"], cut["masks"])


def test_turning_the_camera_moves_the_picture_and_does_not_paint_again(renderer, monkeypatch):
    painted = []
    real = renderer.painter.generator.paint
    monkeypatch.setattr(
        renderer.painter.generator, "paint", lambda *a: painted.append(1) or real(*a)
    )
    eye = (0.11, 0.07, 1.25)
    first = renderer.render(a_render(camera=a_camera(eye, focal=50.0)))
    turned = renderer.render(a_render(camera=a_camera(eye, (0.1, 0.0, 0.0), focal=50.0, roll=0.3)))
    assert len(painted) == 1
    assert not np.array_equal(first["rgba"], turned["rgba"])
    look = styled(RegionStyle(blend=((Source(seed=5), 1.0),)))
    renderer.render(a_render(camera=a_camera(eye, focal=50.0), look=look))
    assert len(painted) == 2


def test_labels_painted_by_hand_are_painted(renderer):
    asked = a_render(passes=PORTRAIT_PASSES)
    own = renderer.render(asked)
    as_seen = np.where(own["labels"] == NOT_PAINTED, 0, own["labels"]).astype(np.uint8)
    same = renderer.render(replace(asked, labels=as_seen))
    assert np.abs(same["rgba"].astype(int) - own["rgba"]).mean() < 6
    by_hand = as_seen.copy()
    by_hand[20:28, 20:28] = Label.GLASSES
    by_hand[:10] = 0
    changed = renderer.render(replace(asked, labels=by_hand))
    assert (changed["labels"][22:26, 22:26] == Label.GLASSES).all()
    assert not changed["rgba"][2:8].any(), "beyond the frame the head has its own labels"
    there = changed["rgba"][22:26, 22:26].astype(int)
    assert np.abs(there - same["rgba"][22:26, 22:26]).mean() > 10
    wide = replace(asked, camera=a_camera(focal=40.0), labels=np.zeros((44, 56), np.uint8))
    nothing = renderer.render(wide)
    assert not nothing["rgba"].any()
    assert np.isinf(nothing["depth"]).all()


def test_a_baked_head_serves_the_viewport(library):
    renderer = PortraitRenderer.load(library, PORTRAIT)
    asked = a_render(passes=PORTRAIT_PASSES, geometry="baked")
    assert not renderer.baked(asked.look)
    coarse = renderer.render(asked)
    assert coarse["masks"][24, 24, 0] == 255, "a head that is not baked is marched coarsely"
    settings_ = BakeSettings(views=10, size=24, resolution=20)
    *steps, (share, head) = renderer.iterate_bake(asked.look, settings_)
    assert len(steps) == 10
    assert share == 1.0
    assert renderer.baked(asked.look)
    baked = renderer.render(asked)
    square = choose_square(asked.camera, RADIUS, SIZE).scaled(2 * SIZE)
    truth = head.label_map(square.camera).labels
    inside = float((truth > 0).float().mean())
    shown = (baked["masks"][..., 0] > 127).mean()
    whole = 4 * SIZE * SIZE * inside / square.camera.K[0, 0] ** 2 * asked.camera.K[0, 0] ** 2
    assert shown * 48 * 48 == pytest.approx(whole, rel=0.1)
    assert list(renderer.iterate_bake(asked.look, settings_)) == [(1.0, head)]


def digest_of(frame) -> str:
    return hashlib.sha256(b"".join(frame[name].tobytes() for name in PORTRAIT_PASSES)).hexdigest()


def test_equal_requests_give_equal_bytes_in_two_processes(library, renderer):
    look = styled(RegionStyle(blend=((Source(seed=3), 1.0),)), blend=((Source(seed=9), 1.0),))
    asked = a_render(look=look, passes=PORTRAIT_PASSES)
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "import hashlib, pickle\n"
        "from pathlib import Path\n"
        "from models.portrait import PortraitRenderer\n"
        f"renderer = PortraitRenderer.load(Path({str(library)!r}), {PORTRAIT!r})\n"
        f"frame = renderer.render(pickle.loads({pickle.dumps(asked)!r}))\n"
        f"parts = b''.join(frame[name].tobytes() for name in {PORTRAIT_PASSES!r})\n"
        "print(hashlib.sha256(parts).hexdigest())\n"
    )
    renderer.render(a_render(0x60))  # whatever came before does not count
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == digest_of(renderer.render(asked))


def test_views_look_at_the_head_as_portraits_do():
    camera = view_camera(0.0, 100)
    assert isinstance(Square(camera, camera).to_square, np.ndarray)
    edge = camera.project(np.array([0.21, 0.0, 0.0]))
    assert edge == pytest.approx(np.array([100.0, 50.0, 1.3]))
    assert view_camera(90.0, 100).center == pytest.approx(np.array([1.3, 0.0, 0.0]))
