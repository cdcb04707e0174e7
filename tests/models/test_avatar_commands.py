"""`dressform avatar sample|blend|redress|save|fit` with tiny networks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from blender_addon.contract.avatar_look import AvatarLook, LookSource
from blender_addon.contract.wardrobe import PersonView
from models.avatar import AvatarRenderer
from models.body_fit import BodyFit
from models.body_fit_file import write_body_fit
from models.package import read_manifest
from models.people_view import picture
from models.person_fit import read_fits
from scripts.cli import main
from tests.models.toy_wardrobe import WARDROBE, write_toy_avatar, write_toy_wardrobe
from tests.server.running import frame


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("library")
    write_toy_wardrobe(folder)
    for seed, name in enumerate(("avatar-ada", "avatar-bo")):
        write_toy_avatar(folder, name, seed)
    return folder


@pytest.fixture
def places(library, tmp_path) -> list[str]:
    return ["--library", str(library), "--into", str(tmp_path / "own")]


def test_somebody_is_shown_from_several_sides(library, tmp_path, capsys):
    beside = tmp_path / "photo.png"
    Image.new("RGB", (20, 40), "red").save(beside)
    out = tmp_path / "orbit.png"
    words = ["--turns", "[0, 180]", "--size", "48", "--out", str(out), "--into", str(library)]
    assert main(["avatar", "orbit", "avatar-ada", *words, "--photo", str(beside)]) == 0
    shown = np.array(Image.open(out).convert("RGB")).astype(int)
    left = shown.shape[1] - 2 * 48
    assert (shown[:, : left - 1] == (255, 0, 0)).all(), "the photograph stands on the left"
    front, back = shown[:, left : left + 48], shown[:, left + 48 :]
    assert not np.array_equal(front[20:60], back[20:60])
    assert main(["avatar", "orbit", "avatar-ada", "--poses", "swim", *words]) == 1
    assert "choose among" in capsys.readouterr().err


def test_people_are_drawn_shown_and_kept(places, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    words = ["--out", str(sheet), "--wardrobe", WARDROBE, "--size", "24", *places]
    assert main(["avatar", "sample", "--seeds", "[1, 2]", "--yaws", "[0, 90, 180]", *words]) == 0
    shown = np.array(Image.open(sheet))
    assert shown.shape == (2 * 24, 3 * 24, 3)
    assert not np.array_equal(shown[:24], shown[24:])
    keep = ["avatar", "sample", "--seed", "7", "--save", "Ivy", *words]
    assert main(keep) == 0
    assert main(keep) == 1, "nothing is overwritten unasked"
    assert "already" in capsys.readouterr().err
    kept = read_manifest(tmp_path / "own" / "avatar-ivy")
    assert kept.recipe["look"]["sources"] == [{"seed": 7, "weight": 1.0}]
    look = tmp_path / "look.json"
    wanted = AvatarLook(
        sources=((LookSource(seed=7), 1.0),), parts={"feet": (LookSource(seed=1), 1.0)}
    )
    look.write_text(json.dumps(wanted.to_wire()))
    save = ["avatar", "save", "Jo", "--avatar", WARDROBE, "--look", str(look), *places]
    assert main(save) == 0
    assert main(["avatar", "save", "Kim", *places]) == 1
    assert "seed" in capsys.readouterr().err


def test_two_people_are_blended_and_redressed(library, places, tmp_path, capsys):
    out = tmp_path / "row.png"
    assert (
        main(["avatar", "blend", "avatar-ada", "avatar-bo", "0.3", "--out", str(out), *places]) == 0
    )
    assert np.array(Image.open(out)).shape == (256, 768, 3)
    assert (
        read_manifest(tmp_path / "own" / "avatar-ada-and-bo-0-3").architecture["wardrobe"]
        == WARDROBE
    )
    take = [
        "avatar",
        "redress",
        "avatar-ada",
        "avatar-bo",
        "--take",
        "head",
        "--name",
        "Li",
        *places,
    ]
    assert main(take) == 0
    folders = [tmp_path / "own", library]
    shown = [
        picture(AvatarRenderer.load(folders, each), PersonView(size=96)).astype(float)
        for each in ("avatar-li", "avatar-ada", "avatar-bo")
    ]
    moved, whole = (np.abs(shown[0] - other).mean(axis=(1, 2)) for other in shown[1:])
    # The head is in the upper fifth of the picture; what the network sees about it spreads a little.
    assert moved[:20].sum() > 10 * moved[30:].sum()
    assert whole[30:].sum() > 10 * moved[30:].sum()
    assert main(["avatar", "redress", "avatar-ada", "avatar-bo", "--take", "tail", *places]) == 1
    assert "head" in capsys.readouterr().err


def test_a_photograph_with_a_fit_of_its_own_becomes_an_avatar(places, tmp_path, capsys):
    asked = frame(0, size=96)
    photo, mask, fit = (tmp_path / name for name in ("photo.png", "mask.png", "fit.npz"))
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (96, 96, 3), np.uint8)).save(photo)
    Image.fromarray(np.full((96, 96), 255, np.uint8)).save(mask)
    write_body_fit(fit, BodyFit(body=asked.body, camera=asked.camera, figures={}))
    words = ["avatar", "fit", str(photo), "--name", "Mo", "--wardrobe", WARDROBE, *places]
    words += ["--fit", str(fit), "--mask", str(mask), "--stages", "[w]", "--effort", "0.05"]
    pictures = tmp_path / "pictures"
    assert main([*words, "--pictures", str(pictures)]) == 0, capsys.readouterr().err
    assert {file.stem for file in pictures.iterdir()} == {"1-encoder", "2-w"}
    folder = tmp_path / "own" / "avatar-mo"
    assert set(read_manifest(folder).metrics["distances"]) == {"encoder", "w"}
    np.testing.assert_allclose(read_fits(folder)["pose"][0], asked.body.pose, atol=1e-6)
    assert main(words) == 1
    assert main(["avatar", "fit", str(tmp_path / "none.png"), "--name", "No", *words[5:]]) == 1
