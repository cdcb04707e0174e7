"""One step of neural dressing: the dresser and the textures, then their adversaries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from models.dresser_delta import is_in_delta
from training.adversaries import Adversaries
from training.divergence import DivergenceWatch
from training.dressing_model import DressingModel
from training.fit_refinement import FitRefinement
from training.losses import ADVERSARIAL, weighted_sum
from training.objective import DressingObjective, supervised_share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lightning_fabric import Fabric
    from torch import Tensor, nn

    from models.dresser import Dressed
    from training.adversaries import Views
    from training.dressing_data import Batch, Frame, People
    from training.dressing_recipe import DressingRecipe
    from training.processes import Processes

FIT_PARTS = ("pose", "betas", "camera")
"""What of a body fit is refined, each with a rate of its own."""
OWN_PREFIX = "discriminator/"
"""Of the discriminators' own losses in the log."""


class DressingStep:
    """The players of a training, their optimisers, and the step that they make.

    Args:
        recipe: all that decides about them.
        people: whose textures, and whose fits where these are refined.
        frames: training frames per person.
        fabric: device and precision.
        processes: with whom gradients are averaged.
    """

    def __init__(
        self,
        recipe: DressingRecipe,
        people: People,
        frames: Sequence[Sequence[Frame]],
        fabric: Fabric,
        processes: Processes,
    ) -> None:
        self.recipe = recipe
        self._fabric = fabric
        self._processes = processes
        model = DressingModel(
            recipe.architecture,
            len(people.captures),
            texture_size=recipe.optimiser.texture_size,
            deviation=recipe.optimiser.texture_deviation,
            seed=recipe.seed,
        )
        _choose_trainable(model, recipe.optimiser.trainable)
        processes.share_statistics(model.dresser)
        self.model = model.to(fabric.device)
        self.adversaries = Adversaries(recipe.adversaries, recipe.weights, recipe.seed)
        self.adversaries.to(fabric.device)
        self.objective = DressingObjective(recipe, fabric.device)
        self.watch = DivergenceWatch(recipe.schedule.explosion)
        self._dresser = [p for p in model.dresser.parameters() if p.requires_grad]
        textures = list(model.textures.parameters())
        groups = [
            {"params": self._dresser, "lr": recipe.optimiser.dresser_rate},
            {"params": textures, "lr": recipe.optimiser.texture_rate},
        ]
        betas = (recipe.optimiser.beta1, 0.999)
        self.optimiser = torch.optim.Adam(groups, betas=betas, fused=True)
        self._moving = [*self._dresser, *textures]
        self.own_optimiser = self.adversaries.optimiser() if self.adversaries.any else None
        self.refinement: FitRefinement | None = None
        self.fit_optimiser: torch.optim.Adam | None = None
        if recipe.refine.enabled:
            self.refinement = FitRefinement(people, frames, focal=recipe.refine.focal)
            self.refinement.to(fabric.device)
            rates = {name: getattr(recipe.refine, f"{name}_rate") for name in FIT_PARTS}
            groups = [
                {"params": parameters, "lr": rates[name]}
                for name, parameters in self.refinement.groups().items()
            ]
            self.fit_optimiser = torch.optim.Adam(groups)

    def make(self, batch: Batch, step: int, progress: float) -> Iterator[dict[str, float] | None]:
        """Make a step.

        Args:
            batch: on any device.
            step: steps made before.
            progress: of the stage, 0…1.

        Yields:
            None wherever the caller may do something else, and the step's values at the end.

        Raises:
            TrainingDiverged: a value is not finite or the losses exploded; no weight has moved.
        """
        recipe = self.recipe
        factor = self._set_rates(step, progress)
        self.model.train()
        frozen = recipe.optimiser.trainable != "all"
        if frozen or progress >= recipe.schedule.freeze_statistics:
            self.model.freeze_statistics()
        batch = self._fabric.to_device(batch)
        batch, refining = self._refined(batch, progress)
        features = self.model.features(batch)
        # Only the network runs in mixed precision: UVs and textures need all their bits.
        with self._fabric.autocast():
            painted: Dressed = self.model.dresser(features)
        # Outside the frame truth is unknown: nothing is compared there.
        dressed = painted._replace(masks=painted.masks * batch.captured)
        parts = self.objective.losses(dressed, batch, self.model)
        views = None
        if self.own_optimiser is not None and progress >= recipe.adversaries.start:
            views = self.adversaries.views(dressed, batch)
            with self._fabric.autocast():
                parts |= self.adversaries.losses(views)
        loss = weighted_sum(parts, recipe.weights)
        if refining and self.refinement is not None:
            loss = loss + recipe.refine.prior * self.refinement.prior(batch)
        yield None
        for parameter in self._all():
            parameter.grad = None
        self._fabric.backward(loss)
        own: dict[str, Tensor] = {}
        if views is not None:
            yield None
            own = self._learn_to_judge(views)
        self._processes.average_gradients(self._all())
        values = self._values(parts, own) | {"loss": loss.item()}
        values["gradient"] = _clip(self._dresser, recipe.optimiser.clip)
        values = self._processes.average(values) | {"rate": factor}
        supervised = supervised_share(
            {name.removeprefix("loss/"): v for name, v in values.items() if "loss/" in name},
            recipe.weights,
        )
        self.watch.look(step, values, supervised)
        self.optimiser.step()
        if views is not None and self.own_optimiser is not None:
            self.own_optimiser.step()
        if refining and self.fit_optimiser is not None:
            self.fit_optimiser.step()
        yield values

    def to_plain(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        own = self.own_optimiser
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "adversaries": self.adversaries.state_dict(),
            "own_optimiser": None if own is None else own.state_dict(),
            "refinement": None if self.refinement is None else self.refinement.state_dict(),
            "fit_optimiser": None
            if self.fit_optimiser is None
            else self.fit_optimiser.state_dict(),
            "watch": self.watch.to_plain(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            RuntimeError: it is of another architecture or of other terms.
            ValueError: it is of other trainable parts.
            TypeError: it is of a training that did not refine its fits.
        """
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        # Checkpoints of trainings without adversaries may be older than these entries.
        self.adversaries.load_state_dict(state.get("adversaries", {}))
        if self.own_optimiser is not None:
            self.own_optimiser.load_state_dict(state["own_optimiser"])
        if self.refinement is not None and self.fit_optimiser is not None:
            self.refinement.load_state_dict(state["refinement"])
            self.fit_optimiser.load_state_dict(state["fit_optimiser"])
        if "watch" in state:
            self.watch.load(state["watch"])

    def _learn_to_judge(self, views: Views) -> dict[str, Tensor]:
        with self._fabric.autocast():
            own = self.adversaries.own_losses(views)
        if own:
            self._fabric.backward(torch.stack(list(own.values())).sum())
        return own

    def _all(self) -> list[nn.Parameter]:
        fits = [] if self.refinement is None else list(self.refinement.parameters())
        return [*self._moving, *self.adversaries.parameters(), *fits]

    def _refined(self, batch: Batch, progress: float) -> tuple[Batch, bool]:
        """Return the batch with corrected fits, and whether the corrections learn from it."""
        refine = self.recipe.refine
        if self.refinement is None or progress < refine.start:
            return batch, False
        learning = progress < refine.stop
        with torch.set_grad_enabled(learning):
            return self.refinement.refined(batch), learning

    def _values(self, parts: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, float]:
        """Return losses by name; a term without a place in this batch counts 0, as in its sum."""
        weights = self.recipe.weights
        values = {f"loss/{name}": part.item() for name, part in parts.items()}
        for name in (*ADVERSARIAL, self.objective.face_term):
            if getattr(weights, name):
                values.setdefault(f"loss/{name}", 0.0)
        for name in self.adversaries.networks:
            values[OWN_PREFIX + name] = own[name].item() if name in own else 0.0
        return values

    def _set_rates(self, step: int, progress: float) -> float:
        optimiser, schedule = self.recipe.optimiser, self.recipe.schedule
        factor = schedule.factor(progress)
        warm = min(1.0, (step + 1) / max(schedule.warm_up, 1))
        rates = (optimiser.dresser_rate * warm, optimiser.texture_rate)
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        if self.own_optimiser is not None:
            own = self.adversaries.rates().values()
            for group, rate in zip(self.own_optimiser.param_groups, own, strict=True):
                group["lr"] = rate * factor
        return factor


def _choose_trainable(model: DressingModel, choice: str) -> None:
    for name, parameter in model.dresser.named_parameters():
        moves = choice == "all" or (choice == "delta" and is_in_delta(name))
        parameter.requires_grad_(moves)


def _clip(parameters: list[nn.Parameter], limit: float) -> float:
    """Clip the gradient's norm where there is a limit, and return it."""
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit or float("inf"))
    return float(norm)
