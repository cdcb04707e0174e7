"""Photographs, and the process that sees people in them."""

import json
import os
import sys

import numpy as np
import pytest
from PIL import Image
from skimage import data

from blender_addon.contract.errors import (
    BadPersonView,
    DeadlineExceeded,
    InternalError,
    MissingExtra,
    NoPersonFound,
    SeveralPeople,
)
from models.body_fit_terms import landmark_weights
from models.person_photo import (
    PYTHON_VARIABLE,
    iterate_people,
    perceive_person,
    photo_python,
    read_person_view,
    read_photograph,
)
from models.pose_landmarks import LANDMARK_INDEX
from models.steps import finish

IMAGE = np.zeros((40, 60, 3), np.uint8)


@pytest.fixture
def seer(tmp_path, monkeypatch):
    """Let a small program stand in for the Python that sees."""

    def install(lines):
        program = tmp_path / "python"
        program.write_text(f"#!{sys.executable}\nimport sys\n{lines}\n")
        program.chmod(0o755)
        monkeypatch.setenv(PYTHON_VARIABLE, str(program))

    return install


PEOPLE = """
import io, os, numpy as np
request = np.load(io.BytesIO(sys.stdin.buffer.read()))
h, w = request["image"].shape[:2]
answer = {{"protocol": request["protocol"], "count": {count}}}
for k in range({count}):
    answer.update({{f"landmarks_{{k}}": np.full((33, 3), k + 1, np.float32),
        f"world_{{k}}": np.zeros((33, 3), np.float32), f"mask_{{k}}": np.zeros((h, w), np.uint8),
        f"hands_{{k}}": np.zeros((2, 21, 3), np.float32),
        f"hands_world_{{k}}": np.zeros((2, 21, 3), np.float32)}})
np.savez(sys.stdout.buffer, **answer)
"""


def test_nobody_one_and_several_people_are_told_apart(seer):
    seer(PEOPLE.format(count=0))
    with pytest.raises(NoPersonFound):
        perceive_person(IMAGE)
    seer(PEOPLE.format(count=2))
    with pytest.raises(SeveralPeople, match="2 people"):
        perceive_person(IMAGE)
    assert perceive_person(IMAGE, person=1).landmarks[0, 0] == 2.0
    with pytest.raises(SeveralPeople, match="no person 2"):
        perceive_person(IMAGE, person=2)


def test_large_photographs_are_looked_at_small_and_answered_large(seer):
    seer(PEOPLE.format(count=1))
    large = np.zeros((100, 3072, 3), np.uint8)
    view = perceive_person(large)
    assert view.mask.shape == (100, 3072)
    assert view.landmarks[0, 0] == 2.0


def test_a_process_that_hangs_is_given_up_and_ended(seer, tmp_path):
    seer(
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    )
    with pytest.raises(DeadlineExceeded):
        perceive_person(IMAGE, timeout=1.5)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("sys.exit('no such model')", "no such model"),
        ("print('hello')", "nonsense"),
        (
            "import numpy as np\nnp.savez(sys.stdout.buffer, protocol=np.array([{}], object))",
            "nonsense",
        ),
        ("import numpy as np\nnp.savez(sys.stdout.buffer, protocol=99, count=0)", "version"),
    ],
)
def test_a_process_that_fails_says_so(seer, lines, words):
    seer(lines)
    with pytest.raises(InternalError, match=words):
        perceive_person(IMAGE)


def test_a_missing_environment_names_the_command_that_makes_it(monkeypatch, tmp_path):
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(MissingExtra) as caught:
        perceive_person(IMAGE)
    assert "scripts/environments.py photo" in caught.value.next_step


def test_photographs_are_turned_upright_and_tell_their_lens(tmp_path):
    pixels = np.zeros((30, 50, 3), np.uint8)
    pixels[:, :10] = 255  # the left edge as stored: the top of the upright picture
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 72
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    photograph = read_photograph(tmp_path / "a.png")
    assert photograph.image.shape == (50, 30, 3)
    assert photograph.image[0].min() == 255
    assert photograph.focal == pytest.approx(72 / 36 * 50)
    (tmp_path / "b.jpg").write_text("no picture")
    with pytest.raises(BadPersonView, match=r"b\.jpg"):
        read_photograph(tmp_path / "b.jpg")


def test_keypoints_of_ones_own_need_nobody_who_sees(tmp_path):
    Image.fromarray(np.full((40, 60), 255, np.uint8)).save(tmp_path / "mask.png")
    path = tmp_path / "view.json"
    path.write_text(
        json.dumps({"landmarks": {"nose": [3, 4], "left_hip": [5, 6, 0.5]}, "mask": "mask.png"})
    )
    view = read_person_view(path, IMAGE)
    assert view.landmarks[LANDMARK_INDEX["nose"]].tolist() == [3, 4]
    assert view.visibility[LANDMARK_INDEX["left_hip"]] == 0.5
    assert view.visibility.sum() == 1.5
    assert view.mask.min() == 1.0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "landmarks is missing"),
        ({"landmarks": {"noze": [1, 2]}}, "no landmark 'noze'"),
        ({"landmarks": np.zeros((17, 3)).tolist()}, "shape"),
        ({"landmarks": [["x"]]}, "must be numbers"),
        ({"landmarks": {"nose": [1, 2, 7]}}, "visibility"),
        ({"landmarks": {"nose": [1, 2]}, "mask": [[1.0]]}, "mask has the shape"),
        ({"landmarks": {"nose": [1, 2]}, "mask": "../mask.png"}, "beside it"),
    ],
)
def test_wrong_keypoints_are_refused_by_field(tmp_path, fields, words):
    path = tmp_path / "view.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(BadPersonView, match=words):
        read_person_view(path, IMAGE)


def test_two_people_side_by_side_are_both_seen():
    photo_python()  # `scripts/test.py` makes it
    one = data.astronaut()
    image = np.concatenate([one, one[:, ::-1]], axis=1)[::2, ::2]
    people = finish(iterate_people(image))
    assert len(people) == 2
    left, right = people
    # Her nose, in the halved picture and mirrored in the other one.
    assert np.linalg.norm(left.landmarks[0] - (112, 64)) < 8
    assert np.linalg.norm(right.landmarks[0] - (400, 64)) < 8
    # Legs are guessed below the edge: nothing that a fit may count.
    assert landmark_weights(right)[LANDMARK_INDEX["left_ankle"]] == 0.0
    own = left.mask > 0.5
    assert own[64, 112]
    assert own[:, 256:].mean() < 0.02
