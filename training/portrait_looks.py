"""`dressform evaluate portrait-looks`: what the paper claims of portraits, as sheets to look at.

Heads are combinations of the field's basis and styles are drawn, both by seeds in order that nobody
has picked: what is not good shows as well. Only, where one head stands for all, those are passed over
that show no hair, or wear a hat or glasses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from blender_addon.contract.labels import Label, labels_to_colors
from models.memory import keep_freed_memory
from models.package import DEFAULT_LIBRARY, find_package
from models.portrait import view_camera
from models.siw_package import load_siw
from models.siw_style import truncate
from models.sof_package import load_sof
from models.sof_render import SofRenderer
from models.sof_space import SofSpace
from training.looks import Shot, sheet
from training.siw_data import PortraitSet, to_images, to_pixels
from training.siw_figures import Painter
from training.siw_report import HAIR

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from training.siw_data import Portraits

COLUMNS = 7
YAWS = (-75, -50, -25, 0, 25, 50, 75)
"""Degrees to the head's left."""
TURNED = 20.0
"""Degrees at which heads stand that do not turn."""
FACE = (Label.SKIN, Label.RIGHT_NOSE, Label.LEFT_NOSE, Label.EAR, Label.NECK)
DEVIATIONS = (-2.0, -1.33, -0.67, 0.0, 0.67, 1.33, 2.0)
"""Along a principal direction of the field's heads."""
DIRECTIONS = 3
HAIRY = 0.04
"""Share of a label map that counts as hair to be seen."""
TRIES = 20
"""Heads that are drawn in search of such."""
JPEG_QUALITY = 86


def show_portrait_looks(
    out: Path = Path("runs/portrait-looks"),
    library: Path = DEFAULT_LIBRARY,
    portraits: Path | None = None,
    sof: str = "sof-heads",
    siw: str = "siw-portraits",
    size: int = 168,
    truncation: float = 1.0,
    seed: int = 0,
    threads: int = 2,
) -> int:
    """Paint sheets: viewpoints, styles, shapes, chance pairs, dynamic styling; transfer with a set.

    Args:
        out: folder for the sheets.
        library: where the packages lie.
        portraits: a set; styles of its held-out portraits are read and carried over to heads.
        sof: id of the field.
        siw: id of the painter.
        size: side of each picture in pixels.
        truncation: 1 leaves styles as they are drawn, 0 makes all of them the mean.
        seed: of heads and styles.
        threads: of torch on the CPU.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    heads = load_sof(find_package(library, sof))
    model = load_siw(find_package(library, siw))
    painter = Painter(model, torch.device("cpu"), torch.float32)
    look = Look(SofRenderer(heads.sof), SofSpace(heads.codes), painter, size, truncation, seed)
    sheets: dict[str, Callable[[], list[Shot]]] = {
        "viewpoints": look.viewpoints,
        "styles": look.styles,
        "shapes": look.shapes,
        "dynamic": look.dynamic,
        "chance": look.chance,
    }
    if portraits is not None and model.encoder is not None:
        held_out = PortraitSet.open(portraits, None, model.config.size, 1).held_out
        sheets["transfer"] = lambda: look.transfer(held_out)
    out.mkdir(parents=True, exist_ok=True)
    for name, make in sheets.items():
        file = out / f"portrait-{name}.jpg"
        sheet(make(), COLUMNS).save(file, quality=JPEG_QUALITY, optimize=True)
        print(file, flush=True)  # noqa: T201 - a command's own output
    return 0


@dataclass(frozen=True)
class Look:
    """Field and painter that are looked at.

    Attributes:
        renderer: of label maps.
        space: of heads.
        painter: of colours.
        size: side of the pictures.
        truncation: of drawn styles.
        seed: of heads and styles.
    """

    renderer: SofRenderer
    space: SofSpace
    painter: Painter
    size: int
    truncation: float
    seed: int

    def viewpoints(self) -> list[Shot]:
        """Return two heads from all sides, their label maps above."""
        shots: list[Shot] = []
        for index, code in enumerate(self.hairy_heads[:2]):
            maps = [self.labels(code, yaw) for yaw in YAWS]
            shots += self.row(f"head {index + 1}: label maps", maps=maps)
            shots += self.row("painted in one style", maps, [self.style(index)] * COLUMNS)
        return shots

    def styles(self) -> list[Shot]:
        """Return one head in many styles: all of it, a region alone, from one to another."""
        maps = [self.labels(self.hairy_heads[0], TURNED)] * COLUMNS
        own = self.style(0)
        drawn = [self.style(1 + k) for k in range(COLUMNS)]
        hairs = [mixed_styles(own, other, HAIR) for other in drawn]
        cloth = [mixed_styles(own, other, (Label.CLOTH,)) for other in drawn]
        skin = [mixed_styles(own, other, FACE) for other in drawn]
        shares = np.linspace(0.0, 1.0, COLUMNS)
        between = [torch.lerp(own, drawn[1], float(share)) for share in shares]
        hair = [
            mixed_styles(own, torch.lerp(own, drawn[2], float(share)), HAIR) for share in shares
        ]
        return [
            *self.row("global: a style for all regions", maps, drawn),
            *self.row("local: hair and brows alone", maps, hairs),
            *self.row("local: clothes alone", maps, cloth),
            *self.row("local: skin alone", maps, skin),
            *self.row("from one style to another", maps, between),
            *self.row("from one style to another, hair alone", maps, hair),
        ]

    def shapes(self) -> list[Shot]:
        """Return the way from one head to another, and along principal directions, in one style."""
        w = [self.style(0)] * COLUMNS
        shares = np.linspace(0.0, 1.0, COLUMNS)
        first, last = self.hairy_heads[:2]
        codes = [self.space.interpolate(first, last, float(share)) for share in shares]
        maps = [self.labels(code, TURNED) for code in codes]
        shots = [
            *self.row("from one head to another: label maps", maps=maps),
            *self.row("in one style", maps, w),
        ]
        for direction in range(min(DIRECTIONS, len(self.space.directions.axes))):
            amounts = torch.zeros(direction + 1)
            maps = []
            for deviation in DEVIATIONS:
                amounts[direction] = deviation
                maps.append(self.labels(self.space.moved(self.space.mean, amounts), TURNED))
            shots += self.row(
                f"mean head along direction {direction + 1}, -2 to 2 deviations", maps, w
            )
        return shots

    def dynamic(self) -> list[Shot]:
        """Return styles that change while the camera moves: all of them, then hair alone."""
        head, first, second = self.hairy_heads[2], self.style(3), self.style(4)
        maps = [self.labels(head, yaw) for yaw in YAWS]
        shares = [k / (COLUMNS - 1) for k in range(COLUMNS)]
        all_of_it = [torch.lerp(first, second, share) for share in shares]
        hair = [mixed_styles(first, w, HAIR) for w in all_of_it]
        return [
            *self.row("the camera moves: label maps", maps=maps),
            *self.row("and the style with it", maps, all_of_it),
            *self.row("and hair alone", maps, hair),
        ]

    def chance(self) -> list[Shot]:
        """Return random heads in random styles, whether they fit or not."""
        count = 4 * COLUMNS
        turns = np.random.default_rng(self.seed).uniform(-40, 40, count)
        maps = [self.labels(self.head(10 + k), float(turn)) for k, turn in enumerate(turns)]
        return self.row(
            "random heads in random styles", maps, [self.style(10 + k) for k in range(count)]
        )

    def transfer(self, portraits: Portraits) -> list[Shot]:
        """Return styles read from portraits on a head: all of them, then hair alone."""
        chosen = np.linspace(0, len(portraits.images) - 1, COLUMNS).round().astype(int)
        pixels = portraits.images[chosen]
        labels = torch.from_numpy(portraits.labels[chosen])
        read = list(self.painter.read_styles(to_images(pixels), labels, self.seed))
        maps = [self.labels(self.hairy_heads[0], TURNED)] * COLUMNS
        own = self.style(0)
        return [
            *self.pictures("held-out portraits", pixels),
            *self.row("painted on their own label maps", list(portraits.labels[chosen]), read),
            *self.row("their styles on another head", maps, read),
            *self.row("their hair alone on it", maps, [mixed_styles(own, w, HAIR) for w in read]),
        ]

    def head(self, index: int) -> Tensor:
        """Return the code of a head between some of the basis."""
        return self.space.combination(1000 * self.seed + index)

    @cached_property
    def hairy_heads(self) -> list[Tensor]:
        """The first three heads with hair, without hat and glasses; any, where too few are."""
        found: list[Tensor] = []
        codes = [self.head(index) for index in range(TRIES)]
        for code in codes:
            labels = self.labels(code, TURNED)
            worn = np.isin(labels, (Label.HAT, Label.GLASSES)).any()
            if (labels == Label.HAIR).mean() > HAIRY and not worn:
                found.append(code)
            if len(found) == 3:
                return found
        return (found + codes)[:3]

    def style(self, index: int) -> Tensor:
        """Return drawn styles (17, W)."""
        model = self.painter.model
        w = model.draw(1, 1000 * self.seed + index)
        return truncate(w, model.get_buffer("style_mean"), self.truncation)[0]

    def labels(self, code: Tensor, yaw: float) -> NDArray[np.uint8]:
        """Return a head's label map (S, S) uint8 at the painter's size, from a side in degrees."""
        camera = view_camera(yaw, self.painter.model.config.size)
        return self.renderer.label_map(code, camera).labels.cpu().numpy()

    def row(
        self,
        caption: str,
        maps: Sequence[NDArray[np.uint8]],
        styles: Sequence[Tensor] | None = None,
    ) -> list[Shot]:
        """Return label maps, painted where there are styles; the first has the caption."""
        if styles is None:
            return self.pictures(caption, labels_to_colors(np.stack(maps)))
        painted = self.painter.paint(torch.from_numpy(np.stack(maps)), torch.stack(list(styles)))
        return self.pictures(caption, to_pixels(painted))

    def pictures(self, caption: str, pixels: NDArray[np.uint8]) -> list[Shot]:
        """Return images (N, S, S, 3) uint8 at the sheet's size; the first has the caption."""
        reduced = [
            Image.fromarray(each).resize((self.size, self.size), Image.Resampling.BOX)
            for each in pixels
        ]
        return [(caption if k == 0 else "", image) for k, image in enumerate(reduced)]


def mixed_styles(own: Tensor, other: Tensor, regions: Sequence[Label]) -> Tensor:
    """Return styles (17, W) with another's in some regions."""
    mixed = own.clone()
    for region in regions:
        mixed[region] = other[region]
    return mixed
