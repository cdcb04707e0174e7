"""`dressform avatar fit-body PHOTO`: the body in a photograph, as a file and a picture to judge it by.

`dressform avatar fit` does the same on its way; this is for keypoints of one's own, for looking
first, and for fits that are to be used again (`avatar fit --fit`).
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from blender_addon.contract.errors import BadParameter
from models.body import load_body
from models.body_fit import BodyFitRecipe, fit_body
from models.body_fit_figures import body_mask
from models.body_fit_file import write_body_fit
from models.package import DEFAULT_LIBRARY
from models.person_photo import perceive_person, read_person_view
from scripts.photo_fits import named_photograph

_OUTLINE = np.array([255, 0, 220], np.uint8)


def fit_photograph_body(
    photo: str,
    out: Path,
    keypoints: Path | None = None,
    focal: float | None = None,
    person: int | None = None,
    picture: Path | None = None,
    body: Path = DEFAULT_LIBRARY / "body-cc0",
    replace: bool = False,
) -> None:
    """Fit a body to the person in a photograph.

    Args:
        photo: an image file; or "astronaut" for scikit-image's photograph of Eileen Collins (NASA,
            public domain).
        out: file of the fit, .npz.
        keypoints: landmarks and mask of your own, .json or .npz (docs/fit.md).
        focal: focal length in pixels of the photograph; the file's, or a guess, when left out.
        person: which of several people, counted from the left from 0.
        picture: also write the photograph with the body's outline over it.
        body: the body model.
        replace: whether files that are there may be replaced.

    Raises:
        BadParameter: a file is there already.
        NoPersonFound: nobody is seen.
        SeveralPeople: several people are seen, and --person does not say which is meant.
        MissingExtra: nothing here sees people in photographs, and no keypoints are given.
    """
    for path in (out, picture):
        if path is not None and path.exists() and not replace:
            raise BadParameter(f"{path} is there already", "give another name, or --replace true")
    photograph = named_photograph(photo)
    image = photograph.image
    view = (
        perceive_person(image, person) if keypoints is None else read_person_view(keypoints, image)
    )
    model = load_body(body)
    fit = fit_body(view, model, BodyFitRecipe(focal=focal or photograph.focal))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_body_fit(out, fit)
    if picture is not None:
        covered = body_mask(model, fit.body, fit.camera)
        drawn = image.copy()
        edge = np.asarray(ndimage.binary_dilation(covered), bool) & ~covered
        drawn[edge] = _OUTLINE
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn).save(picture)
    for name, value in fit.figures.items():
        print(f"{name:<20}{value:10.3f}")
    print(out)
