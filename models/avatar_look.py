"""From a look to a texture: people of one dresser blended, moved along directions, and redressed.

What a look is says `blender_addon.contract.avatar_look`. A texture is made once and kept, with its
renderer, which shares body and dresser with the avatar's own: for a new look only the texture's
pyramid is built.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from blender_addon.contract.avatar_look import PARTS
from blender_addon.contract.errors import BadParameter, UnknownModel
from models.avatar import AvatarRenderer
from models.body import load_body
from models.crop import MAX_SIZE
from models.dresser_package import shared_dresser
from models.look_packages import WARDROBE_KIND, check_goes_with, look_packages, wardrobe_of
from models.package import load_arrays
from models.recent import Recent
from models.texture_parts import part_masks, redressed
from models.wardrobe import Appearance, Wardrobe
from models.wardrobe_package import STYLES, TEXTURE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from blender_addon.contract.avatar_look import AvatarLook, LookSource
    from models.body import Body
    from models.look_packages import Packages
    from models.package import Manifest

KEPT_WARDROBES = 2
KEPT_PEOPLE = 24
"""Textures of sources, 4 MB each at 256²; a look may name 16 and five parts."""
KEPT_LOOKS = 8


@dataclass(frozen=True)
class LookTexture:
    """What a look is made of.

    Attributes:
        texture: (C, S, S) float32, every number one of float16's, so that packages keep it exactly.
        w: (L, W) float32 styles in its wardrobe, if it was made with one.
        betas: shape of the body: the blend of the sources'; seeds have the avatar's own.
        wardrobe: id of the wardrobe, or "".
    """

    texture: Tensor
    w: Tensor | None
    betas: tuple[float, ...]
    wardrobe: str


@dataclass(frozen=True)
class LookedPerson:
    """An avatar in a look: what renders it, and what it is made of."""

    renderer: AvatarRenderer
    made: LookTexture


@dataclass(frozen=True)
class _Person:
    """A source of a look.

    Attributes:
        manifest: of its package; a wardrobe's for seeds and mean people.
        texture: (C, S, S) float32.
        appearance: the same in terms of the look's wardrobe, if it has one.
        betas: None where the body's shape stays that of the look's avatar.
    """

    manifest: Manifest
    texture: Tensor
    appearance: Appearance | None
    betas: tuple[float, ...] | None


class Looks:
    """Textures and renderers of looks.

    Args:
        packages: where people and wardrobes are found; looked at anew each time, so that what
            changes on disk changes here.
        device: torch's name of it.
    """

    def __init__(self, packages: Packages, device: str = "cpu") -> None:
        self._packages = packages
        self._device = device
        self._wardrobes: Recent[Wardrobe] = Recent(KEPT_WARDROBES)
        self._people: Recent[_Person] = Recent(KEPT_PEOPLE)
        self._bodies: Recent[Body] = Recent(KEPT_WARDROBES)
        self._looks: Recent[LookedPerson] = Recent(KEPT_LOOKS)

    def load(self, model: str) -> AvatarRenderer:
        """Load an avatar, or the mean person of a wardrobe.

        Raises:
            UnknownModel: the package or one that it requires is missing, or of another kind.
            PackageDamaged: a file differs from its model.json.
        """
        manifest = self._packages.manifest(model)
        if manifest.kind != WARDROBE_KIND:
            return AvatarRenderer.load(self._packages.folders, model, self._device)
        wardrobe = self.wardrobe(model)
        required = manifest.requirements
        return AvatarRenderer(
            load_body(self._packages.package(required["body"]), self._device),
            _rounded(wardrobe.texture(wardrobe.mean_w)),
            shared_dresser(self._packages.package(required["dresser"]), self._device),
            self._packages.digest(model),
            largest_crop=int(manifest.architecture.get("largest_crop", MAX_SIZE)),
        )

    def wardrobe(self, model: str) -> Wardrobe:
        """Return a wardrobe in the state of its package on disk.

        Raises:
            UnknownModel: there is none of this id.
            PackageDamaged: a file differs from its model.json.
        """
        key = (model, self._packages.digest(model))
        return self._wardrobes.made(
            key, lambda: Wardrobe.load(self._packages.folders, model, self._device)
        )

    def person(self, own: AvatarRenderer, avatar: str, look: AvatarLook) -> LookedPerson:
        """Return an avatar in a look; made anew only when a package has changed.

        Args:
            own: renders it as it is.
            avatar: id of its package, or of a wardrobe.
            look: what it looks like.

        Raises:
            UnknownModel: a person or the wardrobe is missing.
            BadParameter: they do not go together; says why.
        """
        models = look_packages(self._packages, avatar, look)
        versions = tuple(self._packages.digest(model) for model in models)
        key = (own.digest, versions, json.dumps(look.to_wire(), sort_keys=True))
        kept = self._looks.get(key)
        if kept is None:
            made = self.texture(avatar, look)
            kept = self._looks.put(key, LookedPerson(own.wearing(made.texture), made))
        return kept

    # Not in inference mode: fits learn from what is loaded here.
    @torch.no_grad()
    def texture(self, avatar: str, look: AvatarLook) -> LookTexture:
        """Make the texture of a look.

        Args:
            avatar: id of the package that the look is for, of an avatar or a wardrobe.
            look: what it looks like.

        Raises:
            UnknownModel: a person or the wardrobe is missing.
            BadParameter: they do not go together; says why.
        """
        own = self._packages.manifest(avatar)
        wardrobe = self._wardrobe_of(own, look)

        def person(source: LookSource) -> _Person:
            found = self._person(own, source, wardrobe, look.truncation)
            check_goes_with(own, found.manifest)
            return found

        blend = [(person(source), weight) for source, weight in look.sources if weight != 0.0]
        texture, w = _blended(blend, wardrobe, look.directions)
        worn = [
            (person(look.parts[part][0]).texture, index, look.parts[part][1])
            for index, part in enumerate(PARTS)
            if part in look.parts and look.parts[part][1] > 0.0
        ]
        if worn:
            _check_shapes([texture, *(other for other, _, _ in worn)])
            masks = part_masks(self._body(own), texture.shape[-1])
            texture = redressed(texture, [(other, masks[k], amount) for other, k, amount in worn])
        betas = _mixed_betas(blend, tuple(own.architecture.get("betas", ())))
        return LookTexture(_rounded(texture), w, betas, "" if wardrobe is None else wardrobe.id)

    def _wardrobe_of(self, own: Manifest, look: AvatarLook) -> Wardrobe | None:
        named = wardrobe_of(own, look)
        if not named:
            return None
        manifest = self._packages.manifest(named)
        if manifest.kind != WARDROBE_KIND:
            raise UnknownModel(f"{named!r} is a {manifest.kind}, not a wardrobe")
        check_goes_with(own, manifest)
        return self.wardrobe(named)

    def _person(
        self, own: Manifest, source: LookSource, wardrobe: Wardrobe | None, truncation: float
    ) -> _Person:
        if source.seed is not None and wardrobe is not None:
            return self._drawn(wardrobe, source.seed, truncation)
        avatar = source.avatar or own.id
        manifest = self._packages.manifest(avatar)
        if manifest.kind == WARDROBE_KIND:
            mean = self._drawn(self.wardrobe(avatar), 0, 0.0)
            if wardrobe is None or wardrobe.id == avatar:
                return mean
            # Of another wardrobe, whose styles say nothing in this one.
            return replace(mean, appearance=wardrobe.appearance(mean.texture))
        check_goes_with(own, manifest)
        context = "" if wardrobe is None else wardrobe.digest
        key = (avatar, self._packages.digest(avatar), context)
        return self._people.made(key, lambda: self._read(manifest, wardrobe))

    def _drawn(self, wardrobe: Wardrobe, seed: int, truncation: float) -> _Person:
        """Return whom a wardrobe draws; the mean person where nothing of them is left."""
        key = (wardrobe.id, wardrobe.digest, seed, truncation)

        def draw() -> _Person:
            w = wardrobe.draw(seed, truncation)
            return _Person(wardrobe.manifest, wardrobe.texture(w), Appearance(w), None)

        return self._people.made(key, draw)

    def _read(self, manifest: Manifest, wardrobe: Wardrobe | None) -> _Person:
        arrays = load_arrays(self._packages.package(manifest.id), device=self._device)
        texture = arrays[TEXTURE].float()
        appearance = None
        if wardrobe is not None:
            made_with = (
                manifest.architecture.get("wardrobe"),
                manifest.architecture.get("wardrobe_digest"),
            )
            # Styles of another generator say nothing: such people count as beyond the mean one.
            known = made_with == (wardrobe.id, wardrobe.digest)
            appearance = wardrobe.appearance(texture, arrays.get(STYLES) if known else None)
        betas = tuple(float(beta) for beta in manifest.architecture.get("betas", ()))
        return _Person(manifest, texture, appearance, betas)

    def _body(self, own: Manifest) -> Body:
        body = own.requirements["body"]
        key = (body, self._packages.digest(body))
        return self._bodies.made(key, lambda: load_body(self._packages.package(body), self._device))


def _blended(
    blend: Sequence[tuple[_Person, float]],
    wardrobe: Wardrobe | None,
    directions: Sequence[tuple[int, float]],
) -> tuple[Tensor, Tensor | None]:
    """Return the texture of a blend, and its styles where a wardrobe has made it."""
    people = [
        (person.appearance, weight) for person, weight in blend if person.appearance is not None
    ]
    if wardrobe is not None and len(people) == len(blend):
        return wardrobe.avatar_texture(people, directions)
    if len(blend) == 1:
        return blend[0][0].texture, None
    _check_shapes([person.texture for person, _ in blend])
    parts = [person.texture * weight for person, weight in blend]
    return torch.stack(parts).sum(dim=0), None


def _mixed_betas(
    blend: Sequence[tuple[_Person, float]], own: tuple[float, ...]
) -> tuple[float, ...]:
    each = [(own if person.betas is None else person.betas, weight) for person, weight in blend]
    count = max((len(betas) for betas, _ in each), default=0)
    total = [0.0] * count
    for betas, weight in each:
        for index, beta in enumerate(betas):
            total[index] += weight * beta
    return tuple(total)


def _check_shapes(textures: Sequence[Tensor]) -> None:
    shapes = {tuple(texture.shape) for texture in textures}
    if len(shapes) > 1:
        sizes = " and ".join(str(shape) for shape in sorted(shapes))
        raise BadParameter(
            f"textures of the sizes {sizes} cannot be mixed",
            "choose people that were trained together",
            field="look",
        )


def _rounded(texture: Tensor) -> Tensor:
    """Return a texture as its package would give it back."""
    return texture.half().float()
