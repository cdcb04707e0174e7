"""Model packages: written whole, verified before use, never half replaced."""

import json

import pytest
import torch
from PIL import Image

from blender_addon.contract.errors import PackageDamaged, UnknownModel
from models.package import (
    Manifest,
    list_packages,
    load_arrays,
    package_digest,
    read_manifest,
    write_package,
)


def manifest_of(name="avatar-a"):
    return Manifest(kind="avatar", id=name, name="A", licence="CC0-1.0")


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "avatar-a"
    write_package(
        folder, manifest_of(), {"texture": torch.arange(12.0).view(3, 4)}, Image.new("RGB", (8, 8))
    )
    return folder


def test_package_comes_back_as_it_was_written(package):
    assert torch.equal(load_arrays(package)["texture"], torch.arange(12.0).view(3, 4))
    manifest = read_manifest(package)
    assert manifest.kind == "avatar"
    assert set(manifest.files) == {"weights.safetensors", "preview.png"}


@pytest.mark.parametrize("name", ["weights.safetensors", "preview.png"])
def test_changed_file_is_refused(package, name):
    path = package / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(PackageDamaged, match=name):
        load_arrays(package)


def test_missing_file_is_refused(package):
    (package / "preview.png").unlink()
    with pytest.raises(PackageDamaged, match=r"preview\.png is missing"):
        load_arrays(package)


def test_file_outside_the_folder_is_refused(package):
    values = json.loads((package / "model.json").read_text())
    values["files"]["../other"] = "0" * 64
    (package / "model.json").write_text(json.dumps(values))
    with pytest.raises(PackageDamaged):
        load_arrays(package)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "kind": 3}'])
def test_description_that_is_not_one_is_refused(package, text):
    (package / "model.json").write_text(text)
    with pytest.raises(PackageDamaged):
        read_manifest(package)


def test_missing_package_is_named(tmp_path):
    with pytest.raises(UnknownModel, match="nobody"):
        read_manifest(tmp_path / "nobody")


def test_failed_write_leaves_the_old_package_and_no_litter(package, tmp_path):
    before = read_manifest(package)
    with pytest.raises(AttributeError):
        write_package(package, manifest_of(), {"texture": "not a tensor"})
    assert read_manifest(package) == before
    assert [path.name for path in tmp_path.iterdir()] == ["avatar-a"]


def test_digest_follows_the_weights_and_not_the_preview(package):
    first = package_digest(read_manifest(package))
    texture = torch.arange(12.0).view(3, 4)
    write_package(package, manifest_of(), {"texture": texture}, Image.new("RGB", (9, 9)))
    assert package_digest(read_manifest(package)) == first
    write_package(package, manifest_of(), {"texture": texture + 1})
    assert package_digest(read_manifest(package)) != first


def test_listing_leaves_out_what_is_damaged(package, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.json").write_text("{")
    assert [manifest.id for manifest in list_packages(tmp_path)] == ["avatar-a"]
