"""SIW StyleGANs from and to model packages of kind "siw".

A package holds the generator and the mapping (names as in `Siw`), the mean style of each region
for truncation, and, where the styles were learnt from images, the style encoder and the prior over
its codes. Weights are float16 on disk and float32 in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from blender_addon.contract.errors import PackageDamaged, UnknownModel
from models.package import load_arrays, read_manifest, write_package
from models.siw import SiwGenerator
from models.siw_config import SiwConfig
from models.siw_encoder import StyleEncoder
from models.siw_style import StylePrior, mapping_of

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from models.package import Manifest

PRIOR = "prior."
MEAN = "style_mean"


class Siw(nn.Module):
    """All networks of a SIW StyleGAN that serve: generator, mapping, and style encoder if any.

    Args:
        config: sizes.
    """

    def __init__(self, config: SiwConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = SiwGenerator(config)
        self.mapping = mapping_of(config)
        self.encoder = StyleEncoder(config) if config.photo_encoder else None
        self.prior: StylePrior | None = None
        self.register_buffer("style_mean", torch.zeros(config.labels, config.style))

    def draw(self, count: int, seed: int, *, bank: float = 0.8) -> Tensor:
        """Draw styles w (count, 17, W); the same seed gives the same styles.

        Without a prior, z is Gaussian and the same for all regions, as the paper's styles are.

        Args:
            count: portraits.
            seed: of the random numbers.
            bank: see `StylePrior.draw`.
        """
        generator = torch.Generator().manual_seed(seed)
        regions, code = self.config.labels, self.config.code
        if self.prior is not None:
            return self.mapping(self.prior.draw(count, generator, bank=bank))
        shared = self.config.mapping == "shared"
        z = torch.randn(count, 1 if shared else regions, code, generator=generator)
        return self.mapping(z.to(self.get_buffer(MEAN).device)).expand(-1, regions, -1)

    @torch.no_grad()
    def measure_style_mean(self, count: int = 1024, seed: int = 0) -> None:
        """Set the mean style of each region, towards which truncation pulls."""
        self.get_buffer(MEAN).copy_(self.draw(count, seed).mean(dim=0))


def save_siw(
    folder: Path, model: Siw, manifest: Manifest, preview: Image | None = None
) -> Manifest:
    """Write a package; returns the manifest as written.

    Args:
        folder: the package's, named by its id.
        model: in any mode.
        manifest: of kind "siw", with `model.config.to_plain()` as architecture.
        preview: a square picture.
    """
    arrays = {name: value.detach().half() for name, value in model.state_dict().items()}
    if model.prior is not None:
        for name, value in model.prior._asdict().items():
            arrays[PRIOR + name] = value if value.dtype == torch.bool else value.half()
    return write_package(folder, manifest, arrays, preview)


def load_siw(folder: Path, device: str = "cpu") -> Siw:
    """Load a package, in evaluation mode and without gradients.

    Raises:
        UnknownModel: the package is of another kind, or not there.
        PackageDamaged: a file differs from its model.json, or weights do not fit it.
    """
    manifest = read_manifest(folder)
    if manifest.kind != "siw":
        raise UnknownModel(f"{folder.name!r} is a {manifest.kind}, not a SIW StyleGAN")
    arrays = load_arrays(folder, device=device)
    try:
        model = Siw(SiwConfig.from_plain(manifest.architecture)).to(device)
        prior = {
            name.removeprefix(PRIOR): value if value.dtype == torch.bool else value.float()
            for name, value in arrays.items()
            if name.startswith(PRIOR)
        }
        weights: dict[str, Any] = {
            name: value.float() for name, value in arrays.items() if not name.startswith(PRIOR)
        }
        model.load_state_dict(weights)
        model.prior = StylePrior(**prior) if prior else None
    except (RuntimeError, TypeError, ValueError) as error:
        raise PackageDamaged(
            f"{folder.name}: the weights do not fit model.json ({error})"
        ) from error
    return model.eval().requires_grad_(requires_grad=False)
