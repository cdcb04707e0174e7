"""The service behind Make Neural against a background process that behaves in every bad way."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, NoReturn

import pytest

from blender_addon.contract.errors import BadCharacter, Cancelled, InternalError
from blender_addon.make_neural import (
    CHARACTER_FILE,
    LAUNCHER,
    RENDERED,
    Order,
    Progress,
    Surroundings,
    blender_command,
    make_neural,
)

if TYPE_CHECKING:
    from pathlib import Path

ORDER = Order(name="Nova", avatar="avatar-nova", rig="Rig", frames=4, held_out=1, minutes=6.0)


def says(code: str) -> Surroundings:
    """Surroundings whose Blender is a small Python program, and which have no server."""

    def no_server() -> NoReturn:
        raise AssertionError("the server is not asked before the capture is whole")

    program = f"import json, sys, time\nfrom pathlib import Path\n{code}"
    return Surroundings(
        blender=[sys.executable, "-c", program], endpoint=no_server, revive=lambda: None
    )


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_cancel_ends_the_background_process_and_keeps_its_words(tmp_path: Path):
    around = says(
        "import os\n"
        "Path(sys.argv[1]).is_file() or sys.exit('launched with something else')\n"
        "print('Blender 9.9 (noise)', os.getpid(), flush=True)\n"
        "Path(sys.argv[sys.argv.index('--out') + 1]).parent.joinpath('pid')"
        ".write_text(str(os.getpid()))\n"
        "for i in range(1, 6):\n"
        "    print(json.dumps({'frame': i, 'of': 5, 'name': 'f', 'seconds': 0.5, 'kept': i == 1}),"
        " flush=True)\n"
        "    time.sleep(0.05 if i < 3 else 600)\n"
    )
    told: list[Progress] = []
    started = time.monotonic()
    with pytest.raises(Cancelled):
        make_neural(
            ORDER,
            tmp_path,
            around,
            on_progress=told.append,
            should_stop=lambda: told[-1].detail.startswith("3 of") if told else False,
        )
    assert time.monotonic() - started < 30
    assert not alive(int((tmp_path / "pid").read_text()))
    assert [t.detail for t in told] == [
        "starting Blender", "1 of 5 frames", "2 of 5 frames", "3 of 5 frames",
    ]  # fmt: skip
    assert [t.share for t in told] == pytest.approx([0, *(RENDERED * i / 5 for i in (1, 2, 3))])
    assert told[1].seconds_left is None  # a kept frame says nothing about the others
    assert told[3].seconds_left == pytest.approx(2 * 0.5 + 6 * 60)
    assert told[3].text == "Rendering, 3 of 5 frames, 6 min left"
    assert Order.load(tmp_path) == ORDER


def test_what_the_background_process_says_is_what_the_artist_reads(tmp_path: Path):
    error = {"code": "character.invalid", "cause": "no rig", "next_step": "add a person"}
    said = json.dumps({"error": error})
    with pytest.raises(BadCharacter, match="no rig → add a person"):
        make_neural(ORDER, tmp_path, says(f"print({said!r})\nsys.exit(1)"))


@pytest.mark.parametrize(
    "code",
    [
        "sys.exit('Segmentation fault of a driver')",
        'print(\'{"frame": 1, "of": 5, "seconds": 1}\'); sys.exit(\'a driver died\')',
        "print('{\"capture\": \"x\"}'); sys.exit('died while closing: driver')",
        "sys.stderr.write('driver'); print('[1, 2]\\n{')",
    ],
)
def test_a_background_process_that_dies_is_an_error_with_its_last_words(tmp_path: Path, code):
    with pytest.raises(InternalError, match="driver"):
        make_neural(ORDER, tmp_path, says(code))


def test_a_blender_that_is_not_there_is_named(tmp_path: Path):
    around = Surroundings(blender=["/nowhere/blender"], endpoint=str, revive=lambda: None)
    with pytest.raises(InternalError, match="/nowhere/blender cannot be started"):
        make_neural(ORDER, tmp_path, around)


def test_orders_of_other_versions_and_damaged_ones_are_read_or_left_alone(tmp_path: Path):
    ORDER.save(tmp_path)
    fields = json.loads((tmp_path / "order.json").read_text())
    (tmp_path / "order.json").write_text(json.dumps(fields | {"of_the_future": 1}))
    assert Order.load(tmp_path) == ORDER
    for damaged in ("", "[]", "{}", "{"):
        (tmp_path / "order.json").write_text(damaged)
        assert Order.load(tmp_path) is None
    assert Order.load(tmp_path / "none") is None


def test_scripts_run_in_blender_or_in_the_python_that_holds_it():
    assert LAUNCHER.is_file()
    assert CHARACTER_FILE.endswith(".blend")
    assert blender_command("") == [sys.executable]
    command = blender_command("/opt/blender")
    assert command[0] == "/opt/blender"
    # The exit code counts only when it is asked for before the script.
    assert command.index("--python-exit-code") < command.index("-P") == len(command) - 1
