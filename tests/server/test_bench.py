"""The benchmark measures what it says, and its figures are written as every report's are."""

from __future__ import annotations

import json

from server.bench_transport import measure
from server.figures import Figure, figure_table, write_figures


def figure(value: float, bound: float | None) -> Figure:
    return Figure(name=f"f{value:g}", value=value, bound=bound, unit="ms", meaning="a test")


def test_figures_are_written_with_value_bound_and_verdict(tmp_path):
    write_figures([figure(2.0, 3.0), figure(4.0, 3.0), figure(5.0, None)], tmp_path / "f.json")
    assert json.loads((tmp_path / "f.json").read_text()) == {
        "f2": {"value": 2.0, "bound": 3.0, "ok": True},
        "f4": {"value": 4.0, "bound": 3.0, "ok": False},
        "f5": {"value": 5.0, "bound": None, "ok": True},
    }


def test_the_table_shows_what_fails():
    lines = figure_table([figure(2.0, 3.0), figure(4.0, 3.0)]).splitlines()
    assert len(lines) == 3
    assert "ok" in lines[1]
    assert "FAILS" in lines[2]


def test_server_and_echo_are_both_timed():
    trips = measure(64, rounds=3, per_round=4)
    assert 0.0 < trips.echo < trips.server
