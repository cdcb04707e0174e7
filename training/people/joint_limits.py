"""How far the joints of synthetic people turn."""

from __future__ import annotations

import numpy as np

LIMITS: dict[str, float] = {
    "pelvis": np.pi,
    **dict.fromkeys(("spine1", "spine2", "spine3"), 0.6),
    **dict.fromkeys(("neck", "head"), 0.8),
    "jaw": 0.35,
}
"""Largest angle of a joint; the mirrored ones below."""

_SIDE_LIMITS = {
    "hip": 2.0, "knee": 2.4, "ankle": 0.8, "foot": 0.5, "collar": 0.5, "shoulder": 3.0,
    "elbow": 2.6, "wrist": 1.1, "eye_smplhf": 0.5,
    **{f"{finger}{k}": 1.7 for finger in ("index", "middle", "ring", "pinky") for k in (1, 2, 3)},
    **{f"thumb{k}": 0.9 for k in (1, 2, 3)},
}  # fmt: skip
LIMITS.update(
    {f"{side}_{name}": limit for name, limit in _SIDE_LIMITS.items() for side in ("left", "right")}
)
