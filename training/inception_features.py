"""Inception-v3's pooled features, the ones of FID; their weights are a file that the user gives.

Two kinds of weights fit. Those that were ported from the network that FID was defined with (1,008
classes) give FID. Torchvision's own (1,000 classes) are of another training: distances in them go
under another name. The two networks differ where they pool, too (`_as_of_fid`).

Source: Heusel et al. 2017; images are enlarged to 299² bilinearly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.inception import Inception3, InceptionE

from blender_addon.contract.errors import ModelError
from models.perceptual import read_weights

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 299
FID_CLASSES = 1008
_CHUNK = 16


class InceptionFeatures(nn.Module):
    """2,048 pooled features of Inception-v3.

    Args:
        weights: a state dict with torchvision's names, .pth (loaded with weights_only) or
            .safetensors.

    Raises:
        ModelError: the file is missing or holds other weights.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        given = read_weights(weights)
        try:
            classes = len(given["fc.bias"])
            network = Inception3(num_classes=classes, aux_logits=False, init_weights=False)
            names = [n for n in network.state_dict() if not n.endswith("num_batches_tracked")]
            network.load_state_dict({name: given[name] for name in names}, strict=False)
        except (KeyError, RuntimeError) as error:
            raise ModelError(
                f"{weights} does not hold Inception-v3's weights ({error})",
                "give a state dict with torchvision's names, or measure in the offline features",
            ) from error
        self.name = "torchvision's Inception-v3 features"
        if classes == FID_CLASSES:
            self.name = "FID's Inception-v3 features"
            _as_of_fid(network)
        network.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        self.network = network.eval().requires_grad_(requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (N, 2048) of images (N, 3, H, W), −1…1."""
        found: list[Tensor] = []
        with torch.no_grad():
            for some in images.split(_CHUNK):
                large = functional.interpolate(
                    some.clamp(-1.0, 1.0), (SIDE, SIDE), mode="bilinear", align_corners=False
                )
                found.append(self.network(large))
        return torch.cat(found)


class WithoutPadding(nn.Module):
    """Turns a 3×3 average over zero padding into one over the pixels that are there."""

    def forward(self, pooled: Tensor) -> Tensor:
        """Scale the borders of what was pooled, (B, C, H, W)."""
        ones = torch.ones_like(pooled[:1, :1])
        return pooled / functional.avg_pool2d(ones, kernel_size=3, stride=1, padding=1)


class MaxPooledBlock(InceptionE):
    """Inception's last block as FID's network has it: its pooling takes the maximum."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 2048, H, W)."""
        short = self.branch3x3_1(x)
        long = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = functional.max_pool2d(x, kernel_size=3, stride=1, padding=1)
        parts = [
            self.branch1x1(x),
            self.branch3x3_2a(short),
            self.branch3x3_2b(short),
            self.branch3x3dbl_3a(long),
            self.branch3x3dbl_3b(long),
            self.branch_pool(pooled),
        ]
        return torch.cat(parts, dim=1)


def _as_of_fid(network: Inception3) -> None:
    """Let the blocks pool as the network does that FID was defined with."""
    averaging = ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b")
    for block in (getattr(network, f"Mixed_{name}") for name in averaging):
        block.branch_pool = nn.Sequential(WithoutPadding(), block.branch_pool)
    last = MaxPooledBlock(2048)
    last.load_state_dict(network.Mixed_7c.state_dict())
    network.Mixed_7c = last
