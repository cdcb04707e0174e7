"""A library with all that portraits are made of, as toys, and the sets that it claims to come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.package import Manifest
from models.parser_network import ParserConfig, ParserNetwork
from models.parser_package import write_parser
from models.siw_config import SiwConfig
from models.siw_package import Siw, save_siw
from models.sof_package import write_sof
from training.heads.format import HeadSet

from .toy_heads import write_toy_heads
from .toy_portraits import write_toy_portraits
from .toy_sof import trained_toy

if TYPE_CHECKING:
    from pathlib import Path

TINY = SiwConfig(
    size=64, label_size=64, encoder=(8, 12, 16), base=512, widest=16, style=16, code=6,
    mapping="regions", mapping_layers=2, mapping_width=24, spade=(16, 32), spade_hidden=8,
    spade_kernel=(3, 1), style_bias=True, colour_from=16, photo_encoder=8,
)  # fmt: skip
"""An untrained painter, whose styles come from a Gaussian."""


def write_toy_library(folder: Path) -> Path:
    """Write heads/, portraits/ and library/ into a folder; returns the library."""
    library = folder / "library"
    heads = write_toy_heads(folder / "heads", heads=3, views=4, size=32, held_out_heads=1)
    portraits = write_toy_portraits(folder / "portraits", size=64, train=6, held_out=2)
    toy = trained_toy()
    write_sof(
        library / "sof-heads", toy.model.sof, toy.model.codes, toy.heads,
        name="Toys", licence="CC0-1.0", recipe={}, data={"digest": heads.digest}, metrics={},
    )  # fmt: skip
    manifest = Manifest(
        kind="siw", id="siw-portraits", name="Toys", licence="CC0-1.0",
        architecture=TINY.to_plain(), data={"portraits": HeadSet.open(portraits).digest},
    )  # fmt: skip
    save_siw(library / "siw-portraits", Siw(TINY), manifest)
    config = ParserConfig(widths=(4, 4, 4, 4, 4), colours=4)
    manifest = Manifest(
        kind="parser", id="parser-portraits", name="Toys", licence="CC0-1.0",
        architecture=config.to_plain(),
    )  # fmt: skip
    write_parser(library / "parser-portraits", ParserNetwork(config), manifest)
    return library
