"""`dressform bench avatar`: where the time of a frame goes, against bounds."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - jsonargparse reads it at run time

from server.figures import Figure, figure_table, write_figures


def bench_avatar(json: Path | None = None) -> int:
    """Time an avatar's frame, part by part.

    Args:
        json: also write {"figure_name": {"value", "bound", "ok"}} to this file.

    Returns:
        0 when every bound holds.
    """
    from server.bench_transport import bench_transport

    figures: list[Figure] = [*bench_transport()]
    print(figure_table(figures))  # noqa: T201 - this command's output
    if json is not None:
        write_figures(figures, json)
    return 0 if all(figure.ok for figure in figures) else 1
