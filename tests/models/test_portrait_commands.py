"""`dressform portrait sample|save|render|orbit` with tiny networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from models.package import read_manifest
from models.portrait_package import load_portrait
from scripts.cli import main
from tests.models.toy_portraits import HEADS, PORTRAIT, write_toy_library


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    torch.set_num_threads(1)
    return write_toy_library(tmp_path_factory.mktemp("library"))


def networks(library) -> list[str]:
    return ["--sof", "sof-toy", "--siw", "siw-toy", "--library", str(library)]


def test_a_sheet_has_a_row_for_each_seed_and_a_column_for_each_view(library, tmp_path):
    out = tmp_path / "sheet.png"
    words = ["--seeds", "[1, 2]", "--yaws", "[-20, 0, 20]", "--size", "24"]
    assert main(["portrait", "sample", str(out), *networks(library), *words]) == 0
    sheet = np.array(Image.open(out))
    assert sheet.shape == (2 * 24, 3 * 24, 3)
    assert not np.array_equal(sheet[:24], sheet[24:])


def test_a_seed_is_saved_rendered_and_orbited(library, tmp_path, capsys):
    save = ["portrait", "save", "Ada B", "--seed", "7", *networks(library)]
    assert main(save) == 0
    manifest, content = load_portrait(library / "portrait-ada-b")
    assert manifest.recipe["seed"] == manifest.recipe["style_seed"] == 7
    assert main(save) == 1, "nothing is overwritten unasked"
    assert "already" in capsys.readouterr().err
    other = [*save, "--replace", "true", "--head", HEADS[1], "--truncation", "0.5"]
    assert main(other) == 0
    replaced = load_portrait(library / "portrait-ada-b")[1]
    assert not torch.equal(replaced.code, content.code)
    assert not torch.equal(replaced.styles, content.styles)
    assert "preview.png" in read_manifest(library / "portrait-ada-b").files
    frame, labels = tmp_path / "frame.png", tmp_path / "labels.png"
    words = ["--library", str(library), "--width", "40", "--height", "32", "--style-seed", "3"]
    words += ["--labels", "[15, 16]", "--show-labels", str(labels)]
    assert main(["portrait", "render", "portrait-ada-b", str(frame), *words]) == 0
    with Image.open(frame) as image:
        assert (image.mode, image.size) == ("RGBA", (40, 32))
    with Image.open(labels) as image:
        assert len(image.getcolors()) > 2
    row = tmp_path / "row.png"
    words = ["--library", str(library), "--frames", "3", "--size", "24"]
    assert main(["portrait", "orbit", PORTRAIT, str(row), *words]) == 0
    assert np.array(Image.open(row)).shape == (24, 72, 3)
    film = tmp_path / "film.mp4"
    words = ["--library", str(library), "--frames", "4", "--size", "32"]
    assert main(["portrait", "orbit", PORTRAIT, str(film), *words]) == 0
    assert film.stat().st_size > 500
    assert main(["portrait", "orbit", PORTRAIT, str(tmp_path / "film.gif"), *words]) == 1
