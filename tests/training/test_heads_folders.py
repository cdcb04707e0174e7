"""Photographs of other sets with label maps, and the augmentation of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from blender_addon.contract.errors import HeadSetError
from blender_addon.contract.labels import LABEL_COUNT, Label
from training.heads.augmentation import LEAST_SCALE, MOST_SCALE, Crop, random_crop
from training.heads.cameras import around_head
from training.heads.folders import (
    CELEBA_PARTS,
    CelebAMaskFolder,
    LabelledFolder,
    split_nose,
)

if TYPE_CHECKING:
    from blender_addon.contract.camera import Camera

SIZE = 32


def box(*rows_and_columns: int) -> np.ndarray:
    mask = np.zeros((64, 64), np.uint8)
    top, bottom, left, right = rows_and_columns
    mask[top:bottom, left:right] = 255
    return mask


@pytest.fixture
def celeba(tmp_path):
    images, masks = tmp_path / "CelebA-HQ-img", tmp_path / "CelebAMask-HQ-mask-anno"
    images.mkdir()
    # Numbers sort otherwise as text, and lie in two folders, as in the real set.
    for number, shade in ((10, 100), (9, 90), (2, 20)):
        Image.new("RGB", (128, 128), (shade, 0, 0)).save(images / f"{number}.jpg", quality=95)
        folder = masks / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        parts = {
            "skin": box(8, 56, 8, 56),
            "hair": box(0, number, 0, 64),
            "l_eye": box(24, 28, 16, 24),
            "r_eye": box(24, 28, 40, 48),
            "nose": box(28, 40, 28, 36),
            "eye_g": box(22, 30, 40, 50),
        }
        for part, mask in parts.items():
            colored = np.repeat(mask[..., None], 3, axis=2)
            Image.fromarray(colored).save(folder / f"{number:05d}_{part}.png")
    return tmp_path


def test_celeba_images_and_masks_are_paired_by_number(celeba):
    folder = CelebAMaskFolder(celeba, SIZE)
    assert [folder.name(k) for k in range(len(folder))] == ["2", "9", "10"]
    for index in np.random.default_rng(0).permutation(len(folder)):
        number = int(folder.name(int(index)))
        assert abs(int(folder.image(int(index))[5, 5, 0]) - 10 * number) <= 3
        hair = (folder.labels(int(index)) == Label.HAIR).any(axis=1).sum()
        assert hair == round(number * SIZE / 64)


def test_celeba_parts_become_portrait_labels(celeba):
    labels = CelebAMaskFolder(celeba, 64).labels(0)
    assert labels[26, 20] == Label.EYE
    assert labels[26, 44] == Label.GLASSES  # glasses cover the eye below them
    assert labels[34, 29] == Label.RIGHT_NOSE
    assert labels[34, 34] == Label.LEFT_NOSE
    assert labels[60, 2] == Label.BACKGROUND


def test_every_label_but_the_second_nose_half_comes_from_celeba():
    assert len(CELEBA_PARTS) == 18
    made = set(CELEBA_PARTS.values()) | {Label.BACKGROUND, Label.RIGHT_NOSE}
    assert made == set(range(LABEL_COUNT))


def test_a_strange_part_is_named(celeba):
    strange = celeba / "CelebAMask-HQ-mask-anno" / "0" / "00002_tail.png"
    Image.new("L", (64, 64)).save(strange)
    with pytest.raises(HeadSetError, match="00002_tail"):
        CelebAMaskFolder(celeba, SIZE)


def test_a_folder_without_pairs_is_refused(tmp_path):
    (tmp_path / "CelebA-HQ-img").mkdir()
    (tmp_path / "CelebAMask-HQ-mask-anno").mkdir()
    with pytest.raises(HeadSetError, match="no photograph"):
        CelebAMaskFolder(tmp_path, SIZE)


def test_a_tilted_nose_is_split_along_the_face():
    labels = np.zeros((64, 64), np.uint8)
    labels[20:24, 8:16] = Label.EYE
    labels[40:44, 48:56] = Label.EYE
    labels[30:50, 20:40] = Label.LEFT_NOSE
    split = split_nose(labels)
    # The face tilts to the right of the image: so does the border between the halves.
    assert split[48, 21] == Label.RIGHT_NOSE
    assert split[32, 39] == Label.LEFT_NOSE
    border = [np.argwhere(split[row] == Label.LEFT_NOSE).min() for row in (33, 46)]
    assert border[0] > border[1]
    assert (split == Label.RIGHT_NOSE).sum() > 100


def test_a_folder_of_photographs_is_paired_by_name(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    (images / "00000").mkdir(parents=True)
    labels.mkdir()
    for k in (3, 1, 2):
        Image.new("RGB", (64, 48), (50 * k, 0, 0)).save(images / "00000" / f"{k:05d}.png")
        Image.fromarray(np.full((48, 64), k, np.uint8)).save(labels / f"{k:05d}.png")
    Image.new("RGB", (64, 64)).save(images / "00000" / "00009.png")
    folder = LabelledFolder(images, labels, SIZE)
    assert len(folder) == 3
    for index in range(3):
        number = int(folder.name(index))
        assert folder.image(index).shape == (SIZE, SIZE, 3)
        assert (folder.image(index)[..., 0] == 50 * number).all()
        assert (folder.labels(index) == number).all()


def test_values_that_are_no_labels_are_named(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((8, 8), 200, np.uint8)).save(tmp_path / name / "a.png")
    with pytest.raises(HeadSetError, match=r"a\.png.*200"):
        LabelledFolder(tmp_path / "images", tmp_path / "labels", SIZE).labels(0)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(HeadSetError, match="nowhere"):
        LabelledFolder(tmp_path / "nowhere", tmp_path, SIZE)


def test_crops_stay_within_the_papers_scales_and_the_image():
    rng = np.random.default_rng(0)
    crops = [random_crop(rng, SIZE) for _ in range(300)]
    scales = [crop.scale for crop in crops]
    assert LEAST_SCALE == 1.0 <= min(scales) < 1.05
    assert MOST_SCALE == 1.7 >= max(scales) > 1.65
    assert all(c.x >= 0 and c.x + SIZE / c.scale <= SIZE + 1e-9 for c in crops)
    assert {crop.mirrored for crop in crops} == {True, False}


def test_a_whole_crop_changes_nothing_and_a_mirrored_one_swaps_the_nose():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, LABEL_COUNT, (SIZE, SIZE)).astype(np.uint8)
    image = rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    whole = Crop(0.0, 0.0, 1.0, mirrored=False)
    np.testing.assert_array_equal(whole.labels(labels), labels)
    np.testing.assert_array_equal(whole.image(image), image)
    mirrored = Crop(0.0, 0.0, 1.0, mirrored=True)
    np.testing.assert_array_equal(mirrored.image(image), image[:, ::-1])
    was = labels[:, ::-1]
    np.testing.assert_array_equal(
        mirrored.labels(labels) == Label.LEFT_NOSE, was == Label.RIGHT_NOSE
    )
    np.testing.assert_array_equal(mirrored.labels(labels) == Label.HAIR, was == Label.HAIR)


@pytest.mark.parametrize("mirrored", [False, True])
def test_image_labels_and_camera_of_a_crop_agree(mirrored):
    camera = around_head(np.random.default_rng(2), 25.0, 10.0, 64)
    point = np.array([[0.03, 0.04, 0.07]])
    crop = Crop(5.0, 7.0, 1.6, mirrored=mirrored)
    labels, image = _spot(camera, point[0])
    seen = crop.camera(camera).project(point * [-1.0, 1.0, 1.0] if mirrored else point)[0]
    found = np.argwhere(crop.labels(labels) == Label.HAT).mean(axis=0) + 0.5
    bright = np.argwhere(crop.image(image)[..., 0] > 127).mean(axis=0) + 0.5
    np.testing.assert_allclose(found[::-1], seen[:2], atol=0.8)
    np.testing.assert_allclose(bright[::-1], seen[:2], atol=0.8)


def _spot(camera: Camera, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a label map and an image that show a spot where the camera sees a point."""
    x, y = camera.project(point)[:2]
    row, column = np.mgrid[0:64, 0:64] + 0.5
    near = np.hypot(row - y, column - x) < 4
    labels = np.where(near, Label.HAT, Label.BACKGROUND).astype(np.uint8)
    return labels, np.repeat(np.where(near, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
