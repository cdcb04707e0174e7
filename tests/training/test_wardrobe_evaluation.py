"""What `evaluate wardrobe` says of drawn people who are as captured ones, all alike, or restless."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from blender_addon.contract.errors import CaptureError, SplitLeak
from training.wardrobe.evaluation import Shown, split_people, wardrobe_figures, write_sheet
from training.wardrobe.samples import Colours, novelty

PEOPLE, POSES = 40, 3


class MeanColours:
    """Features of which a test knows what they are."""

    name = "mean colours"

    def __call__(self, images):
        return images.mean(dim=(2, 3))


def shown(seed, *, between=0.2, within=0.02):
    """People in plain colours: how far these differ between people, and from pose to pose."""
    random = np.random.default_rng(seed)
    own = 0.5 + between * random.standard_normal((PEOPLE, 1, 5, 3))
    colours = own + within * random.standard_normal((PEOPLE, POSES, 5, 3))
    colours = colours.reshape(-1, 5, 3)
    images = torch.from_numpy(colours.mean(axis=1)).float()[:, :, None, None].expand(-1, -1, 8, 8)
    return Shown(images, Colours(colours, np.repeat(np.arange(PEOPLE), POSES)))


def figures(drawn):
    return {
        name: entry["value"]
        for name, entry in wardrobe_figures(drawn, shown(1), shown(2), MeanColours()).items()
    }


def test_drawn_people_who_differ_as_captured_ones_do_are_as_diverse_and_as_near():
    found = figures(shown(3))
    assert found["spread/mean"] == pytest.approx(1.0, abs=0.25)
    assert found["identity"] < 0.3
    assert found["frechet/over_floor"] < 8
    assert found["frechet/images"] == PEOPLE * POSES


def test_people_who_are_all_alike_are_told_from_a_crowd():
    found = figures(shown(3, between=0.02))
    assert found["spread/mean"] < 0.4
    assert found["frechet/over_floor"] > figures(shown(3))["frechet/over_floor"]


def test_people_who_change_with_their_pose_have_no_identity():
    assert figures(shown(3, within=0.3))["identity"] > 0.6


def test_copies_of_captured_people_are_not_new():
    captured, strangers = shown(1).colours, shown(3).colours
    assert novelty(strangers, captured) == pytest.approx(1.0, abs=0.2)
    assert novelty(shown(1).colours, captured) == 0.0
    parted = Colours(strangers.mean.copy(), strangers.person)
    parted.mean[::2, 1:] = np.nan
    assert 0.0 < novelty(parted, captured) < 1.2, "what one does not see does not count"


def test_a_package_that_does_not_say_whom_it_knows_is_not_measured():
    manifest = SimpleNamespace(id="wardrobe-x", data={})
    with pytest.raises(SplitLeak):
        split_people(manifest, ["a", "b"])


def test_both_known_and_unknown_people_are_needed():
    manifest = SimpleNamespace(id="wardrobe-x", data={"captures": [{"id": "a"}, {"id": "b"}]})
    with pytest.raises(CaptureError):
        split_people(manifest, ["a", "b", "c"])
    assert split_people(manifest, ["c", "a", "d", "b"]) == ([1, 3], [0, 2])


def test_the_sheet_keeps_the_poses_of_a_person_together(tmp_path):
    images = torch.linspace(0, 1, 12)[:, None, None, None].expand(12, 3, 4, 4)
    write_sheet(tmp_path / "sheet.png", images, 3)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (8, 24, 3)
    assert (np.diff(sheet[0, ::4, 0].astype(int)) > 0).all()
