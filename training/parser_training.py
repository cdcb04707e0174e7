"""A parser's training as it runs: the decoder, its optimiser, batches, and where it stands."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from blender_addon.contract.errors import TrainingError
from blender_addon.contract.labels import LABEL_COUNT, labels_to_colors
from models.label_agreement import Confusion
from models.parser_network import ParserNetwork
from training.checkpoint import load_checkpoint, save_checkpoint
from training.divergence import DivergenceWatch
from training.dressing_model import RunningAverage, average_state
from training.photographs import PhotographChances, as_photograph
from training.schedule import require_end
from training.sof_data import label_weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from training.parser_recipe import ParserRecipe
    from training.report import Report
    from training.siw_data import PortraitSet

SHOWN = 8
"""Held-out portraits of a look, as they are and as photographs."""


class ParserBatch(NamedTuple):
    """What a step sees.

    Attributes:
        images: (B, 3, S, S) float32 sRGB, 0…1.
        labels: (B, S, S) int64.
    """

    images: Tensor
    labels: Tensor


class ParserTraining:
    """A training as it runs.

    Args:
        recipe: all that decides about it.
        portraits: to learn from, and held-out ones to look at.
        out: the run's folder.
        device: where it runs.

    Raises:
        TrainingError: the stage has no end.
    """

    def __init__(
        self, recipe: ParserRecipe, portraits: PortraitSet, out: Path, device: torch.device
    ) -> None:
        self.recipe, self.portraits, self.out, self.device = recipe, portraits, out, device
        self.schedule = recipe.schedule
        require_end(self.schedule)
        torch.manual_seed(recipe.seed)
        self.network = ParserNetwork(recipe.architecture).to(device).train()
        options = recipe.optimiser
        self.optimizer = torch.optim.AdamW(
            self.network.decoder.parameters(),
            lr=options.rate,
            betas=(0.9, options.beta2),
            weight_decay=options.decay,
            fused=True,
        )
        self.average = RunningAverage(self.network.decoder, options.average)
        counts = np.bincount(portraits.train.labels.ravel(), minlength=LABEL_COUNT)
        balance = label_weights(counts / counts.sum(), recipe.weights.frequency)
        self.label_weights = torch.from_numpy(balance).to(device)
        self.watch = DivergenceWatch(self.schedule.explosion)
        self.step = 0
        self.seconds = 0.0
        self.stopping = threading.Event()

    def resume(self) -> bool:
        """Go on from the run's checkpoint, if there is one.

        Raises:
            TrainingError: the checkpoint is of other portraits or another architecture.
        """
        state = load_checkpoint(self.out)
        if state is None:
            return False
        if state["digest"] != self.portraits.digest:
            raise TrainingError(
                f"{self.out}: the checkpoint was trained on other portraits",
                "give the same portraits, or another --out with --init-from",
            )
        self._take(state["decoder"])
        try:
            self.optimizer.load_state_dict(state["optimizer"])
            for name, value in state["average"].items():
                self.average.values[name].copy_(value)
        except (RuntimeError, ValueError, KeyError) as error:
            raise TrainingError(f"{self.out}: the checkpoint does not fit the recipe") from error
        self.watch.load(state["watch"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        return True

    def start_from(self, decoder: dict[str, Tensor]) -> None:
        """Take over another training's decoder.

        Raises:
            TrainingError: another architecture.
        """
        self._take(decoder)
        self.average = RunningAverage(self.network.decoder, self.average.decay)

    def recipe_values(self) -> dict[str, Any]:
        """Return the recipe as run."""
        return self.recipe.to_plain()

    def batch_of(self, step: int) -> ParserBatch:
        """Return a step's portraits as photographs."""
        data, known = self.recipe.data, self.portraits.train
        rng = np.random.default_rng([self.recipe.seed, step])
        size = int(rng.choice(data.sizes))
        count = max(data.pixels // (size * size), 2)
        pairs = [
            as_photograph(known.images[k], known.labels[k], size, self.recipe.photographs, rng)
            for k in rng.integers(len(known.images), size=count)
        ]
        return _batch([image for image, _ in pairs], [labels for _, labels in pairs])

    def make(self, batch: ParserBatch) -> dict[str, float]:
        """Make one step."""
        options, weights = self.recipe.optimiser, self.recipe.weights
        progress = self.schedule.progress(self.step, self.seconds)
        rate = options.rate * self.schedule.factor(self.step, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # The decoder's own resolution, one pixel of each four in turn: enlarging seventeen maps
        # and back costs a third of a step.
        down, across = self.step % 2, self.step // 2 % 2
        labels = batch.labels[:, down::2, across::2].to(self.device)
        # Dropout draws from torch's own generator: the same in the same step.
        with torch.random.fork_rng():
            torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)
            logits = self.network.coarse(batch.images.to(self.device))
        terms = {
            "labels": functional.cross_entropy(logits, labels, self.label_weights),
            "overlap": overlap_loss(logits, labels),
        }
        loss = weights.labels * terms["labels"] + weights.overlap * terms["overlap"]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        decoder = self.network.decoder
        norm = torch.nn.utils.clip_grad_norm_(decoder.parameters(), options.clip)
        values = {name: float(term.detach()) for name, term in terms.items()}
        values |= {"loss": float(loss.detach()), "gradient": float(norm)}
        self.watch.look(self.step, values, values["loss"])
        self.optimizer.step()
        if (self.step + 1) % options.average_every == 0:
            self.average.update(decoder, self.step + 1, options.average_every)
        return values | {"rate": rate}

    def averaged(self) -> ParserNetwork:
        """Return the network with its running average, in evaluation mode."""
        network = ParserNetwork(self.recipe.architecture, self.network.trunk)
        network.decoder.load_state_dict(
            average_state(self.network.decoder.state_dict(), self.average.values)
        )
        return network.to(self.device).eval().requires_grad_(requires_grad=False)

    def look(self, report: Report) -> None:
        """Parse held-out portraits, as they are and as photographs."""
        network, known = self.averaged(), self.portraits.held_out
        size = max(self.recipe.data.sizes)
        chosen = np.linspace(0, len(known.images) - 1, min(SHOWN, len(known.images))).round()
        figures: dict[str, float] = {}
        rows: list[NDArray[np.uint8]] = []
        for name, chances in (("portraits", PLAIN), ("photographs", self.recipe.photographs)):
            rng = np.random.default_rng(self.recipe.seed)
            pairs = [
                as_photograph(known.images[k], known.labels[k], size, chances, rng)
                for k in chosen.astype(int)
            ]
            images = np.stack([image for image, _ in pairs])
            truth = np.stack([labels for _, labels in pairs])
            seen = np.stack([parsed(network, image) for image in images])
            figures[f"held-out/{name}"] = Confusion.of(truth, seen).mean_iou()
            parts = (images, labels_to_colors(truth), labels_to_colors(seen))
            rows += [np.concatenate(list(part), axis=1) for part in parts]
        report.scalars(self.step, figures | {"minutes": self.seconds / 60})
        report.grid(self.step, np.concatenate(rows))

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "decoder": self.network.decoder.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.values,
            "watch": self.watch.to_plain(),
            "digest": self.portraits.digest,
            "step": self.step,
            "seconds": self.seconds,
        }
        save_checkpoint(self.out, state)

    def _take(self, decoder: dict[str, Tensor]) -> None:
        try:
            self.network.decoder.load_state_dict(decoder)
        except RuntimeError as error:
            raise TrainingError(
                "the parser to go on from is of another architecture",
                "give the architecture that it has, or another --out without --init-from",
            ) from error


PLAIN = PhotographChances(
    scale=(1.0, 1.0), turn=0.0, shift=0.0, mirror=0.0, background=0.0, cloth=0.0, hair=0.0,
    occluder=0.0, shadow=0.0, colour=0.0, grey=0.0, blur=0.0, noise=0.0, jpeg=0.0,
)  # fmt: skip
"""Portraits stay as they are."""


def overlap_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1 − soft Dice, the mean over the labels that are there: small regions count fully.

    Args:
        logits: (B, 17, H, W).
        labels: (B, H, W) int64.
    """
    shares = logits.softmax(dim=1).flatten(2)
    known = labels.flatten(1)[:, None]
    area = torch.zeros(logits.shape[1], device=logits.device)
    area.scatter_add_(0, known.flatten(), torch.ones_like(known, dtype=area.dtype).flatten())
    right = shares.gather(1, known)
    both = torch.zeros_like(area).scatter_add(0, known.flatten(), right.flatten())
    dice = 2.0 * both / (shares.sum(dim=(0, 2)) + area + 1.0)
    return 1.0 - dice[area > 0].mean()


def parsed(network: ParserNetwork, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the labels (S, S) of one image (S, S, 3) uint8 as it is, without looking for a head."""
    device = next(network.decoder.parameters()).device
    with torch.inference_mode():
        batch = _batch([image], [])
        return network(batch.images.to(device)).argmax(dim=1)[0].to(torch.uint8).cpu().numpy()


def _batch(images: list[NDArray[np.uint8]], labels: list[NDArray[np.uint8]]) -> ParserBatch:
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    known = torch.from_numpy(np.stack(labels)).long() if labels else torch.empty(0)
    return ParserBatch(pixels.float() / 255.0, known)
