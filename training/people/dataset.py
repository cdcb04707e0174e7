"""`dressform dataset people`: captures of synthetic people, in parallel, byte for byte the same."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tqdm import tqdm

from blender_addon.contract.errors import BadParameter, CaptureError
from models.body import Body, load_body
from training.captures import Capture, CaptureFrame, CaptureWriter
from training.people.figures import Figure, build_figure
from training.people.frames import FramePlan, make_frame
from training.people.identities import Identity, random_identity
from training.people.workers import mapped

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

LICENCE = "CC0-1.0"
DEFAULT_BODY = Path(__file__).parents[2] / "models" / "library" / "body-cc0"


@dataclass(frozen=True)
class Job:
    """One capture to make: who, which frames, how large."""

    identity: Identity
    plans: tuple[FramePlan, ...]
    size: int


@dataclass(frozen=True)
class _Sources:
    body: Path
    assets: Path | None


def people(
    *,
    out: Path = Path("runs/people"),
    identities: int = 8,
    frames: int = 200,
    held_out: int = 40,
    size: int = 512,
    seed: int = 0,
    assets: Path | None = None,
    recipe: Literal["random", "benchmark"] = "random",
    workers: int = 2,
    body: Path = DEFAULT_BODY,
) -> None:
    """Make captures of synthetic people: one folder per person under OUT.

    The same options give the same bytes, whatever the number of workers.

    Args:
        out: folder that receives one capture per person.
        identities: number of random people (recipe random).
        frames: frames per person, training and held-out together.
        held_out: how many of them are held out, with poses and cameras of their own.
        size: width and height of the images in pixels.
        seed: of people, poses and cameras.
        assets: folder of the CC0 MakeHuman asset set; without it everything is procedural.
        recipe: random people, or the training captures of the benchmark's people, painted.
        workers: processes, each on one thread; 0 works in this process.
        body: body package or SMPL-X file.
    """
    if frames < 1 or not 0 <= held_out <= frames or size < 16 or identities < 1:
        raise BadParameter(
            "frames, identities ≥ 1, size ≥ 16 and 0 ≤ held-out ≤ frames must hold",
            "see dressform dataset people --help",
        )
    people_ = _cast(recipe, identities, seed, assets)
    jobs = [Job(identity, _plans(frames, held_out, seed), size) for identity in people_]
    for job in jobs:
        if (out / job.identity.name / "capture.json").exists():
            raise CaptureError(
                f"{out / job.identity.name} already holds a capture",
                "give another folder, or remove it",
            )
    source: dict[str, object] = {
        "command": "dataset people",
        "recipe": recipe,
        "seed": seed,
        "frames": frames,
    }
    write_captures(out, jobs, body=body, assets=assets, workers=workers, source=source)
    if recipe == "benchmark":
        from training.people.benchmark import check_disjoint

        for job in jobs:
            check_disjoint(Capture.open(out / job.identity.name))


def write_captures(
    out: Path,
    jobs: list[Job],
    *,
    body: Path,
    assets: Path | None = None,
    workers: int,
    source: dict[str, object],
    image_suffix: str = ".png",
) -> None:
    """Make the captures of some jobs under a folder, with a progress bar."""
    body_id = load_body(body).id
    with _frames(_Sources(body, assets), jobs, workers) as produced:
        for job in jobs:
            with CaptureWriter(
                out / job.identity.name,
                id=job.identity.name,
                body=body_id,
                licence=LICENCE,
                background="black",
                image_size=(job.size, job.size),
                betas=job.identity.shape(),
                image_suffix=image_suffix,
                source=source,
            ) as writer:
                for _ in tqdm(job.plans, desc=job.identity.name, unit="frame", smoothing=0.05):
                    writer.add(next(produced))


def _cast(recipe: str, identities: int, seed: int, assets: Path | None) -> list[Identity]:
    if recipe == "benchmark":
        from training.people.benchmark import PEOPLE

        return list(PEOPLE)
    return [
        random_identity(f"person-{seed}-{k:02d}", seed * 1000 + k, assets=assets is not None)
        for k in range(identities)
    ]


def _plans(frames: int, held_out: int, seed: int) -> tuple[FramePlan, ...]:
    training = [FramePlan(number=k, split="train", seed=seed) for k in range(frames - held_out)]
    held = [FramePlan(number=k, split="held-out", seed=seed) for k in range(held_out)]
    return (*training, *held)


@contextmanager
def _frames(sources: _Sources, jobs: list[Job], workers: int) -> Generator[Iterator[CaptureFrame]]:
    """Yield the frames of all jobs in order, made by processes or here."""
    tasks = [(sources, job.identity, plan, job.size) for job in jobs for plan in job.plans]
    with mapped(_make, tasks, workers) as made:
        yield made


def _make(task: tuple[_Sources, Identity, FramePlan, int]) -> CaptureFrame:
    sources, identity, plan, size = task
    return make_frame(_figure(sources, identity), plan, size=size)


@lru_cache(maxsize=2)
def _figure(sources: _Sources, identity: Identity) -> Figure:
    return build_figure(identity, _body(sources.body), sources.assets)


@lru_cache(maxsize=1)
def _body(path: Path) -> Body:
    return load_body(path)
