"""What is counted when somebody in motion wears another's part: near the part nothing, else all."""

import numpy as np

from scripts.evaluate_redress import change_outside


def person(colour=(100, 100, 100)):
    frame = np.zeros((8, 8, 4), np.uint8)
    frame[2:6, 2:6] = (*colour, 255)
    return frame


def test_only_what_is_outside_and_of_the_person_counts():
    before, after = person(), person()
    near = np.zeros((8, 8), bool)
    near[2:4] = True
    after[2, 2:6, 0] = 255  # near the part
    after[0, 0, 0] = 255  # beside the person
    assert change_outside(before, after, near) == 0.0
    after[5, 2:6, :3] = 151  # a row of two outside changes by 51 of 255
    np.testing.assert_allclose(change_outside(before, after, near), 0.1)


def test_without_any_outside_nothing_is_claimed():
    assert np.isnan(change_outside(person(), person(), np.ones((8, 8), bool)))
