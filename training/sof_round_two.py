"""`dressform train sof-round-two`: heads of which one label map each is known, and no camera.

Source: SofGAN section 6.2, "Expand the sampling space". Codes and cameras of in-the-wild label
maps are optimised together while all modules stay as the first round left them; after N steps,
when contours are about right, the modules are released. The run's folder holds recipe.json,
checkpoint.pt, curve.jsonl (the paper's Figure 5 as numbers) and samples/; `dressform export sof`
turns it into a package whose basis are these heads.
"""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from blender_addon.contract.errors import HeadSetError, TrainingError
from models.dresser import autocast_dtype
from models.label_agreement import Confusion
from models.memory import keep_freed_memory
from models.rays import pixel_rays
from models.sof_cameras import CameraParameters, camera_error
from models.sof_fit import search_camera
from models.sof_render import SofRenderer
from models.sof_space import SofSpace
from training.checkpoint import load_checkpoint, save_checkpoint
from training.divergence import DivergenceWatch
from training.heads.format import HeadSet
from training.processes import start_fabric
from training.sof_data import HeadRays, draw_pixels, label_weights
from training.sof_export import start_config, start_values
from training.sof_look import sheet
from training.sof_round_two_recipe import (
    RoundTwoData,
    RoundTwoOptimiser,
    RoundTwoRecipe,
    RoundTwoSchedule,
)
from training.sof_step import SofModel
from training.stage import run_stage

if TYPE_CHECKING:
    from blender_addon.contract.camera import Camera
    from models.sof import SofConfig
    from training.heads.format import HeadView
    from training.report import Report

CURVE_FILE = "curve.jsonl"
SHOWN = 8
"""Heads on the sample sheets."""


def train_sof_round_two(
    heads: Path,
    init_from: Path,
    out: Path = Path("runs/sof-round-two"),
    data: RoundTwoData = RoundTwoData(),  # noqa: B008 - frozen
    optimiser: RoundTwoOptimiser = RoundTwoOptimiser(),  # noqa: B008
    schedule: RoundTwoSchedule = RoundTwoSchedule(),  # noqa: B008
    seed: int = 0,
    stop_after: float | None = None,
    limit: int = 0,
    device: str = "auto",
    threads: int = 2,
) -> int:
    """Fit codes and cameras of single label maps, then release the modules.

    Args:
        heads: a set of heads or portraits; of each head one view is seen, without its camera.
        init_from: run or package of the first round.
        out: the run's folder; a checkpoint there is gone on from.
        data: what a step sees.
        optimiser: rates.
        schedule: steps, and when the modules are released.
        seed: of the rays.
        stop_after: stop with a checkpoint after so many minutes of this session.
        limit: so many heads only; 0 for all.
        device: "auto", "cpu", "cuda" or "cuda:0".
        threads: of torch on the CPU.
    """
    recipe = RoundTwoRecipe(data=data, optimiser=optimiser, schedule=schedule, seed=seed)
    torch.set_num_threads(threads)
    keep_freed_memory()
    training = SofRoundTwo(recipe, HeadSet.open(heads), init_from, out, device=device, limit=limit)
    if not training.resume():
        training.search()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: training.stopping.set())
    training.run(stop_after=stop_after)
    for entry in training.curve:
        print(json.dumps(entry))  # noqa: T201 - a command's own output
    return 0


class MapBatch(NamedTuple):
    """The rays of a step.

    Attributes:
        maps: (B,) int64, indices of the label maps.
        x: (B, N) float32, pixels from the left.
        y: (B, N) float32, pixels from the top.
        labels: (B, N) int64, what is seen there.
    """

    maps: Tensor
    x: Tensor
    y: Tensor
    labels: Tensor


class SofRoundTwo:
    """The second round as it runs.

    Args:
        recipe: all that decides about it.
        heads: the set; the first view of each head for training is fitted, its others measure.
        source: run or package of the first round.
        out: the run's folder.
        device: "auto", "cpu", "cuda", "cuda:0".
        limit: so many heads only; 0 for all.
    """

    def __init__(
        self,
        recipe: RoundTwoRecipe,
        heads: HeadSet,
        source: Path,
        out: Path,
        *,
        device: str = "auto",
        limit: int = 0,
    ) -> None:
        self.recipe, self.heads, self.out = recipe, heads, out
        self.views = first_views(heads)[: limit or None]
        values, _ = start_values(source)
        self.config: SofConfig = start_config(source)
        self.device = start_fabric(device, 1).device
        self.dtype = autocast_dtype(self.device)
        self.space = SofSpace(values["codes"].to(self.device))
        model = SofModel(self.config, len(self.views), 0.0)
        codes = self.space.mean.cpu().repeat(len(self.views), 1)
        model.load_state_dict(values | {"codes": codes})
        self.model = model.to(self.device)
        # Zones by the true cameras would tell where the head is: only the labels count here.
        self.rays = HeadRays.load(
            heads, self.views, radius=float("inf"), margin=recipe.data.margin, depth=False
        )
        balance = label_weights(self.rays.frequencies(recipe.data), recipe.data.frequency)
        self.label_weights = torch.from_numpy(balance).to(self.device)
        self.cameras = CameraParameters.of([view.camera for view in self.views]).to(self.device)
        self.watch = DivergenceWatch(recipe.schedule.explosion)
        self.curve: list[dict[str, float]] = []
        self.step = 0
        self.seconds = 0.0
        self.stopping = threading.Event()
        self._start_optimizer()

    def search(self) -> None:
        """Find a first camera for every label map with the mean head."""
        renderer = SofRenderer(self.model.sof)
        found: list[Camera] = []
        for view in self.views:
            focal = float(view.camera.K[0, 0])
            labels = self.heads.labels(view)
            found.append(search_camera(renderer, self.space.mean, labels, focal))
        self.cameras = CameraParameters.of(found).to(self.device)
        self._start_optimizer()

    def resume(self) -> bool:
        """Go on from the run's checkpoint, if there is one.

        Raises:
            TrainingError: it is of other heads or another architecture.
        """
        state = load_checkpoint(self.out)
        if state is None:
            return False
        if state["digest"] != self.heads.digest or len(state["heads"]) != len(self.views):
            raise TrainingError(
                f"{self.out}: the checkpoint was trained on other heads",
                "give the same set of heads, or another --out",
            )
        try:
            self.model.load_state_dict(state["model"])
            self.cameras.load_state_dict(state["cameras"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise TrainingError(
                f"{self.out}: the checkpoint is of another architecture",
                "give the recipe that it was run with, or another --out",
            ) from error
        self.watch.load(state["watch"])
        self.curve = [dict(entry) for entry in state["curve"]]
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        return True

    def run(self, *, stop_after: float | None = None) -> None:
        """Train until the last step or the session's end; a checkpoint stands at the end."""
        self._measure()
        run_stage(self, stop_after=stop_after)

    @property
    def schedule(self) -> RoundTwoSchedule:
        """How long the round is."""
        return self.recipe.schedule

    def recipe_values(self) -> dict[str, Any]:
        """Return the recipe as run, and the architecture that it found."""
        return {"architecture": self.config.to_plain()} | self.recipe.to_plain()

    def look(self, report: Report) -> None:
        """Measure where the curve has a point."""
        if self._measure():
            report.scalars(self.step, self.curve[-1])

    def save(self) -> None:
        """Write the checkpoint; `dressform export sof` reads it as a first round's."""
        save_checkpoint(
            self.out,
            {
                "model": self.model.state_dict(),
                "average": None,
                "cameras": self.cameras.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "watch": self.watch.to_plain(),
                "curve": self.curve,
                "heads": list(self.rays.ids),
                "digest": self.heads.digest,
                "step": self.step,
                "seconds": self.seconds,
            },
        )

    def fitted_camera(self, index: int) -> Camera:
        """Return where a label map's camera is now."""
        size = self.heads.size
        return self.cameras.camera(index, size, size)

    def figures(self) -> tuple[dict[str, float], Any]:
        """Measure all heads as they are now.

        Returns:
            mean IoU of the fitted views and of the heads' other views, errors of the cameras; and
            a sheet of true and fitted label maps.
        """
        renderer = SofRenderer(self.model.sof)
        fitted, others = Confusion.empty(), Confusion.empty()
        errors: list[tuple[float, float]] = []
        pairs: list[Any] = []
        rest: dict[str, list[HeadView]] = {view.head: [] for view in self.views}
        for view in self.heads.views(None, heads=None):
            if view.head in rest and view not in self.views:
                rest[view.head].append(view)
        was_training = self.model.training
        for index, view in enumerate(self.views):
            code = self.model.codes[index].detach()
            camera = self.fitted_camera(index)
            truth = self.heads.labels(view)
            seen = renderer.label_map(code, camera).labels.cpu().numpy()
            fitted.add(truth, seen)
            errors.append(camera_error(camera, view.camera))
            if index < SHOWN:
                pairs.append((truth, seen))
            # One other view each: what free viewpoint is for.
            for other in rest[view.head][:1]:
                drawn = renderer.label_map(code, other.camera).labels.cpu().numpy()
                others.add(self.heads.labels(other), drawn)
        self.model.train(was_training)
        degrees, metres = np.median(np.array(errors), axis=0)
        figures = {
            "iou_fitted": fitted.mean_iou(),
            "accuracy_fitted": fitted.accuracy,
            "camera_degrees": float(degrees),
            "camera_metres": float(metres),
        }
        if others.counts.sum():
            figures["iou_others"] = others.mean_iou()
        return figures, sheet(pairs)

    def _start_optimizer(self) -> None:
        options = self.recipe.optimiser
        groups: list[dict[str, Any]] = [
            {"params": [self.model.codes], "base": options.code_rate, "what": "maps"},
            {
                "params": self.cameras.free(options.freedom),
                "base": options.camera_rate,
                "what": "maps",
            },
            {
                "params": list(self.model.sof.parameters()),
                "base": options.module_rate,
                "what": "modules",
            },
        ]
        groups = [group for group in groups if group["params"]]
        self.optimizer = torch.optim.Adam(groups, lr=options.code_rate, betas=(0.9, options.beta2))

    def batch_of(self, step: int) -> MapBatch:
        """Return a step's rays: the same for the same step."""
        data, size = self.recipe.data, self.heads.size
        random = np.random.default_rng([self.recipe.seed, step])
        count = min(data.maps, len(self.views))
        chosen = np.sort(random.choice(len(self.views), count, replace=False))
        pixels = np.stack([draw_pixels(self.rays.zones[view], data, random) for view in chosen])
        labels = np.take_along_axis(
            self.rays.labels[chosen].reshape(len(chosen), -1), pixels, axis=1
        )
        x, y = (each.astype(np.float32) for each in (pixels % size + 0.5, pixels // size + 0.5))
        return MapBatch(
            *(torch.from_numpy(each) for each in (chosen, x, y, labels.astype(np.int64)))
        )

    def make(self, batch: MapBatch) -> dict[str, float]:
        """Make one step."""
        recipe = self.recipe
        released = self.step >= recipe.schedule.release
        self.model.sof.requires_grad_(released)
        factors = {
            "modules": recipe.schedule.module_factor(self.step),
            "maps": recipe.schedule.factor(self.step),
        }
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factors[group["what"]]
        index, x, y, labels = (each.to(self.device) for each in batch)
        codes = self.model.codes[index]
        field = self.model.sof.field(codes, self.dtype)
        marched = self.model.sof.march(field, pixel_rays(self.cameras(index), x, y))
        hit = marched.chord.hit
        # A map of which no ray meets the sphere pulls nothing; all of them missing is an error
        # that the watch would not see.
        if not bool(hit.any()):
            raise TrainingError("no camera sees a head", "start anew with --camera_rate lower")
        loss = functional.cross_entropy(marched.logits[hit], labels[hit], self.label_weights)
        away = (codes - self.space.mean) / self.space.deviation
        loss = loss + recipe.optimiser.prior * away.square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        used = [p for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(used, recipe.optimiser.clip or float("inf"))
        values = {"loss": float(loss.detach()), "gradient": float(norm)}
        self.watch.look(self.step, values, values["loss"])
        self.optimizer.step()
        self.cameras.keep_outside()
        return values

    def _measure(self) -> bool:
        """Add a point to the curve where one is planned and missing; return whether it did."""
        if not self.schedule.has_point(self.step):
            return False
        if self.curve and self.curve[-1]["step"] == self.step:
            return False
        figures, picture = self.figures()
        entry = {"step": self.step, "minutes": self.seconds / 60} | figures
        entry["released"] = float(self.step >= self.recipe.schedule.release)
        self.curve.append({name: round(value, 5) for name, value in entry.items()})
        samples = self.out / "samples"
        samples.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(samples / f"{self.step:06d}.png")
        lines = "".join(json.dumps(each) + "\n" for each in self.curve)
        (self.out / CURVE_FILE).write_text(lines, encoding="utf-8")
        return True


def first_views(heads: HeadSet) -> list[HeadView]:
    """Return one view of every head, the first that a fit may look at.

    Raises:
        HeadSetError: there is none.
    """
    found: dict[str, HeadView] = {}
    for view in heads.views("train", heads=None):
        found.setdefault(view.head, view)
    if not found:
        raise HeadSetError(f"{heads.folder}: no view to fit", "check its splits")
    return list(found.values())
