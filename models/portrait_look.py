"""From the sources that a request names to a head's code and a style for each region.

Codes blend as Σ wᵢ zᵢ (SofGAN, equation 6) and then move along principal directions; styles blend
as w's, region by region, and are then pulled towards the region's mean style.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from blender_addon.contract.errors import BadParameter
from blender_addon.contract.labels import LABEL_COUNT
from models.recent import Recent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from blender_addon.contract.portraits import PortraitLook, Source
    from models.portrait_networks import Heads
    from models.portrait_package import Portrait
    from models.siw_package import Siw

BASES = 2
"""Learnt heads that a drawn one lies between; among three and more, all look alike."""
KEPT_SEEDS = 128
"""Seeds whose styles are kept: a frame may name 17 regions × 16 sources."""


class LookResolver:
    """Says which code and which styles a look means.

    Args:
        portrait: whose own code and styles count where nothing else is said.
        heads: where codes come from.
        painter: where styles come from.
    """

    def __init__(self, portrait: Portrait, heads: Heads, painter: Siw) -> None:
        self._portrait = portrait
        self._heads = heads
        self._painter = painter
        self._drawn: Recent[Tensor] = Recent(KEPT_SEEDS)

    @torch.inference_mode()
    def code(self, look: PortraitLook) -> Tensor:
        """Return the code (C,) float32 of a look's head.

        Raises:
            UnknownModel: the SOF has no head of a name.
            BadParameter: codes of the request have another length, or there are more directions
                than the SOF has.
        """
        rows = self._rows(look.codes, self._portrait.code.shape[-1], "codes")
        sources = [(self._head(source, rows), weight) for source, weight in look.shape.blend]
        code = torch.stack([z * weight for z, weight in sources]).sum(dim=0)
        if look.shape.directions:
            amounts = torch.tensor(look.shape.directions, dtype=torch.float32)
            code = self._heads.space.moved(code, amounts)
        return code

    @torch.inference_mode()
    def styles(self, look: PortraitLook) -> Tensor:
        """Return the styles (17, W) float32 of a look.

        Raises:
            BadParameter: styles of the request have another length.
        """
        rows = self._rows(look.style_rows, self._portrait.styles.shape[-1], "styles")
        mean = self._painter.get_buffer("style_mean")
        styles = self._portrait.styles.clone()
        for label, style in sorted(look.styles.items()):
            parts = [self._style(source, rows, label) * weight for source, weight in style.blend]
            w = torch.stack(parts).sum(dim=0)
            # Exactly w where nothing is pulled: rounding must not change a portrait.
            if style.truncation != 1.0:
                w = mean[label] + style.truncation * (w - mean[label])
            styles[label] = w
        return styles

    @torch.inference_mode()
    def drawn_code(self, seed: int) -> Tensor:
        """Return the code (C,) of the head of a seed: a place between `BASES` learnt ones.

        Nearer to what was learnt than a draw from the mixture, and more different from seed to seed.
        """
        return self._heads.space.combination(seed, BASES)

    @torch.inference_mode()
    def drawn_styles(self, seed: int) -> Tensor:
        """Return the styles (17, W) of a seed; those of one seed belong together."""
        return self._drawn.made(seed, lambda: self._painter.draw(1, seed).float()[0])

    def _head(self, source: Source, rows: Tensor | None) -> Tensor:
        if source.seed is not None:
            return self.drawn_code(source.seed)
        if source.row is not None and rows is not None:
            return rows[source.row]
        return self._heads.sof.code(source.head) if source.head else self._portrait.code

    def _style(self, source: Source, rows: Tensor | None, label: int) -> Tensor:
        if source.seed is not None:
            return self.drawn_styles(source.seed)[label]
        if source.row is not None and rows is not None:
            return rows[source.row, label]
        return self._portrait.styles[label]

    def _rows(self, rows: NDArray[np.float32] | None, length: int, name: str) -> Tensor | None:
        if rows is None:
            return None
        if rows.shape[-1] != length:
            raise BadParameter(
                f"{name} have {rows.shape[-1]} numbers, but those of this portrait {length}",
                "send what `portrait.sample` of this portrait gave",
                field=name,
            )
        return torch.from_numpy(rows).to(self._portrait.code.device)


def mixed_styles(own: Tensor, drawn: Tensor, labels: tuple[int, ...], near: float) -> Tensor:
    """Return own styles (17, W), moved towards drawn ones in some regions.

    Args:
        own: of a look.
        drawn: of a seed.
        labels: the regions that move.
        near: 1 leaves them, 0 takes the drawn ones.
    """
    share = torch.zeros(LABEL_COUNT, 1, device=own.device)
    share[list(labels)] = 1.0 - near
    return own + share * (drawn - own)
