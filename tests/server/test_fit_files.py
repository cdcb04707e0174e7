"""Body fits that came as files are read as the command line reads them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from blender_addon.contract.errors import CaptureError
from blender_addon.contract.wardrobe import AvatarFit, FitFile
from models.body_fit_file import read_body_fit, write_body_fit
from server.fit_files import with_fits_read

from .running import frame

NO_BODY = cast("Any", None)
"""Fits of Dressform's own fields need none."""


def asked(*files: FitFile) -> AvatarFit:
    images = tuple(np.zeros((96, 96, 3), np.uint8) for _ in files)
    return AvatarFit(wardrobe="w", name="Ivy", images=images, fit_files=files)


def file_of(path, name: str) -> FitFile:
    return FitFile(name=name, content=np.frombuffer(path.read_bytes(), np.uint8))


def test_files_become_bodies_and_cameras(tmp_path):
    shown = frame(0, size=96)
    path = tmp_path / "some.npz"
    write_body_fit(path, cast("Any", SimpleNamespace(body=shown.body, camera=shown.camera)))
    read, notes = with_fits_read(asked(file_of(path, "a.npz"), file_of(path, "b.npz")), NO_BODY)
    body, camera = read_body_fit(path, 96, 96)
    assert notes == []
    assert read.fit_files == ()
    for posed, seen in read.fits:
        np.testing.assert_array_equal(posed.pose, body.pose)
        np.testing.assert_array_equal(seen.K, camera.K)


def test_a_file_that_is_no_fit_is_named_as_the_user_knows_it(tmp_path):
    path = tmp_path / "wrong.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(CaptureError) as refused:
        with_fits_read(asked(file_of(path, "mine.npz")), NO_BODY)
    assert refused.value.cause.startswith("mine.npz cannot be read")
