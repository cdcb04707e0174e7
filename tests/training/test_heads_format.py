"""Sets of heads on disk: what is written is read, and what is wrong is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from blender_addon.contract.camera import Camera, look_at
from blender_addon.contract.errors import HeadSetError
from blender_addon.contract.labels import PALETTE
from training.heads.format import (
    DESCRIPTION_FILE,
    Head,
    HeadSet,
    HeadSetWriter,
    HeadView,
)

SIZE = 16


def camera(turn: float) -> Camera:
    eye = np.array([np.sin(turn), 0.1, np.cos(turn)])
    return look_at(eye, np.zeros(3), np.array([0.0, 1.0, 0.0]), focal=40.0, width=SIZE, height=SIZE)


def maps(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 17, (SIZE, SIZE)).astype(np.uint8),
        rng.uniform(0, 2, (SIZE, SIZE)).astype(np.float32),
        rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8),
    )


def heads_of(count: int = 3, views: int = 2) -> list[Head]:
    return [
        Head(
            id=f"h{k}",
            split="held-out" if k == count - 1 else "train",
            attributes={"hat": k == 1},
            views=tuple(
                HeadView(
                    name=f"h{k}_{j}",
                    head=f"h{k}",
                    split="held-out" if j == views - 1 else "train",
                    camera=camera(k + 0.1 * j),
                )
                for j in range(views)
            ),
        )
        for k in range(count)
    ]


@pytest.fixture(params=["heads", "portraits"])
def folder(request, tmp_path):
    writer = HeadSetWriter(tmp_path, kind=request.param, size=SIZE)
    heads = heads_of()
    # Backwards: the order of writing must not matter.
    for seed, view in reversed(list(enumerate(v for h in heads for v in h.views))):
        labels, depth, image = maps(seed)
        second = {"depth": depth} if request.param == "heads" else {"image": image}
        writer.add(view.name, labels, **second)
    writer.close(licence="CC0-1.0", source={"seed": 3}, heads=heads)
    return tmp_path


def changed(folder, change) -> None:
    path = folder / DESCRIPTION_FILE
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def test_what_is_written_is_read(folder):
    opened = HeadSet.open(folder)
    assert [head.id for head in opened.heads] == ["h0", "h1", "h2"]
    assert opened.heads[1].attributes == {"hat": True}
    for seed, view in enumerate(opened.views(None, heads=None)):
        labels, depth, image = maps(seed)
        np.testing.assert_array_equal(opened.labels(view), labels)
        if opened.kind == "heads":
            assert np.abs(opened.depth(view) - depth).max() <= 0.51e-4
        else:
            np.testing.assert_array_equal(opened.image(view), image)


def test_label_map_and_camera_stay_paired_when_shuffled(folder):
    opened = HeadSet.open(folder)
    views = opened.views(None, heads=None)
    for index in np.random.default_rng(1).permutation(len(views)):
        head, place = divmod(int(index), 2)
        np.testing.assert_allclose(views[index].camera.t, camera(head + 0.1 * place).t, atol=1e-12)
        np.testing.assert_array_equal(opened.labels(views[index]), maps(int(index))[0])


def test_training_sees_no_held_out_view_and_no_held_out_head(folder):
    opened = HeadSet.open(folder)
    assert [view.name for view in opened.views()] == ["h0_0", "h1_0"]
    assert [view.name for view in opened.views("held-out")] == ["h0_1", "h1_1"]
    assert [view.name for view in opened.views(None, heads="held-out")] == ["h2_0", "h2_1"]


def test_label_files_are_indexed_with_the_palette(folder):
    with Image.open(folder / "labels" / "h0_0.png") as image:
        assert image.mode == "P"
        shown = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(shown, PALETTE[maps(0)[0]])


def test_the_digest_follows_the_pixels(folder):
    before = HeadSet.open(folder).digest
    assert HeadSet.open(folder).digest == before
    Image.fromarray(np.zeros((SIZE, SIZE), np.uint8)).save(folder / "labels" / "h1_0.png")
    assert HeadSet.open(folder).digest != before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda f: f.update(format=9), "format"),
        (lambda f: f.update(kind="hands"), "kind"),
        (lambda f: f.update(size="big"), "size"),
        (lambda f: f["labels"].reverse(), "labels"),
        (lambda f: f.update(licence=""), "licence"),
        (lambda f: f.update(source=[]), "source"),
        (lambda f: f.update(heads=[]), "heads"),
        (lambda f: f["heads"][1].pop("split"), r"heads\[1\]: split"),
        (lambda f: f["heads"][1]["views"][0].update(name="../x"), r"heads\[1\].views\[0\].name"),
        (lambda f: f["heads"][1]["views"][0].update(K=[[1]]), r"heads\[1\].views\[0\].*camera.K"),
        (lambda f: f["heads"][0]["views"][1].pop("t"), r"heads\[0\].views\[1\].*camera.t"),
        (lambda f: f["heads"][0].update(id="h1"), "h1.* twice"),
        (lambda f: f["heads"][0]["views"][0].update(name="h2_0"), "h2_0.* twice"),
        (lambda f: f["heads"][0]["views"][0].update(name="gone"), "gone.png is missing"),
    ],
)
def test_what_is_wrong_in_the_description_is_named(folder, change, named):
    changed(folder, change)
    with pytest.raises(HeadSetError, match=named):
        HeadSet.open(folder)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (np.full((SIZE, SIZE), 17, np.uint8), "17"),
        (np.zeros((SIZE, 4), np.uint8), "size"),
        (np.zeros((SIZE, SIZE, 3), np.uint8), "RGB"),
    ],
    ids=["no label", "size", "colours"],
)
def test_a_wrong_label_file_is_named(folder, content, named):
    Image.fromarray(content).save(folder / "labels" / "h0_1.png")
    opened = HeadSet.open(folder)
    with pytest.raises(HeadSetError, match=rf"h0_1\.png.*{named}"):
        opened.labels(opened.heads[0].views[1])


def test_a_damaged_file_is_named(folder):
    (folder / "labels" / "h0_0.png").write_bytes(b"no image")
    opened = HeadSet.open(folder)
    with pytest.raises(HeadSetError, match=r"h0_0\.png"):
        opened.labels(opened.heads[0].views[0])


def test_a_set_is_never_written_over(folder):
    with pytest.raises(HeadSetError, match="already"):
        HeadSetWriter(folder, kind="heads", size=SIZE)


def test_half_a_set_is_no_set(tmp_path):
    writer = HeadSetWriter(tmp_path, kind="heads", size=SIZE)
    labels, depth, _ = maps(0)
    writer.add("h0_0", labels, depth=depth)
    with pytest.raises(HeadSetError, match=r"heads\.json is missing"):
        HeadSet.open(tmp_path)
    with pytest.raises(HeadSetError, match=r"h0_1\.png is missing"):
        writer.close(licence="CC0-1.0", source={}, heads=heads_of(1))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"labels": np.full((SIZE, SIZE), 99, np.uint8)}, "99"),
        ({"labels": np.zeros((4, 4), np.uint8)}, "pixels wide"),
        ({"depth": np.full((SIZE, SIZE), 7.0, np.float32)}, "depth"),
        ({"depth": np.full((SIZE, SIZE), np.nan, np.float32)}, "depth"),
        ({"depth": None}, "come with depth"),
        ({"image": np.zeros((SIZE, SIZE, 3), np.uint8)}, "come with depth"),
    ],
)
def test_the_writer_refuses_what_is_not_of_the_format(tmp_path, wrong, named):
    labels, depth, _ = maps(0)
    given = {"labels": labels, "depth": depth, **wrong}
    with pytest.raises(HeadSetError, match=named):
        HeadSetWriter(tmp_path, kind="heads", size=SIZE).add("h0_0", **given)
