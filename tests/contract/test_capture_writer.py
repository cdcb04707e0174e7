"""The writer that Blender shares: its PNGs, and frames that an earlier run wrote."""

from __future__ import annotations

import io
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from blender_addon.contract.camera import look_at
from blender_addon.contract.capture import depth_to_millimetres
from blender_addon.contract.capture_writer import CaptureFrame, CaptureWriter
from blender_addon.contract.errors import CaptureError
from blender_addon.contract.operations import PosedBody
from blender_addon.contract.png import encode_png
from training.captures import Capture

SIZE = (12, 8)


def smooth(seed: int, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    wave = np.sin(0.3 * x[..., None] + 0.2 * y[..., None] + np.arange(3) + seed)
    return (127 + 100 * wave).astype(np.uint8)


def a_frame(name: str, *, depth: np.ndarray | None = None) -> CaptureFrame:
    width, height = SIZE
    return CaptureFrame(
        name=name, split="train", tags=(), image=smooth(1, height, width),
        masks=smooth(2, height, width), depth=depth,
        body=PosedBody(
            pose=np.tile(np.eye(3, dtype=np.float32), (55, 1, 1)),
            transl=np.zeros(3, np.float32), betas=np.zeros(2, np.float32),
            expression=np.zeros(1, np.float32),
        ),
        camera=look_at(np.array([0, 0, 3.0]), np.zeros(3), np.array([0, 1.0, 0]), focal=9.0,
                       width=width, height=height),
    )  # fmt: skip


def a_writer(folder) -> CaptureWriter:
    return CaptureWriter(
        folder, id="ann", body="body-cc0", licence="CC0-1.0", background="black",
        image_size=SIZE, betas=np.zeros(2),
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (33, 50)])
def test_png_reads_back_as_it_was(shape):
    rng = np.random.default_rng(0)
    for pixels in (smooth(0, *shape), rng.integers(0, 256, (*shape, 3), np.uint8)):
        read = np.asarray(Image.open(io.BytesIO(encode_png(pixels))).convert("RGB"))
        np.testing.assert_array_equal(read, pixels)
    deep = rng.integers(0, 65536, shape, np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = np.asarray(Image.open(io.BytesIO(encode_png(deep))))
    np.testing.assert_array_equal(read.astype(np.uint16), deep)


def test_png_filters_save_space():
    y, x = np.mgrid[:64, :64]
    noise = np.random.default_rng(0).integers(0, 4, (64, 64, 3))
    pixels = (np.hypot(x, y)[..., None] * [1, 1.1, 0.7] + noise).astype(np.uint8)
    assert len(encode_png(pixels)) < 0.8 * len(zlib.compress(pixels.tobytes(), 6))


def test_png_refuses_other_arrays():
    with pytest.raises(ValueError, match="float32"):
        encode_png(np.zeros((2, 2), np.float32))


def test_depth_comes_back_to_the_millimetre(tmp_path):
    depth = np.linspace(0, 5, 96, dtype=np.float32).reshape(8, 12)
    with a_writer(tmp_path) as writer:
        writer.add(a_frame("a", depth=depth))
        writer.add(a_frame("b"))
    capture = Capture.open(tmp_path)
    read = capture.depth(0)
    assert read is not None
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, depth, atol=5.1e-4)
    assert capture.depth(1) is None
    assert tmp_path / "depth" / "a.png" in capture.files()


def test_depth_without_end_is_nothing():
    stored = depth_to_millimetres(np.array([[np.inf, np.nan, 70.0, -1.0, 1.2345]]))
    np.testing.assert_array_equal(stored, [[0, 0, 65535, 0, 1234]])


def test_damaged_depth_is_named(tmp_path):
    with a_writer(tmp_path) as writer:
        writer.add(a_frame("a", depth=np.ones((8, 12), np.float32)))
    (tmp_path / "depth" / "a.png").write_bytes(encode_png(smooth(0, 8, 12)))
    with pytest.raises(CaptureError, match=r"a\.png: RGB"):
        Capture.open(tmp_path).depth(0)


def test_a_frame_of_an_earlier_run_is_taken_over(tmp_path):
    frame = a_frame("a")
    a_writer(tmp_path).write_pixels(frame)  # and then the process ends
    writer = a_writer(tmp_path)
    writer.add_written("a", "train", (), frame.body, frame.camera)
    with pytest.raises(CaptureError, match="missing"):
        writer.add_written("b", "train", (), frame.body, frame.camera)
    writer.close()
    np.testing.assert_array_equal(Capture.open(tmp_path).image(0), frame.image)


def test_depth_of_another_size_is_refused(tmp_path):
    with pytest.raises(CaptureError, match="depth"):
        a_writer(tmp_path).add(a_frame("a", depth=np.ones((4, 4), np.float32)))
