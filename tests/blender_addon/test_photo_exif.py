"""What photographs' files say, against Pillow's own reading of the same files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from blender_addon.scene.photo_exif import PhotoFacts, read_facts

_EXIF_BLOCK, _FOCAL_35, _ORIENTATION = 0x8769, 0xA405, 0x0112


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_photographs_are_turned_as_pillow_turns_them(suffix, tmp_path):
    stored = np.random.default_rng(3).integers(0, 255, (40, 56, 3), np.uint8)
    path = tmp_path / f"photo.{suffix}"
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        exif.get_ifd(_EXIF_BLOCK)[_FOCAL_35] = 27 + orientation
        Image.fromarray(stored).save(path, exif=exif)
        facts = read_facts(path)
        with Image.open(path) as file:
            focal = file.getexif().get_ifd(_EXIF_BLOCK).get(_FOCAL_35)
            assert focal == 27 + orientation or suffix == "tif"  # Pillow writes none there
            assert facts == PhotoFacts(orientation=orientation, film_focal=focal)
            turned = np.asarray(ImageOps.exif_transpose(file))
            as_stored = stored if suffix == "tif" else np.asarray(file)  # Pillow turned that one
        np.testing.assert_array_equal(facts.upright(as_stored), turned)


def test_files_without_exif_or_with_damage_say_nothing(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (40, 40)).save(path)
    assert read_facts(path) == PhotoFacts()
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    Image.new("RGB", (40, 40)).save(path, exif=exif)
    whole = path.read_bytes()
    start = whole.index(b"Exif\0\0")
    for end in range(start, start + 30):
        path.write_bytes(whole[:end])
        assert read_facts(path) in (PhotoFacts(), PhotoFacts(orientation=6))
    path.write_bytes(whole[:start] + b"Exif\0\0MM\0*\xff\xff\xff\xff" + whole[start + 14 :])
    assert read_facts(path) == PhotoFacts()
    assert read_facts(tmp_path / "none.jpg") == PhotoFacts()
