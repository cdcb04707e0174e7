"""A SOF's training as it runs: modules, codes, optimiser, rays, and where it stands."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import torch

from blender_addon.contract.errors import TrainingError
from models.dresser import autocast_dtype
from training.checkpoint import load_checkpoint, save_checkpoint
from training.divergence import DivergenceWatch
from training.dressing_model import RunningAverage, average_state
from training.processes import Processes, start_fabric
from training.schedule import require_end
from training.sof_data import HeadRays, RayBatch, label_weights
from training.sof_look import look
from training.sof_step import SofModel, losses
from training.stage import run_stage

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from training.heads.format import HeadSet
    from training.report import Report
    from training.sof_recipe import SofRecipe, SofSchedule

HELD_OUT_VIEWS = 8
"""Views that a running training looks at."""


class SofTraining:
    """A training as it runs.

    Args:
        recipe: all that decides about it.
        heads: a set of heads with depth, or with images where no loss needs depth.
        out: the run's folder.
        device: "auto", "cpu", "cuda", "cuda:0".
        devices: processes; the heads of a step are shared among them.
        limit: train on so many heads only; 0 for all there are.

    Raises:
        TrainingError: the stage has no end.
        HeadSetError: the set cannot be read, or has no depth that a loss needs.
    """

    def __init__(
        self,
        recipe: SofRecipe,
        heads: HeadSet,
        out: Path,
        *,
        device: str = "auto",
        devices: int = 1,
        limit: int = 0,
    ) -> None:
        require_end(recipe.schedule)
        self.recipe, self.out, self.heads = recipe, out, heads
        views = heads.views("train")
        chosen = list(dict.fromkeys(view.head for view in views))[: limit or None]
        self.rays = HeadRays.load(
            heads,
            [view for view in views if view.head in chosen],
            radius=recipe.architecture.radius,
            margin=recipe.data.margin,
            depth=recipe.weights.need_depth,
        )
        held_out = [view for view in heads.views("held-out") if view.head in chosen]
        shown = held_out or list(self.rays.views)
        self.shown = shown[:: max(len(shown) // HELD_OUT_VIEWS, 1)][:HELD_OUT_VIEWS]
        self.fabric = start_fabric(device, devices)
        self.processes = Processes(self.fabric)
        self.device = self.fabric.device
        self.dtype = autocast_dtype(self.device)
        torch.manual_seed(recipe.seed)
        options = recipe.optimiser
        model = SofModel(recipe.architecture, len(self.rays.ids), options.deviation)
        self.model = model.to(self.device)
        self.optimizer = torch.optim.Adam(
            [
                {"params": list(model.sof.parameters()), "base": options.rate},
                {"params": [model.codes], "base": options.code_rate},
            ],
            lr=options.rate,
            betas=(0.9, options.beta2),
            fused=True,
        )
        balance = label_weights(self.rays.frequencies(recipe.data), recipe.weights.frequency)
        self.label_weights = torch.from_numpy(balance).to(self.device)
        self.watch = DivergenceWatch(recipe.schedule.explosion)
        self.average: RunningAverage | None = None
        if options.average:
            self.average = RunningAverage(self.model, options.average)
        self.step = 0
        self.seconds = 0.0
        self.stopping = threading.Event()

    def resume(self) -> bool:
        """Go on from the run's checkpoint, if there is one.

        Raises:
            TrainingError: the checkpoint is of other heads or another architecture.
        """
        state = load_checkpoint(self.out)
        if state is None:
            return False
        if state["digest"] != self.heads.digest or state["heads"] != list(self.rays.ids):
            raise TrainingError(
                f"{self.out}: the checkpoint was trained on other heads",
                "give the same set of heads, or another --out with --init-from",
            )
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.watch.load(state["watch"])
            if self.average is not None:
                for name, value in state["average"].items():
                    self.average.values[name].copy_(value)
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise TrainingError(
                f"{self.out}: the checkpoint is of another architecture",
                "give the recipe that it was run with, or another --out with --init-from",
            ) from error
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        return True

    def start_from(self, values: dict[str, Tensor], ids: list[str]) -> None:
        """Take over the modules of another training, and the codes of heads that both know.

        Args:
            values: of `SofModel`'s state.
            ids: heads of its codes.

        Raises:
            TrainingError: another architecture.
        """
        place = {name: k for k, name in enumerate(ids)}
        codes = self.model.codes.detach().cpu().clone()
        # Heads that are new begin in the middle of those that are known.
        codes += values["codes"].mean(dim=0)
        for k, name in enumerate(self.rays.ids):
            if name in place:
                codes[k] = values["codes"][place[name]]
        try:
            self.model.load_state_dict(values | {"codes": codes})
        except RuntimeError as error:
            raise TrainingError(
                "the modules to start from are of another architecture",
                "give the architecture that they have, or start without --init-from",
            ) from error
        if self.average is not None:
            self.average = RunningAverage(self.model, self.average.decay)

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
        return run_stage(self, stop_after=stop_after, progress=progress, processes=self.processes)

    @property
    def schedule(self) -> SofSchedule:
        """How long the stage is."""
        return self.recipe.schedule

    def recipe_values(self) -> dict[str, Any]:
        """Return the recipe as run."""
        return self.recipe.to_plain()

    def batch_of(self, step: int) -> RayBatch:
        """Return this process's share of a step's rays."""
        batch = self.rays.batch(self.recipe.data, self.recipe.seed, step)
        return batch.share(self.processes.rank, self.processes.count)

    def averaged(self) -> SofModel:
        """Return modules and codes in evaluation mode: the running average where there is one."""
        options = self.recipe.optimiser
        model = SofModel(self.recipe.architecture, len(self.rays.ids), options.deviation)
        average = None if self.average is None else self.average.values
        model.load_state_dict(average_state(self.model.state_dict(), average))
        return model.to(self.device).eval().requires_grad_(requires_grad=False)

    def save(self) -> None:
        """Write the checkpoint; of several processes the first does."""
        if self.processes.is_first:
            state = {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": None if self.average is None else self.average.values,
                "watch": self.watch.to_plain(),
                "heads": list(self.rays.ids),
                "digest": self.heads.digest,
                "step": self.step,
                "seconds": self.seconds,
            }
            save_checkpoint(self.out, state)
        self.processes.wait()

    def make(self, batch: RayBatch) -> dict[str, float]:
        """Make one step."""
        recipe = self.recipe
        batch = batch.to(self.device)
        progress = recipe.schedule.progress(self.step, self.seconds)
        factor = recipe.schedule.factor(self.step, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor
        # On the CPU, so that a GPU's noise is the same; each process has its own.
        place = torch.Generator().manual_seed(
            (recipe.seed * 1_000_003 + self.step) * self.processes.count + self.processes.rank
        )
        noise = torch.rand((*batch.labels.shape, 2), generator=place).to(self.device)
        terms = losses(
            self.model.sof,
            self.model.codes[batch.head],
            batch,
            recipe.weights,
            self.label_weights,
            marched=recipe.data.marched,
            noise=noise,
            dtype=self.dtype,
        )
        loss = sum(
            (getattr(recipe.weights, name) * term for name, term in terms.items()),
            torch.zeros((), device=self.device),
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = list(self.model.parameters())
        self.processes.average_gradients(parameters)
        limit = recipe.optimiser.clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        values = {name: float(term.detach()) for name, term in terms.items()}
        values |= {"loss": float(loss.detach()), "gradient": float(norm)}
        values = self.processes.average(values)
        self.watch.look(self.step, values, values["loss"])
        self.optimizer.step()
        every = recipe.optimiser.average_every
        if self.average is not None and (self.step + 1) % every == 0:
            self.average.update(self.model, self.step + 1, every)
        return values | {"rate": recipe.optimiser.rate * factor}

    def look(self, report: Report) -> None:
        """Draw views that it does not train on, and measure them."""
        model = self.averaged()
        codes = {name: model.codes[k] for k, name in enumerate(self.rays.ids)}
        figures, picture = look(model.sof, codes, self.heads, self.shown)
        named = {f"held-out/{name}": value for name, value in figures.items()}
        report.scalars(self.step, named | {"minutes": self.seconds / 60})
        report.grid(self.step, picture)
