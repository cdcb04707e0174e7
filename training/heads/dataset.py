"""`dressform dataset heads`: label maps of synthetic heads, in parallel, byte for byte the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from blender_addon.contract.errors import BadParameter
from models.body import Body, load_body
from training.heads.busts import HEAD_ORIGIN, build_bust
from training.heads.cameras import orbit
from training.heads.format import Head, HeadSetWriter, HeadView, Split
from training.heads.maps import depth_map, label_map, look
from training.heads.persons import random_person
from training.people.dataset import DEFAULT_BODY, LICENCE
from training.people.workers import mapped

_HELD_EVERY = 5


@dataclass(frozen=True)
class HeadTask:
    """One head to make: its number, what it is for, the set's seed, how many views, and where."""

    number: int
    split: Split
    seed: int
    views: int
    writer: HeadSetWriter
    body: Path


def heads(
    *,
    out: Path = Path("runs/heads"),
    heads: int = 500,
    views: int = 20,
    size: int = 256,
    seed: int = 0,
    held_out: int | None = None,
    workers: int = 2,
    body: Path = DEFAULT_BODY,
) -> None:
    """Make label maps, depth and cameras of synthetic heads (docs/heads.md).

    The same options give the same bytes, whatever the number of workers.

    Args:
        out: folder of the set.
        heads: how many heads.
        views: of each head; every fifth is held out.
        size: width and height of the maps in pixels.
        seed: of heads and cameras.
        held_out: how many of the heads, the last ones, training never sees; a tenth when None.
        workers: processes, each on one thread; 0 works in this process.
        body: body package or SMPL-X file.

    Raises:
        BadParameter: a number is out of its range.
        HeadSetError: the folder already holds a set.
    """
    held = heads // 10 if held_out is None else held_out
    if heads < 1 or views < 1 or not 16 <= size <= 4096 or not 0 <= held <= heads:
        raise BadParameter(
            "heads, views ≥ 1, 16 ≤ size ≤ 4096 and 0 ≤ held-out ≤ heads must hold",
            "see dressform dataset heads --help",
        )
    writer = HeadSetWriter(out, kind="heads", size=size)
    tasks = [
        HeadTask(k, "held-out" if k >= heads - held else "train", seed, views, writer, body)
        for k in range(heads)
    ]
    with mapped(_make_head, tasks, workers) as made:
        entries = list(tqdm(made, total=heads, desc="heads", unit="head", smoothing=0.05))
    writer.close(
        licence=LICENCE,
        source={
            "command": "dataset heads",
            "seed": seed,
            "body": body_of(body).id,
            "head_origin": list(HEAD_ORIGIN),
        },
        heads=entries,
    )


def head_seed(seed: int, number: int) -> int:
    """Return the seed of a set's head: sets of different seeds share no head below a million."""
    return seed * 1_000_000 + number


def _make_head(task: HeadTask) -> Head:
    name = f"h{task.number:04d}"
    seed = head_seed(task.seed, task.number)
    person = random_person(seed)
    bust = build_bust(person, body_of(task.body))
    cameras = orbit(np.random.default_rng([seed, 43]), task.views, task.writer.size)
    views: list[HeadView] = []
    for index, camera in enumerate(cameras):
        view = HeadView(
            name=f"{name}_{index:02d}", head=name, split=_view_split(index), camera=camera
        )
        seen = look(bust, camera)
        task.writer.add(view.name, label_map(bust, seen), depth=depth_map(seen))
        views.append(view)
    return Head(id=name, split=task.split, attributes=person.attributes(), views=tuple(views))


def _view_split(index: int) -> Split:
    # Views come in the order of their yaw: the held-out ones lie between training ones.
    return "held-out" if index % _HELD_EVERY == 2 else "train"


@lru_cache(maxsize=1)
def body_of(path: Path) -> Body:
    """Return the body of a package or file, loaded once in each process."""
    return load_body(path)
