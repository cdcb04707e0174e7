"""`dressform train photo-encoder`: from photographs to codes of a wardrobe.

Source: StylePeople supplementary, section 4.1: Adam at 1e-3. The G-encoder learns from people whom the
generator draws, whose w is known; the A-encoder from captures, through G and R, and from the
codes that the wardrobe's training found for them. The run's folder holds recipe.json,
checkpoint.pt and log.jsonl; `--install` puts the encoder into the wardrobe's package.
"""

from __future__ import annotations

import hashlib
import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from blender_addon.contract.errors import TrainingError
from models.dresser_package import load_dresser
from models.memory import keep_freed_memory
from models.package import (
    DEFAULT_LIBRARY,
    Manifest,
    find_package,
    load_arrays,
    read_manifest,
    write_package,
)
from models.photo_encoder import SHIPPED_ENCODER, PhotoEncoder, PhotoEncoderConfig, load_backbone
from models.wardrobe_package import load_wardrobe, training_arrays
from training.captures import find_captures
from training.checkpoint import load_checkpoint, save_checkpoint
from training.divergence import DivergenceWatch
from training.dressing_data import People
from training.schedule import cosine, fallen
from training.stage import run_stage
from training.wardrobe.encoder_data import (
    EncoderImages,
    as_floats,
    captured_images,
    drawn_images,
)
from training.wardrobe.encoder_recipe import (
    EncoderData,
    EncoderKind,
    EncoderRecipe,
    EncoderSchedule,
    EncoderWeights,
)
from training.wardrobe.encoder_step import ImageSupervision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from training.report import Report

IMAGES_FILE = "images.safetensors"


def train_photo_encoder(
    captures: Path | list[Path],
    wardrobe: str = "wardrobe-people",
    out: Path = Path("runs/photo-encoder"),
    library: Path = DEFAULT_LIBRARY,
    kind: EncoderKind = "generated",
    architecture: PhotoEncoderConfig = SHIPPED_ENCODER,
    data: EncoderData = EncoderData(),  # noqa: B008 - frozen
    weights: EncoderWeights = EncoderWeights(),  # noqa: B008
    schedule: EncoderSchedule = EncoderSchedule(),  # noqa: B008
    seed: int = 0,
    backbone: Path | None = None,
    init_from: Path | None = None,
    install: bool = False,
    resume: Literal["auto", "never"] = "auto",
    threads: int = 2,
) -> int:
    """Train the encoder that reads a person's code from a photograph.

    Args:
        captures: folder of captures; generated people take their poses and cameras.
        wardrobe: id of the package whose codes are read.
        out: the run's folder.
        library: where the wardrobe lies.
        kind: "generated" people (the paper's G-encoder), "captures" (its A-encoder) or "both".
        architecture: of the encoder; layers and style are the wardrobe's.
        data: what it sees.
        weights: of the losses.
        schedule: how long.
        seed: of first values, draws and batches.
        backbone: timm's weights of the backbone, to start from.
        init_from: folder of another run, to start from.
        install: put the encoder into the wardrobe's package afterwards.
        resume: "auto" goes on from the run's checkpoint if there is one.
        threads: of torch on the CPU.

    Raises:
        TrainingError: the checkpoint is of another architecture, or no captured person has a code.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    people = People.open(find_captures(captures), library)
    recipe = EncoderRecipe(
        kind=kind,
        architecture=fitting(architecture, library, wardrobe),
        data=data,
        weights=weights,
        schedule=schedule,
        seed=seed,
    )
    training = EncoderTraining(recipe, people, library, wardrobe, out)
    if not (resume == "auto" and training.resume()):
        training.start(backbone, init_from)
    run_stage(training, progress=True)
    training.export()
    if install:
        install_encoder(find_package(library, wardrobe), training.encoder, training.measure())
    return 0


def fitting(config: PhotoEncoderConfig, library: Path, wardrobe: str) -> PhotoEncoderConfig:
    """Return an architecture with the styles of a wardrobe."""
    generator = read_manifest(find_package(library, wardrobe)).architecture["generator"]
    loaded = PhotoEncoderConfig.from_plain(config.to_plain())
    layers = 2 * int(math.log2(generator["size"] // 2))
    return PhotoEncoderConfig.from_plain(
        loaded.to_plain() | {"layers": layers, "style": generator["style"]}
    )


class EncoderTraining:
    """A training of a photo encoder; what `stage.run_stage` runs.

    Args:
        recipe: all that decides about it.
        people: captures.
        library: where wardrobe and dresser lie.
        wardrobe: id of the package.
        out: the run's folder.
    """

    def __init__(
        self, recipe: EncoderRecipe, people: People, library: Path, wardrobe: str, out: Path
    ) -> None:
        self.recipe, self.people, self.out = recipe, people, out
        self.wardrobe = load_wardrobe(library, wardrobe, body=people.body)
        role = self.wardrobe.manifest.requirements["dresser"]
        self.dresser = load_dresser(find_package(library, role))
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.encoder = PhotoEncoder(recipe.architecture, self.wardrobe.mean_w)
        self.encoder.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.optimiser = torch.optim.Adam(self.encoder.parameters(), recipe.schedule.rate)
        codes = known_codes(find_package(library, wardrobe), people)
        self.images, self.held_out = self._kept_images(codes).split(recipe.data.held_out)
        self.spread = self.images.w.std(dim=0).mean().clamp_min(1e-3)
        self.supervision: ImageSupervision | None = None
        if recipe.kind != "generated" and (recipe.weights.l1 or recipe.weights.perceptual):
            self.supervision = ImageSupervision(
                self.wardrobe.generator, self.dresser, people, recipe, sorted(codes)
            )
        self.schedule = recipe.schedule
        self.step, self.seconds = 0, 0.0
        self.stopping = threading.Event()
        self.watch = DivergenceWatch(0.0)

    def start(self, backbone: Path | None, init_from: Path | None) -> None:
        """Set first values.

        Raises:
            TrainingError: the run to start from is of another architecture.
        """
        if backbone is not None:
            load_backbone(self.encoder, backbone)
        if init_from is not None:
            state = load_checkpoint(init_from)
            if state is None:
                raise TrainingError(f"{init_from} holds no checkpoint", "give the folder of a run")
            self._load(self.encoder, state["encoder"], init_from)

    def resume(self) -> bool:
        """Go on from the run's checkpoint, if there is one."""
        state = load_checkpoint(self.out)
        if state is None:
            return False
        self._load(self.encoder, state["encoder"], self.out)
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        return True

    def recipe_values(self) -> dict[str, Any]:
        """Return the recipe as run."""
        return self.recipe.to_plain()

    def batch_of(self, step: int) -> tuple[Tensor, Tensor]:
        """Return a step's images and codes."""
        return self.images.batch(self.recipe.data, self.recipe.seed, step)

    def make(self, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        """Make one step."""
        images, w = batch
        weights, schedule = self.recipe.weights, self.schedule
        fall = cosine(schedule.progress(self.step, self.seconds))
        for group in self.optimiser.param_groups:
            group["lr"] = schedule.rate * fallen(fall, schedule.floor)
        self.encoder.train()
        supervised = None
        if self.supervision is not None and self.step % weights.images_every == 0:
            supervised = self.supervision.draw(self.step)
            # Together: batch normalisation should not see a handful of images alone.
            images = torch.cat([images, supervised[0]])
        found = self.encoder(images)
        loss = weights.w * self._error(found[: len(w)], w)
        values = {"loss/w": float(loss.detach())}
        if weights.texture:
            difference = self._colours(found[: len(w)]) - self._colours(w)
            loss = loss + weights.texture * difference.abs().mean()
            values["loss/texture"] = float(difference.detach().abs().mean())
        if self.supervision is not None and supervised is not None:
            parts = self.supervision.losses(found[len(w) :], supervised[1])
            values |= {f"loss/{name}": float(part.detach()) for name, part in parts.items()}
            scaled = [getattr(weights, name) * part for name, part in parts.items()]
            loss = loss + weights.images_every * torch.stack(scaled).sum()
        values["loss"] = float(loss.detach())
        self.watch.look(self.step, values, values["loss"])
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return values

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "encoder": self.encoder.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        save_checkpoint(self.out, state)

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return how much of people's spread is explained, for some it never saw and for others.

        1 is all of it, 0 what the mean w gives: "explained" of the codes, "colours" of what G
        makes of them, as the mean absolute difference.
        """
        self.encoder.eval()
        figures: dict[str, float] = {}
        for name, some in (("held-out", self.held_out), ("train", self.images)):
            if not len(some.images):
                continue
            few = torch.linspace(0, len(some.images) - 1, min(len(some.images), 64)).long()
            found = self.encoder(as_floats(some.images[few]))
            left = self._error(found, some.w[few])
            mean = self._error(self.wardrobe.mean_w.expand_as(found), some.w[few])
            figures[f"{name}/explained"] = float(1.0 - left / mean.clamp_min(1e-12))
            true = self._colours(some.w[few])
            average = self._colours(self.wardrobe.mean_w[None]).expand_as(true)
            left, mean = ((each - true).abs().mean() for each in (self._colours(found), average))
            figures[f"{name}/colours"] = float(1.0 - left / mean.clamp_min(1e-12))
        return figures

    def look(self, report: Report) -> None:
        """Measure what has been learned."""
        report.scalars(self.step, self.measure())

    def export(self) -> Path:
        """Write the encoder alone, as `evaluate fit-ablations` reads it; returns the folder."""
        manifest = Manifest(
            kind="photo-encoder",
            id=self.out.name,
            name=f"photo encoder ({self.recipe.kind})",
            licence="CC0-1.0",
            architecture={"encoder": self.encoder.config.to_plain()},
            recipe=self.recipe.to_plain(),
            metrics=self.measure(),
        )
        state = {f"encoder.{k}": v for k, v in self.encoder.state_dict().items()}
        folder = self.out / "package" / self.out.name
        write_package(folder, manifest, state)
        return folder

    def _kept_images(self, codes: Mapping[int, Tensor]) -> EncoderImages:
        """Return the images of an earlier session of this run, or make them."""
        said = f"{self.wardrobe.digest} {self.recipe.kind} {self.recipe.data} {self.recipe.seed}"
        said += f" {self.recipe.architecture} {' '.join(self.people.ids)}"
        key = hashlib.sha256(said.encode()).hexdigest()
        file = self.out / IMAGES_FILE
        kept = EncoderImages.read(file, key)
        if kept is None:
            kept = self._images(codes)
            kept.write(file, key)
        return kept

    def _images(self, codes: Mapping[int, Tensor]) -> EncoderImages:
        kind, data, config = self.recipe.kind, self.recipe.data, self.recipe.architecture
        drawn: EncoderImages | None = None
        if kind != "captures":
            drawn = drawn_images(
                self.wardrobe, self.dresser, self.people, config, data, self.recipe.seed
            )
        if kind == "generated" and drawn is not None:
            return drawn
        if not codes:
            raise TrainingError(
                "no captured person has a code in the wardrobe's package",
                "give the captures that it was trained on, or --kind generated",
            )
        captured = captured_images(self.people, codes, config, data)
        return captured if drawn is None else drawn.joined(captured)

    def _colours(self, w: Tensor) -> Tensor:
        """Return the colours that G makes of codes, coarsely."""
        generator = self.wardrobe.generator
        size = min(self.recipe.weights.texture_size, generator.config.size)
        return generator(generator.spread(w), until=size)[:, :3]

    def _error(self, found: Tensor, w: Tensor) -> Tensor:
        wanted = w[:, None] if w.ndim == 2 else w
        return ((found - wanted) / self.spread).square().mean()

    @staticmethod
    def _load(encoder: PhotoEncoder, state: dict[str, Tensor], folder: Path) -> None:
        try:
            encoder.load_state_dict(state)
        except RuntimeError as error:
            raise TrainingError(
                f"{folder}: the checkpoint is of another architecture",
                "give its recipe, or another --out",
            ) from error


def known_codes(folder: Path, people: People) -> dict[int, Tensor]:
    """Return the codes that a wardrobe's training found for captured people, by capture.

    Args:
        folder: of the wardrobe's package, which keeps `codes` in the order of its captures.
        people: captures, some of which may be those.
    """
    codes = training_arrays(folder).get("codes")
    if codes is None:
        return {}
    sources: Sequence[dict[str, Any]] = read_manifest(folder).data.get("captures", [])
    row = {source["id"]: k for k, source in enumerate(sources[: len(codes)])}
    return {k: codes[row[name]] for k, name in enumerate(people.ids) if name in row}


def load_encoder(folder: Path) -> PhotoEncoder:
    """Return a run's exported encoder, in evaluation mode and without gradients."""
    manifest = read_manifest(folder)
    encoder = PhotoEncoder(PhotoEncoderConfig.from_plain(manifest.architecture["encoder"]))
    state = {k.removeprefix("encoder."): v for k, v in load_arrays(folder).items()}
    encoder.load_state_dict(state)
    return encoder.eval().requires_grad_(requires_grad=False)


def install_encoder(folder: Path, encoder: PhotoEncoder, metrics: dict[str, float]) -> Manifest:
    """Put an encoder into a wardrobe's package, in place of the one that it had."""
    from dataclasses import replace

    from PIL import Image

    manifest = read_manifest(folder)
    arrays = {k: v for k, v in load_arrays(folder).items() if not k.startswith("encoder.")}
    for name, value in encoder.state_dict().items():
        kept = value.detach().cpu()
        arrays[f"encoder.{name}"] = kept.half() if kept.is_floating_point() else kept
    changed = replace(
        manifest,
        architecture=manifest.architecture | {"encoder": encoder.config.to_plain()},
        metrics=manifest.metrics | {f"encoder/{name}": value for name, value in metrics.items()},
    )
    preview = folder / "preview.png"
    picture = None
    if preview.is_file():
        with Image.open(preview) as image:
            picture = image.copy()
    return write_package(folder, changed, arrays, picture)
