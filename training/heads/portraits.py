"""`dressform dataset portraits`: images of synthetic heads with their label maps, in parallel."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from blender_addon.contract.errors import BadParameter
from training.blender import DEFAULT_BLENDER, blender_command
from training.heads.busts import HEAD_ORIGIN, build_bust
from training.heads.cameras import portrait_camera
from training.heads.colors import random_colors
from training.heads.cycles import finished_portrait, render_busts, write_bust
from training.heads.dataset import HeadTask, body_of, head_seed
from training.heads.format import Head, HeadSetWriter, HeadView
from training.heads.painting import paint_portrait, shell_of
from training.heads.persons import random_person
from training.people.dataset import DEFAULT_BODY, LICENCE
from training.people.workers import mapped

FIRST_PORTRAIT = 500_000
"""Number of a seed's first portrait head: no head of `dataset heads` is in a set of portraits."""

_BUST_SCRIPT = "render_busts.py"

_WAITING = "waiting-for-blender"


@dataclass(frozen=True)
class PortraitTask(HeadTask):
    """A head to make portraits of, by the painter or by Cycles."""

    cycles: bool = False


def portraits(
    *,
    out: Path = Path("runs/portraits"),
    portraits: int = 1000,
    views: int = 2,
    size: int = 256,
    seed: int = 0,
    held_out: int | None = None,
    cycles: float = 0.0,
    blender: Path = DEFAULT_BLENDER,
    workers: int = 2,
    body: Path = DEFAULT_BODY,
) -> None:
    """Make portraits of synthetic heads with their label maps (docs/heads.md).

    Each view of a head has colours, light and background of its own. The heads are others than
    those of `dressform dataset heads` with the same seed. The same options give the same bytes,
    whatever the number of workers.

    Args:
        out: folder of the set.
        portraits: how many images.
        views: images of one head: fewer heads are faster, more heads are more diverse.
        size: width and height of the images in pixels.
        seed: of heads, colours, light and cameras.
        held_out: how many of the heads, the last ones, training never sees; a tenth when None.
        cycles: share of the heads that Blender renders with Cycles instead of the painter, spread
            evenly over the set.
        blender: program that does it, or a Python that has bpy.
        workers: processes, each on one thread; 0 works in this process.
        body: body package or SMPL-X file.

    Raises:
        BadParameter: a number is out of its range.
        HeadSetError: the folder already holds a set.
        SetupError: there is no Blender, or it failed.
    """
    if not 0.0 <= cycles <= 1.0:
        raise BadParameter("cycles must lie within 0…1", "see dressform dataset portraits --help")
    if portraits < 1 or views < 1 or not 16 <= size <= 4096:
        raise BadParameter(
            "portraits, views ≥ 1 and 16 ≤ size ≤ 4096 must hold",
            "see dressform dataset portraits --help",
        )
    count = -(-portraits // views)
    held = count // 10 if held_out is None else held_out
    if not 0 <= held <= count:
        raise BadParameter(f"held-out heads must be 0…{count}", "give fewer with --held-out")
    writer = HeadSetWriter(out, kind="portraits", size=size)
    program = blender_command(blender, _BUST_SCRIPT) if cycles else []
    waiting = out / _WAITING
    if cycles:
        waiting.mkdir(exist_ok=True)
    tasks = [
        PortraitTask(
            number=k,
            split="held-out" if k >= count - held else "train",
            seed=seed,
            views=min(views, portraits - k * views),
            writer=writer,
            body=body,
            # As many as the share promises among the first k, for every k.
            cycles=int((k + 1) * cycles) > int(k * cycles),
        )
        for k in range(count)
    ]
    with mapped(_make_head, tasks, workers) as made:
        entries = list(tqdm(made, total=count, desc="portraits", unit="head", smoothing=0.05))
    if cycles:
        render_busts(waiting, program)
        for file in sorted(waiting.glob("*.npz")):
            image, labels = finished_portrait(file)
            writer.add(file.stem, labels, image=image)
        shutil.rmtree(waiting)
    writer.close(
        licence=LICENCE,
        source={
            "command": "dataset portraits",
            "seed": seed,
            "cycles": cycles,
            "body": body_of(body).id,
            "head_origin": list(HEAD_ORIGIN),
        },
        heads=entries,
    )


def _make_head(task: PortraitTask) -> Head:
    name = f"p{task.number:05d}"
    seed = head_seed(task.seed, FIRST_PORTRAIT + task.number)
    person = random_person(seed)
    bust = build_bust(person, body_of(task.body))
    shell = shell_of(bust)
    rng = np.random.default_rng([seed, 53])
    views: list[HeadView] = []
    colors_of_views: list[dict[str, object]] = []
    for index in range(task.views):
        camera = portrait_camera(rng, task.writer.size)
        colors = random_colors(person, int(rng.integers(1 << 40)))
        view = HeadView(name=f"{name}_{index}", head=name, split="train", camera=camera)
        if task.cycles:
            file = task.writer.folder / _WAITING / f"{view.name}.npz"
            write_bust(file, bust, shell, colors, camera)
        else:
            image, labels = paint_portrait(bust, shell, colors, camera)
            task.writer.add(view.name, labels, image=image)
        views.append(view)
        colors_of_views.append(colors.attributes())
    return Head(
        id=name,
        split=task.split,
        attributes={
            **person.attributes(),
            "colors": colors_of_views,
            "renderer": "cycles" if task.cycles else "painter",
        },
        views=tuple(views),
    )
