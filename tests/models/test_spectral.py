"""Spectral coordinates: eigenvectors of the mesh's Laplacian, the same on every run."""

import numpy as np

from models.body import load_body
from models.package import DEFAULT_LIBRARY
from models.spectral import spectral_coordinates


def grid(count):
    """A flat square of count × count vertices."""
    x, y = np.meshgrid(np.arange(count), np.arange(count))
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(count * count)], axis=1) / (count - 1)
    at = np.arange(count * count).reshape(count, count)
    a, b, c, d = at[:-1, :-1].ravel(), at[:-1, 1:].ravel(), at[1:, :-1].ravel(), at[1:, 1:].ravel()
    return vertices, np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])


def test_channels_of_a_long_strip_are_cosines_along_it():
    vertices, faces = grid(40)
    strip = vertices * [4.0, 1.0, 1.0]
    coordinates = spectral_coordinates(strip, faces, channels=2)
    for channel in range(2):
        wave = np.cos(np.pi * (channel + 1) * vertices[:, 0])
        similar = abs(np.corrcoef(coordinates[:, channel], wave)[0, 1])
        assert similar > 0.999


def test_every_channel_reaches_one_and_the_same_bytes_come_twice():
    vertices, faces = grid(12)
    once = spectral_coordinates(vertices, faces, channels=4)
    np.testing.assert_allclose(np.abs(once).max(axis=0), 1.0, atol=1e-6)
    assert once.tobytes() == spectral_coordinates(vertices, faces, channels=4).tobytes()


def test_small_parts_take_the_values_of_the_nearest_skin():
    vertices, faces = grid(12)
    island = np.array([[0.0, 0.0, 0.01], [0.01, 0.0, 0.01], [0.0, 0.01, 0.01]])
    count = len(vertices)
    joined = np.concatenate([vertices, island])
    with_island = np.concatenate([faces, [[count, count + 1, count + 2]]])
    coordinates = spectral_coordinates(joined, with_island, channels=3)
    np.testing.assert_array_equal(coordinates[count], coordinates[0])


def test_shipped_body_carries_sixteen_channels():
    body = load_body(DEFAULT_LIBRARY / "body-cc0")
    assert body.spectral is not None
    assert body.spectral.shape == (len(body.v_template), 16)
    assert body.spectral.abs().amax(0).min() > 0.99
