"""`dressform bench wardrobe`: samples and fits in avatar frames, and what a fit does to the viewport.

All in one run on one server with its usual settings: frames, samples and fits that end with the
encoder take turns, so that whatever else the machine does falls on all of them alike. Then an
orbiting viewport is watched without and with a fit in the same worker, and fits are cancelled at
moments spread over all that a fit does.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.client import Client
from blender_addon.contract import operations
from blender_addon.contract.avatar_look import seeded
from blender_addon.contract.avatar_train import avatar_id
from blender_addon.contract.errors import DressformError, InternalError
from blender_addon.contract.operations import AvatarRender
from blender_addon.contract.wardrobe import (
    FIT_STAGES,
    OPTIMISED,
    AvatarFit,
    AvatarSample,
    AvatarSave,
)
from blender_addon.engine.pace import POLL_SECONDS
from blender_addon.local_server import LocalServer, server_command
from models.avatar_preview import preview_pose
from models.frame import over_grey
from models.package import DEFAULT_LIBRARY
from scripts.avatar import WARDROBE
from scripts.live_clients import PATIENCE, LiveFit, LiveViewport, orbit_camera
from server.figures import Figure, milliseconds, publish

if TYPE_CHECKING:
    from blender_addon.contract.wardrobe import FitStage
    from blender_addon.contract.wire import Reply

ROOT = Path(__file__).resolve().parent.parent
SIZE = 512
SAMPLE_BOUND, ENCODER_BOUND = 5.0, 8.0
"""Times an avatar's frame."""
LATENCY_BOUND = 3.0
"""Times the viewport's latency without a fit."""
CANCEL_BOUND = 1.0
FIT_BOUND = 900.0
_HIGH = 95.0
"""Percentile of latencies that stands for the slow ones."""
_LOAD_EFFORT = 0.1
"""Of the fit beside the viewport: some steps of each stage, and all changes between them."""
_CANCEL_EFFORT = 0.02
"""Of fits that are cancelled: few steps a stage, so that moments fall on all kinds of work."""


def bench_wardrobe(
    wardrobe: str = WARDROBE,
    turns: int = 5,
    frames: int = 40,
    cancels: int = 2,
    all_stages: bool = False,
    library: Path = DEFAULT_LIBRARY,
    json: Path | None = None,
) -> int:
    """Time samples and fits against an avatar's frame, and the viewport and cancels in a fit.

    Args:
        wardrobe: id of the package.
        turns: of frames, samples and quick fits each; medians count.
        frames: of the viewport without a fit; with one it goes on as long as the fit does.
        cancels: fits that are cancelled after the first word of each stage, with the viewport still
            and as many while it orbits; 0 leaves that out.
        all_stages: also make a whole fit, which takes minutes.
        library: where the wardrobe lies.
        json: also write {"figure_name": {"value", "bound", "ok"}} to this file.

    Returns:
        0 when every bound holds.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        server = LocalServer.start(
            server_command(sys.executable),
            library=library,
            log=home / "server.log",
            cwd=ROOT,
            options=("--user-library", str(home / "own" / "library")),
        )
        try:
            with Client(server.endpoint) as client:
                bench = WardrobeBench(client, server.endpoint, wardrobe)
                figures = bench.times(turns)
                figures += bench.latencies(frames)
                if cancels:
                    figures += bench.cancels(cancels)
                if all_stages:
                    figures += bench.whole_fit()
        finally:
            server.stop()
    return publish(figures, json)


class WardrobeBench:
    """What is measured on one server.

    Args:
        client: of the server.
        endpoint: for viewports of their own.
        wardrobe: id of the package.
    """

    def __init__(self, client: Client, endpoint: str, wardrobe: str) -> None:
        self._client, self._endpoint, self._wardrobe = client, endpoint, wardrobe
        self._number = 0
        self._given_up: list[str] = []
        self._body = preview_pose(np.zeros(10, np.float32))
        saved = self._call(AvatarSave(avatar=wardrobe, name="Bench", look=seeded(0, wardrobe)))
        self._avatar = str(saved.params["avatar"])
        self._photo = self._photograph()

    def times(self, turns: int) -> list[Figure]:
        """Return what a sample and a fit by the encoder alone cost, in frames."""
        frame, sample, encoder = [], [], []
        for _ in range(turns + 1):
            # The first of each loads and warms up what it needs.
            frame.append(median(self._seconds(self._frame()) for _ in range(2)))
            sample.append(self._seconds(self._sample()))
            encoder.append(self._seconds(self._fit(stages=())))
        one, drawn, fitted = (median(each[1:]) for each in (frame, sample, encoder))
        return [
            milliseconds(
                "avatar_frame_ms", one, f"a {SIZE}² frame of an avatar, as a client has it"
            ),
            milliseconds("sample_ms", drawn, "somebody drawn by chance, with the panel's picture"),
            Figure(
                name="sample_frames",
                value=drawn / one,
                bound=SAMPLE_BOUND,
                unit="×",
                meaning="the same over the frame",
            ),
            milliseconds("first_fit_ms", fitted, "photograph to saved avatar, encoder only"),
            Figure(
                name="first_fit_frames",
                value=fitted / one,
                bound=ENCODER_BOUND,
                unit="×",
                meaning="the same over the frame",
            ),
        ]

    def latencies(self, frames: int) -> list[Figure]:
        """Return the viewport's latencies without and with a fit in the same worker."""
        viewport = self._viewport()
        try:
            while len(viewport.latencies) < frames + 1:
                viewport.pump()
                time.sleep(POLL_SECONDS)
            alone = viewport.latencies[1:]
            by_stage: dict[str, list[float]] = defaultdict(list)
            fit = LiveFit(self._client, self._fit(stages=OPTIMISED, effort=_LOAD_EFFORT))
            while fit.seconds is None:
                fit.pump()
                took = viewport.pump()
                if took is not None:
                    by_stage[fit.stage].append(took)
                time.sleep(POLL_SECONDS)
        finally:
            viewport.close()
        if not by_stage:
            raise InternalError("no frame came while a fit ran")
        beside = [each for some in by_stage.values() for each in some]
        slow, slow_beside = (float(np.percentile(each, _HIGH)) for each in (alone, beside))
        usual = median(alone)
        stages = {name: median(each) / usual for name, each in by_stage.items()}
        worst = max(stages, key=lambda name: stages[name])
        return [
            milliseconds("viewport_ms", usual, "from asking to having a viewport's frame, no fit"),
            milliseconds("viewport_slow_ms", slow, f"{_HIGH:g} of 100 are faster"),
            milliseconds("viewport_in_fit_ms", median(beside), "the same while a fit runs"),
            milliseconds("viewport_in_fit_slow_ms", slow_beside, f"{_HIGH:g} of 100 are faster"),
            milliseconds("viewport_in_fit_slowest_ms", max(beside), "the slowest of all"),
            _ratio("viewport_in_fit", median(beside) / usual, "with a fit over without, medians"),
            _ratio(
                "viewport_in_fit_slow", slow_beside / slow, "with a fit over without, slow ones"
            ),
            _ratio("viewport_in_stage", stages[worst], f"in the fit's slowest stage: {worst}"),
            *(
                Figure(
                    name=f"viewport_in_{name}",
                    value=value,
                    bound=None,
                    unit="×",
                    meaning=f"median of {len(by_stage[name])} frames in that stage",
                )
                for name, value in stages.items()
            ),
        ]

    def cancels(self, each: int) -> list[Figure]:
        """Return how long the worker goes on with fits that are cancelled."""
        whole = self._run(self._fit(stages=OPTIMISED, effort=_CANCEL_EFFORT))
        still = self._cancelled(whole, each, orbits=False)
        orbiting = self._cancelled(whole, each, orbits=True)
        figures = [
            Figure(
                name=name,
                value=max(seconds for _, seconds in found),
                bound=CANCEL_BOUND,
                unit="s",
                meaning=f"from cancelling a fit to its end, worst of {len(found)}{how}",
            )
            for name, found, how in (
                ("cancel_s", still, ""),
                ("cancel_orbiting_s", orbiting, " while the viewport orbits"),
            )
        ]
        for stage in FIT_STAGES:
            some = [seconds for name, seconds in [*still, *orbiting] if name == stage]
            if some:
                meaning = f"the same, worst of {len(some)} after the stage's first word"
                figures.append(milliseconds(f"cancel_in_{stage}_ms", max(some), meaning))
        broken = Figure(
            name="cancelled_left_broken",
            value=self._broken(),
            bound=0,
            unit="",
            meaning="avatars left behind by cancelled fits that cannot be rendered",
        )
        return [*figures, broken]

    def whole_fit(self) -> list[Figure]:
        """Return what a fit of the usual effort takes, and how many stages showed a picture."""
        fit = self._run(self._fit(stages=OPTIMISED))
        shown = {"encoder", *OPTIMISED} & fit.pictures
        return [
            Figure(
                name="whole_fit_s",
                value=fit.seconds or 0.0,
                bound=FIT_BOUND,
                unit="s",
                meaning="a fit through all stages, from one photograph to the saved avatar",
            ),
            Figure(
                name="stages_without_picture",
                value=len(OPTIMISED) + 1 - len(shown),
                bound=0,
                unit="",
                meaning=f"of encoder and stages; pictures came of {', '.join(sorted(shown))}",
            ),
        ]

    def _cancelled(self, whole: LiveFit, each: int, *, orbits: bool) -> list[tuple[str, float]]:
        """Cancel fits at moments spread over each stage of one; return stages and seconds."""
        found: list[tuple[str, float]] = []
        viewport = self._viewport() if orbits else None
        try:
            for stage, lasts in whole.lasted().items():
                for number in range(each):
                    after = (number + 0.5) / each * lasts
                    took = self._cancel_at(stage, after, viewport)
                    if took is not None:
                        found.append((stage, took))
        finally:
            if viewport is not None:
                viewport.close()
        return found

    def _cancel_at(self, stage: str, after: float, viewport: LiveViewport | None) -> float | None:
        """Cancel a fit so long after a stage's first word; None if it had ended by then."""
        fit = LiveFit(self._client, self._fit(stages=OPTIMISED, effort=_CANCEL_EFFORT))
        while stage not in fit.reached or time.monotonic() - fit.reached[stage] < after:
            fit.pump()
            if fit.seconds is not None:
                return None
            if viewport is not None:
                viewport.pump()
            time.sleep(POLL_SECONDS / 2)
        self._given_up.append(fit.asked.id)
        fit.cancel()
        cancelled = time.monotonic()
        while self._at_work():
            if viewport is not None:
                viewport.pump()
            time.sleep(POLL_SECONDS / 4)
        return time.monotonic() - cancelled

    def _at_work(self) -> bool:
        workers = self._client.call(operations.HEALTH, timeout=60.0).params["workers"]
        return any(worker["long_jobs"] for worker in workers)

    def _broken(self) -> int:
        """Return how many avatars of cancelled fits are there and cannot be rendered."""
        listed = self._client.call(operations.LIBRARY_LIST, timeout=60.0).params["models"]
        broken = 0
        for row in listed:
            if row["id"] in self._given_up:
                try:
                    self._call(replace(self._frame(), avatar=row["id"]))
                except DressformError:
                    broken += 1
        return broken

    def _run(self, asked: AvatarFit) -> LiveFit:
        fit = LiveFit(self._client, asked)
        while fit.seconds is None:
            fit.pump()
            time.sleep(POLL_SECONDS / 2)
        return fit

    def _seconds(self, asked: AvatarRender | AvatarSample | AvatarFit) -> float:
        started = time.monotonic()
        self._call(asked)
        return time.monotonic() - started

    def _call(self, asked: AvatarRender | AvatarSample | AvatarSave | AvatarFit) -> Reply:
        return self._client.call(asked.operation, *asked.to_wire(), timeout=PATIENCE)

    def _next(self) -> int:
        """Return another number each time: what was asked before would come from the cache."""
        self._number += 1
        return self._number

    def _frame(self) -> AvatarRender:
        camera = orbit_camera(0.01 * self._next(), SIZE, SIZE)
        return AvatarRender(avatar=self._avatar, body=self._body, camera=camera)

    def _sample(self) -> AvatarSample:
        return AvatarSample(avatar=self._wardrobe, seeds=(self._next(),))

    def _fit(self, *, stages: tuple[FitStage, ...], effort: float = 1.0) -> AvatarFit:
        name = f"Bench {self._next()}"
        return replace(self._photo, name=name, id=avatar_id(name), stages=stages, effort=effort)

    def _photograph(self) -> AvatarFit:
        """Return what is asked of each fit: a frame of somebody, and the body that it shows."""
        asked = self._frame()
        rgba = self._call(asked).arrays["rgba"]
        image = over_grey(rgba)
        mask = np.ascontiguousarray(rgba[..., 3])
        return AvatarFit(
            wardrobe=self._wardrobe,
            name="Bench",
            images=(image,),
            masks=(mask,),
            fits=((asked.body, asked.camera),),
        )

    def _viewport(self) -> LiveViewport:
        return LiveViewport(self._endpoint, self._avatar, self._body)


def _ratio(name: str, value: float, meaning: str) -> Figure:
    return Figure(name=name, value=value, bound=LATENCY_BOUND, unit="×", meaning=meaning)
