"""Colour, edges and depth order of composited people."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.engine.pixels import (
    EMPTY_DEPTH,
    Layer,
    blender_depth,
    composite,
    layer_from_reply,
    linear_from_srgb,
    linear_premultiplied,
    pass_values,
    srgb_from_linear,
)


def test_srgb_and_linear_are_inverses():
    values = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(srgb_from_linear(linear_from_srgb(values)), values, atol=1e-7)
    assert linear_from_srgb(np.array(0.5)) == pytest.approx(0.21404114)


def test_opaque_bytes_come_back_exactly_through_the_standard_view():
    grey = np.arange(256, dtype=np.uint8)
    rgba = np.stack([grey, grey[::-1], grey, np.full(256, 255, np.uint8)], -1)[None]
    linear = linear_premultiplied(rgba)
    back = np.round(srgb_from_linear(linear[..., :3]) * 255)
    np.testing.assert_array_equal(back, rgba[..., :3])


def test_soft_edges_keep_their_colour():
    """One skin colour under every alpha: straight linear colour must not depend on alpha."""
    colour = np.array([0.78, 0.55, 0.42])
    alpha = np.arange(256)
    premultiplied = np.round(colour * alpha[:, None]).astype(np.uint8)
    rgba = np.concatenate([premultiplied, alpha[:, None].astype(np.uint8)], axis=1)[None]
    linear = linear_premultiplied(rgba)[0]
    np.testing.assert_allclose(linear[:, 3], alpha / 255, atol=1e-7)
    seen = alpha >= 32
    straight = linear[seen, :3] / linear[seen, 3:]
    expected = linear_from_srgb(colour)
    # Bytes are rounded: half a step of 1/32 at the faintest, far less at the solid end.
    np.testing.assert_allclose(
        srgb_from_linear(straight), np.tile(colour, (seen.sum(), 1)), atol=0.017
    )
    np.testing.assert_allclose(straight[-1], expected, atol=2e-3)
    # The naive way (linearise what is premultiplied) darkens the middle of an edge by far more.
    naive = linear_from_srgb(premultiplied[128] / 255) / (128 / 255)
    assert np.abs(naive - expected).max() > 0.1


def test_premultiplied_values_never_exceed_alpha_and_nothing_stays_nothing():
    every = np.array(list(itertools.product(range(256), range(256))), np.uint8)
    rgba = np.stack([every[:, 0]] * 3 + [every[:, 1]], axis=-1)[None]
    linear = linear_premultiplied(rgba)
    assert (linear[..., :3] <= linear[..., 3:] + 1e-7).all()
    assert not linear[rgba[..., 3] == 0].any()


images = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32 - 1))


@given(images)
@settings(max_examples=40, deadline=None)
def test_empty_margins_are_skipped_without_a_difference(spec):
    height, width, seed = spec
    rng = np.random.default_rng(seed)
    rgba = rng.integers(0, 256, (height, width, 4)).astype(np.uint8)
    rgba[rng.random((height, width)) < 0.6] = 0
    rgba[..., :3] = np.minimum(rgba[..., :3], rgba[..., 3:])
    padded = np.zeros((height + 6, width + 4, 4), np.uint8)
    padded[3:-3, 2:-2] = rgba
    np.testing.assert_array_equal(
        linear_premultiplied(padded)[3:-3, 2:-2], linear_premultiplied(rgba)
    )


def _layer(rng: np.random.Generator, shape: tuple[int, int], masks: bool = True) -> Layer:
    alpha = rng.uniform(0, 1, (*shape, 1)) * (rng.random((*shape, 1)) < 0.7)
    colour = rng.uniform(0, 1, (*shape, 3)) * alpha
    depth = np.where(alpha[..., 0] > 0, rng.uniform(1, 9, shape), np.inf)
    return Layer(
        rgba=np.concatenate([colour, alpha], -1).astype(np.float32),
        depth=depth.astype(np.float32),
        masks=(rng.uniform(0, 1, (*shape, 3)) * alpha).astype(np.float32) if masks else None,
    )


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
@settings(max_examples=25, deadline=None)
def test_people_composite_by_depth_whatever_their_order(seed, count):
    rng = np.random.default_rng(seed)
    layers = [_layer(rng, (4, 5)) for _ in range(count)]
    found = composite(layers, 4, 5)
    for row, column in itertools.product(range(4), range(5)):
        near_to_far = sorted(layers, key=lambda layer: layer.depth[row, column])
        rgba, masks = np.zeros(4), np.zeros(3)
        for layer in reversed(near_to_far):  # from behind, as a painter does
            pixel = layer.rgba[row, column].astype(float)
            rgba = pixel + (1 - pixel[3]) * rgba
            masks = layer.masks[row, column] + (1 - pixel[3]) * masks
        np.testing.assert_allclose(found.rgba[row, column], rgba, atol=1e-6)
        np.testing.assert_allclose(found.masks[row, column], masks, atol=1e-6)
        assert found.depth[row, column] == near_to_far[0].depth[row, column]
    again = composite(layers[::-1], 4, 5)
    np.testing.assert_allclose(again.rgba, found.rgba, atol=1e-6)


def test_nobody_is_an_empty_frame():
    empty = composite([], 3, 2)
    assert empty.rgba.shape == (3, 2, 4)
    assert not empty.rgba.any()
    assert (blender_depth(empty.depth) == np.float32(EMPTY_DEPTH)).all()


def test_passes_are_flat_and_start_at_the_bottom():
    image = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    flat = pass_values(image)
    assert flat.ndim == 1
    np.testing.assert_array_equal(flat[:12], image[1].ravel())


def test_depth_comes_back_in_the_scenes_metres():
    depth = np.array([[2.0, np.inf]], np.float32)
    layer = layer_from_reply(np.zeros((1, 2, 4), np.uint8), depth, None, 2.5)
    np.testing.assert_array_equal(layer.depth, [[5.0, np.inf]])


def test_labels_are_those_of_the_nearest_and_people_have_none():
    def layer(depth, labels):
        rgba = np.ones((1, 3, 4), np.uint8) * 255
        found = None if labels is None else np.array([labels], np.uint8)
        return layer_from_reply(rgba, np.array([depth], np.float32), None, 1.0, found)

    near, far = layer([1, 5, np.inf], [15, 15, 255]), layer([2, 2, np.inf], [1, 1, 0])
    person = layer([3, 1, 1], None)
    # What the network did not paint is background.
    np.testing.assert_array_equal(near.labels, [[15, 15, 0]])
    np.testing.assert_array_equal(composite([far, near], 1, 3).labels, [[15, 1, 0]])
    np.testing.assert_array_equal(composite([near, far, person], 1, 3).labels, [[15, 0, 0]])
    assert composite([person, person], 1, 3).labels is None
