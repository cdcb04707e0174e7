"""The `dressform` command: a lazy table from verb to a typed function.

The function's signature is the options, its docstring the help (jsonargparse), and a YAML
recipe may fill the same names through `--config`. Nothing heavy is imported before a verb is
known: `dressform --help` stays fast and needs no torch.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blender_addon.contract.errors import DressformError, InternalError
from blender_addon.contract.versions import PROJECT_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Command:
    """One row of the table: where the function is, and what it does in a line."""

    function: str
    summary: str
    several: bool = False
    """Whether the words before the first option are one list: its first parameter."""


COMMANDS: dict[str, Command] = {
    "serve": Command("server.serve:serve", "run the model server"),
    "library add-body": Command(
        "models.licensed_body:add_body", "bring a licensed SMPL-X file into a library"
    ),
    "dataset people": Command("training.people.dataset:people", "make captures of people"),
    "dataset characters": Command(
        "training.people.characters:characters", "write people as kits for Blender characters"
    ),
    "dataset strangers": Command(
        "training.people.strangers:strangers", "make Cycles captures of people nobody has seen"
    ),
    "dataset character-plan": Command(
        "training.people.character_plans:character_plan", "write a character's poses and cameras"
    ),
    "dataset import": Command(
        "training.imports.command:import_capture", "make a capture of a video with body fits"
    ),
    "dataset benchmark": Command(
        "training.people.benchmark:freeze_benchmark", "freeze the benchmark captures anew"
    ),
    "dataset heads": Command("training.heads.dataset:heads", "make label maps of heads all around"),
    "dataset portraits": Command(
        "training.heads.portraits:portraits", "make portraits with their label maps"
    ),
    "train dressing": Command("training.dressing:train_dressing", "train avatars and a dresser"),
    "train ablations": Command(
        "training.ablation:train_ablations", "train without each loss in turn, and compare"
    ),
    "train plain-texture": Command(
        "training.plain_texture:train_plain_textures", "fit the baseline that avatars must beat"
    ),
    "train wardrobe": Command(
        "training.wardrobe.command:train_wardrobe", "train the wardrobe of people to be drawn"
    ),
    "train photo-encoder": Command(
        "training.wardrobe.encoder:train_photo_encoder",
        "train what reads its codes from photographs",
    ),
    "train uv-alone": Command(
        "training.uv_alone:train_uv_alone", "train the baseline that has no texture"
    ),
    "train parser": Command("training.parser:train_parser", "train the labels of photographs"),
    "train siw": Command("training.siw:train_siw", "train the painter of portraits"),
    "train siw-ablations": Command(
        "training.siw_ablation:train_siw_ablations", "train lesser painters beside it, and compare"
    ),
    "train sof": Command("training.sof:train_sof", "train the field of heads for portraits"),
    "train sof-round-two": Command(
        "training.sof_round_two:train_sof_round_two", "add heads of single label maps to it"
    ),
    "export parser": Command("training.parser_export:export_parser", "write a parser as a package"),
    "export wardrobe": Command(
        "training.wardrobe.export:export_wardrobe", "write a wardrobe and its dresser as packages"
    ),
    "export siw": Command("training.siw_export:export_siw", "write a painter as a package"),
    "export sof": Command("training.sof_export:export_sof", "write a field of heads as a package"),
    "export dressing": Command("training.export:export_dressing", "write a training's packages"),
    "export fits": Command(
        "training.fit_refinement:export_fits",
        "write captures with the fits that a training refined",
    ),
    "evaluate parser": Command(
        "training.parser_evaluation:evaluate_parser", "measure labels of portraits"
    ),
    "evaluate sof": Command("training.sof_evaluation:evaluate_sof", "measure a field of heads"),
    "evaluate sof-round-two": Command(
        "training.sof_round_two_chart:show_round_two", "draw what a second round did"
    ),
    "evaluate portraits": Command(
        "training.portrait_evaluation:evaluate_portraits", "measure what portraits are made of"
    ),
    "evaluate shipped": Command("training.evaluation:evaluate_shipped", "measure shipped avatars"),
    "evaluate curve": Command(
        "training.curve:evaluate_curve", "train on 10, 30, 60 and 200 frames and compare"
    ),
    "evaluate avatar": Command(
        "training.evaluation_avatar:evaluate_one", "measure an avatar on a capture"
    ),
    "evaluate frames": Command(
        "training.evaluation_frames:evaluate_frames", "measure another method's frames"
    ),
    "evaluate looks": Command("training.looks:show_looks", "render sheets of avatars to look at"),
    "evaluate portrait-looks": Command(
        "training.portrait_looks:show_portrait_looks", "paint sheets of portraits to look at"
    ),
    "evaluate wardrobe": Command(
        "training.wardrobe.evaluation:evaluate_wardrobe", "measure the people that are drawn"
    ),
    "evaluate redress": Command(
        "scripts.evaluate_redress:evaluate_redress",
        "measure what a redressed part changes elsewhere",
    ),
    "evaluate fit": Command(
        "training.wardrobe.fit_evaluation:evaluate_fit", "measure avatars made from one photograph"
    ),
    "evaluate fit-ablations": Command(
        "training.wardrobe.fit_ablations:evaluate_fit_ablations",
        "fit without each term in turn, with two encoders, and compare",
    ),
    "evaluate body-fit": Command(
        "training.wardrobe.body_fit_evaluation:evaluate_body_fit",
        "measure body fits of known people",
    ),
    "evaluate siw": Command("training.siw_evaluation:evaluate_siw", "measure painted portraits"),
    "avatar sample": Command("scripts.avatar:sample_people", "draw people by chance"),
    "avatar blend": Command("scripts.avatar:blend_people", "make somebody between two people"),
    "avatar redress": Command(
        "scripts.avatar:redress_person", "give somebody parts of somebody else"
    ),
    "avatar orbit": Command(
        "scripts.avatar_orbit:orbit_avatar", "show somebody from several sides"
    ),
    "avatar save": Command("scripts.avatar:save_person", "keep a look as an avatar"),
    "avatar fit-body": Command(
        "scripts.body_fit:fit_photograph_body", "find the body in a photograph"
    ),
    "avatar fit": Command(
        "scripts.avatar_fit:fit_photographs", "make an avatar of photographs", several=True
    ),
    "portrait sample": Command(
        "scripts.portrait:sample_portraits", "draw portraits by chance, to choose from"
    ),
    "portrait save": Command(
        "scripts.portrait:save_portrait", "keep a portrait of a seed in a library"
    ),
    "portrait render": Command("scripts.portrait:render_portrait", "render a frame of a portrait"),
    "portrait fit": Command(
        "scripts.portrait_fit:fit_photograph", "make a portrait of a photograph"
    ),
    "portrait orbit": Command("scripts.portrait:orbit_portrait", "swing round a portrait"),
    "bench cycles": Command(
        "scripts.bench_cycles:bench_cycles", "an avatar's speed and likeness against Cycles"
    ),
    "bench sof": Command("scripts.bench_sof:bench_sof", "time label maps of a field of heads"),
    "bench portrait": Command(
        "scripts.bench_portrait:bench_portrait", "time label maps and painting in one run"
    ),
    "bench avatar": Command("scripts.bench:bench_avatar", "time an avatar's frame, part by part"),
    "bench siw": Command("scripts.bench_siw:bench_siw", "time styles by region against one style"),
    "bench wardrobe": Command(
        "scripts.bench_wardrobe:bench_wardrobe",
        "time samples and fits, and the viewport and cancels while one runs",
    ),
    "bench training": Command(
        "scripts.bench_training:bench_training", "time what data adds to a training step"
    ),
}
"""Every verb; a family's verbs share their first word."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; print a typed error as cause and next step; return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        print(PROJECT_VERSION)
        return 0
    name, rest = _verb(words)
    if name is None:
        print(f"dressform: there is no command {' '.join(words[:2])!r}\n\n{_overview()}")
        return 2
    return _run(name, rest)


def _verb(words: list[str]) -> tuple[str | None, list[str]]:
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return name, words[length:]
    return None, words


def _run(name: str, rest: list[str]) -> int:
    # Before torch loads: its waiting threads sleep instead of spinning on a shared machine's cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import jsonargparse

    module, function = COMMANDS[name].function.split(":")
    target: Callable[..., Any] = getattr(importlib.import_module(module), function)
    if COMMANDS[name].several:
        rest = _listed(rest)
    try:
        outcome = jsonargparse.auto_cli(
            target,
            args=[_underscored(word) for word in rest],
            as_positional=True,
            prog=f"dressform {name}",
        )
    except InternalError:
        raise
    except DressformError as error:
        print(f"dressform {name}: {error.cause}\n  next step: {error.next_step}", file=sys.stderr)
        print(f"  [{error.code}]", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dressform: interrupted", file=sys.stderr)
        return 130
    return outcome if isinstance(outcome, int) else 0


def _underscored(word: str) -> str:
    """Turn `--parent-pid=1` into `--parent_pid=1`: options are parameter names, both may be typed."""
    if not word.startswith("--"):
        return word
    option, equals, value = word.partition("=")
    return "--" + option[2:].replace("-", "_") + equals + value


def _listed(words: list[str]) -> list[str]:
    """Join the words before the first option to one that jsonargparse reads as a list."""
    count = next((k for k, word in enumerate(words) if word.startswith("-")), len(words))
    return [json.dumps(words[:count]), *words[count:]] if count else words


def _overview() -> str:
    width = max(len(name) for name in COMMANDS)
    rows = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"dressform {PROJECT_VERSION}: neural-rendered people for Blender",
            "",
            "usage: dressform COMMAND [options]    (dressform COMMAND --help says more)",
            "",
            *rows,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
