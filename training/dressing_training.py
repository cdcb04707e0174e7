"""A neural dressing training as it runs: model, optimiser, data, and where it stands."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from lightning_fabric import Fabric

from blender_addon.contract.errors import TrainingDiverged, TrainingError
from models.dresser import autocast_dtype
from models.package import DEFAULT_LIBRARY
from models.perceptual import perceptual_distance
from training.checkpoint import load_checkpoint, save_checkpoint
from training.dressing_data import Batch, People, load_frames, make_batch
from training.dressing_model import DressingModel, RunningAverage, average_state
from training.dressing_report import Report, look
from training.dressing_start import (
    start_from,
    start_from_kept_textures,
    start_from_plain_textures,
)
from training.losses import (
    NEUTRAL_GREY,
    composite,
    composite_l1,
    composite_premultiplied,
    dice_loss,
    mask_entropy,
    weighted_sum,
)
from training.prefetch import Prefetcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from models.dresser import Dressed
    from models.perceptual import PerceptualDistance
    from training.dressing_data import Frame
    from training.dressing_recipe import DressingRecipe

HELD_OUT_FRAMES = 6
"""Frames a person that a running training looks at."""
LOG_EVERY = 20
"""Steps between entries of the log."""
RECIPE_FILE = "recipe.json"


class StepReport(NamedTuple):
    """Where a training stands.

    Attributes:
        step: steps made so far.
        seconds: of training so far, all sessions together.
        progress: of the stage, 0…1.
        values: losses and rates of the step just made; None in the middle of a step.
    """

    step: int
    seconds: float
    progress: float
    values: dict[str, float] | None


class DressingTraining:
    """A training as it runs: model, optimiser, data and where it stands.

    Args:
        recipe: all that decides about it.
        captures: folders, one a person.
        out: the run's folder.
        library: where the body lies.
        device: "auto", "cpu", "cuda", "cuda:0".
        overfit: train on so many frames in all; 0 for all there are.
    """

    def __init__(
        self,
        recipe: DressingRecipe,
        captures: Iterable[Path],
        out: Path,
        *,
        library: Path = DEFAULT_LIBRARY,
        device: str = "auto",
        overfit: int = 0,
    ) -> None:
        if not (recipe.schedule.steps or recipe.schedule.minutes):
            raise TrainingError("the stage has no end", "set schedule.steps or --minutes")
        self.recipe = recipe
        self.out = out
        self.people = People.open(list(captures), library)
        self.frames = self._read_frames(overfit)
        self.held_out = load_frames(self.people, "held-out", HELD_OUT_FRAMES)
        self.fabric = _fabric(device)
        self.device = self.fabric.device
        model = DressingModel(
            recipe.architecture,
            len(self.frames),
            texture_size=recipe.optimiser.texture_size,
            deviation=recipe.optimiser.texture_deviation,
            seed=recipe.seed,
        )
        groups = [
            {"params": list(model.dresser.parameters()), "lr": recipe.optimiser.dresser_rate},
            {"params": list(model.textures.parameters()), "lr": recipe.optimiser.texture_rate},
        ]
        adam = torch.optim.Adam(groups, betas=(recipe.optimiser.beta1, 0.999), fused=True)
        self.model = model.to(self.device)
        # Only the network runs in mixed precision: UVs and textures need all their bits.
        self.dresser = self.fabric.setup_module(self.model.dresser)
        # Fabric returns what it was given, wrapped; its type says one or many.
        self.optimiser = cast("torch.optim.Optimizer", self.fabric.setup_optimizers(adam))
        self.average: RunningAverage | None = None
        self.distance: PerceptualDistance = perceptual_distance(
            recipe.vgg19, stages=recipe.perceptual_stages
        ).to(self.device)
        self.step = 0
        self.seconds = 0.0
        self.stopping = threading.Event()

    def resume(self) -> bool:
        """Go on from the run's checkpoint, if there is one.

        Raises:
            TrainingError: the checkpoint is of other captures or another architecture.
        """
        state = load_checkpoint(self.out)
        if state is None:
            return False
        if state["digests"] != self._digests():
            raise TrainingError(
                f"{self.out}: the checkpoint was trained on other captures",
                "give the same captures in the same order, or another --out with --init-from",
            )
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise TrainingError(
                f"{self.out}: the checkpoint is of another architecture", "give another --out"
            ) from error
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self._start_average()
        if self.average is not None and state["average"] is not None:
            for name, value in state["average"].items():
                self.average.values[name].copy_(value)
        return True

    def start(self, init_from: Path | None = None, plain_textures: Path | None = None) -> None:
        """Set first values: from a run or packages where given, from plain RGB textures elsewhere."""
        started: set[int] = set()
        if init_from is not None:
            started = start_from(self.model, self.people, init_from)
        if plain_textures is not None:
            started |= start_from_kept_textures(self.model, self.people, plain_textures)
        start_from_plain_textures(
            self.model,
            self.people,
            self.frames,
            replace(self.recipe.data, people_per_batch=1),
            steps=self.recipe.optimiser.warm_start,
            seed=self.recipe.seed,
            leave=started,
        )
        self._start_average()

    def run(self, *, stop_after: float | None = None, progress: bool = False) -> list[float]:
        """Train until the stage or the session ends; a checkpoint stands at the end.

        Args:
            stop_after: minutes of this session.
            progress: show a bar on stderr.

        Returns:
            the loss of each step made.

        Raises:
            TrainingDiverged: a loss or gradient is not finite; the last checkpoint stays.
        """
        from tqdm import tqdm

        history: list[float] = []
        steps = self.recipe.schedule.steps
        with tqdm(total=steps, initial=self.step, disable=not progress, unit="step") as bar:
            for report in self.iterate(stop_after):
                if report.values is not None:
                    history.append(report.values["loss"])
                    bar.update()
        return history

    def iterate(self, stop_after: float | None = None) -> Iterator[StepReport]:
        """Train step by step, and let the caller do something else in between.

        Yields twice a step: before the backward pass (`values` is None) and when the step is
        made. Closing the iterator between ends the session like `stop_after`: with a checkpoint.
        Time that the caller takes does not count.

        Args:
            stop_after: minutes of this session.

        Raises:
            TrainingDiverged: a loss or gradient is not finite; the last checkpoint stays.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        recipe_text = json.dumps(self.recipe.to_plain(), indent=1)
        (self.out / RECIPE_FILE).write_text(recipe_text + "\n", encoding="utf-8")
        report = Report(self.out)
        try:
            yield from self._iterate(report, stop_after)
            self._look(report)
        finally:
            report.close()

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "people": self.people.ids,
            "digests": self._digests(),
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": None if self.average is None else self.average.values,
        }
        save_checkpoint(self.out, state)

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Dress a batch and return each loss by its name in the weights."""
        painted: Dressed = self.dresser(self.model.features(batch))
        # Outside the frame truth is unknown: nothing is compared there.
        dressed = painted._replace(masks=painted.masks * batch.captured)
        weights = self.recipe.weights
        parts = {
            "l1": composite_l1(
                dressed,
                batch.colour,
                batch.masks,
                background=batch.background,
                face_hands=weights.face_hands,
            )
        }
        if weights.perceptual:
            predicted = composite(dressed.rgb, dressed.masks[:, :1], NEUTRAL_GREY)
            true = composite_premultiplied(batch.colour, batch.masks[:, :1], NEUTRAL_GREY)
            parts["perceptual"] = self.distance(predicted, true)
        if weights.segmentation:
            parts["segmentation"] = dice_loss(dressed.masks, batch.masks)
        if weights.mask_entropy:
            parts["mask_entropy"] = mask_entropy(dressed.masks, batch.masks)
        if weights.mipmap:
            parts["mipmap"] = self.model.mipmap_penalty(batch.people)
        return parts

    def _iterate(self, report: Report, stop_after: float | None) -> Iterator[StepReport]:
        schedule = self.recipe.schedule
        session = self.seconds
        next_report = self.seconds + 60 * schedule.report_minutes
        next_save = self.seconds + 60 * schedule.checkpoint_minutes
        make = lambda step: make_batch(  # noqa: E731
            self.people, self.frames, self.recipe.data, self.recipe.seed, step
        )
        with Prefetcher(make, self.step) as prefetcher:
            batches = iter(prefetcher)
            while schedule.progress(self.step, self.seconds) < 1.0 and not self.stopping.is_set():
                if stop_after and self.seconds - session > 60 * stop_after:
                    break
                try:
                    yield from self._timed_step(batches, report)
                except GeneratorExit:
                    self.save()
                    raise
                if self.seconds >= next_save:
                    self.save()
                    next_save = self.seconds + 60 * schedule.checkpoint_minutes
                if self.seconds >= next_report:
                    self._look(report)
                    next_report = self.seconds + 60 * schedule.report_minutes
        self.save()

    def _timed_step(self, batches: Iterator[Batch], report: Report) -> Iterator[StepReport]:
        """Make one step; the clock stands while the caller has the turn."""
        started = time.monotonic()
        batch = next(batches)
        waited = time.monotonic() - started
        spent, parts = waited, self._train_step(batch)
        while True:
            started = time.monotonic()
            values = next(parts)
            spent += time.monotonic() - started
            if values is not None:
                break
            yield self._report(None)
        self.seconds += spent
        values["seconds"], values["data_share"] = spent, waited / spent
        if self.step % LOG_EVERY == 0:
            values["steps_per_second"] = self.step / max(self.seconds, 1e-9)
            report.scalars(self.step, values)
        yield self._report(values)

    def _report(self, values: dict[str, float] | None) -> StepReport:
        done = self.recipe.schedule.progress(self.step, self.seconds)
        return StepReport(self.step, self.seconds, done, values)

    def _train_step(self, batch: Batch) -> Iterator[dict[str, float] | None]:
        """Make a step; yields None before the backward pass, and the step's values at the end."""
        recipe = self.recipe
        progress = recipe.schedule.progress(self.step, self.seconds)
        factor = recipe.schedule.factor(progress)
        warm = min(1.0, (self.step + 1) / max(recipe.schedule.warm_up, 1))
        rates = (recipe.optimiser.dresser_rate * warm, recipe.optimiser.texture_rate)
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        batch = self._on_device(batch)
        self.model.train()
        if progress >= recipe.schedule.freeze_statistics:
            self.model.freeze_statistics()
        parts = self.losses(batch)
        loss = weighted_sum(parts, recipe.weights)
        yield None
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.dresser.parameters(), recipe.optimiser.clip
        )
        values = {f"loss/{name}": part.item() for name, part in parts.items()}
        values |= {"loss": loss.item(), "gradient": norm.item(), "rate": factor}
        if not all(map(_finite, values.values())):
            raise TrainingDiverged(
                f"step {self.step}: a loss or gradient is not finite; the checkpoint in "
                f"{self.out} is from before"
            )
        self.optimiser.step()
        self.step += 1
        every = recipe.optimiser.average_every
        if self.average is not None and self.step % every == 0:
            self.average.update(self.model, self.step, every)
        yield values

    def _look(self, report: Report) -> None:
        shown = [held or own for held, own in zip(self.held_out, self.frames, strict=True)]
        shown = [some[:HELD_OUT_FRAMES] for some in shown]
        model = self.averaged_model()

        def dress(batch: Batch) -> Dressed:
            with self.fabric.autocast():
                return model(self._on_device(batch))

        figures, picture = look(dress, self.people, shown, self.recipe.data.size)
        report.scalars(self.step, figures | {"minutes": self.seconds / 60})
        report.grid(self.step, picture)

    def averaged_model(self) -> DressingModel:
        """Return a model in evaluation mode with the running average, or the model's values."""
        size = self.recipe.optimiser.texture_size
        model = DressingModel(self.recipe.architecture, len(self.frames), texture_size=size)
        model = model.to(self.device)
        average = None if self.average is None else self.average.values
        model.load_state_dict(average_state(self.model.state_dict(), average))
        return model.eval()

    def _on_device(self, batch: Batch) -> Batch:
        return self.fabric.to_device(batch)

    def _start_average(self) -> None:
        if self.recipe.optimiser.average:
            self.average = RunningAverage(self.model, self.recipe.optimiser.average)

    def _read_frames(self, overfit: int) -> list[list[Frame]]:
        limit = -(-overfit // len(self.people.captures)) if overfit else None
        frames = load_frames(self.people, "train", limit)
        if not all(frames):
            raise TrainingError("a capture has no training frames", "check its splits")
        return frames

    def _digests(self) -> list[str]:
        return [capture.digest for capture in self.people.captures]


def _fabric(device: str) -> Fabric:
    accelerator, _, index = device.partition(":")
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = autocast_dtype(torch.device(accelerator))
    return Fabric(
        accelerator=accelerator,
        devices=[int(index)] if index else 1,
        precision="bf16-mixed" if dtype is not None else "32-true",
    )


def _finite(value: float) -> bool:
    return value - value == 0.0
