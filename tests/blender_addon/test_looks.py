"""From sliders and seeds to the look that a request carries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.contract.errors import BadParameter
from blender_addon.contract.portrait_requests import parse_look
from blender_addon.contract.portraits import OWN, PortraitLook, Source
from blender_addon.contract.wire import Request
from blender_addon.scene.looks import HeadSource, RegionLook, StyleSource, look_of

weights = st.floats(0.0, 1.0, width=32)


def sent(look: PortraitLook) -> PortraitLook:
    """What the server reads."""
    params, arrays = look.to_wire()
    return parse_look(
        Request(id="1", operation="portrait.render", timeout=1.0, params=params, arrays=arrays)
    )


def test_an_untouched_portrait_sends_its_name_and_nothing_else():
    look = look_of("portrait-a", [HeadSource(weight=0.3)], [0.0] * 8, {3: RegionLook()})
    assert look == PortraitLook(portrait="portrait-a")


@settings(deadline=None)
@given(st.lists(weights, min_size=1, max_size=6))
def test_weights_add_up_to_one_and_keep_their_ratios(sliders):
    heads = [HeadSource(weight=weight, seed=index) for index, weight in enumerate(sliders)]
    if sum(sliders) <= 1e-6:
        with pytest.raises(BadParameter, match="weights of Eve's heads are all 0"):
            look_of("portrait-a", heads, [], {}, "Eve")
        return
    blend = sent(look_of("portrait-a", heads, [], {})).shape.blend
    assert sum(weight for _, weight in blend) == pytest.approx(1.0, abs=1e-6)
    expected = [(i, w / sum(sliders)) for i, w in enumerate(sliders) if w > 0]
    assert [source.seed for source, _ in blend] == [index for index, _ in expected]
    assert [w for _, w in blend] == pytest.approx([w for _, w in expected])


def test_heads_of_all_kinds_travel_with_their_codes():
    codes = np.random.default_rng(1).normal(size=(2, 5)).astype(np.float32)
    heads = [
        HeadSource(weight=1.0, code=codes[0]),
        HeadSource(weight=0.0, seed=4),  # shows nothing, so it is not sent
        HeadSource(weight=1.0, head="h0003"),
        HeadSource(weight=2.0, code=codes[1]),
    ]
    look = sent(look_of("portrait-a", heads, [0.5, 0.0, -1.0, 0.0], {}))
    assert look.shape.blend == (
        (Source(row=0), 0.25),
        (Source(head="h0003"), 0.25),
        (Source(row=1), 0.5),
    )
    assert look.shape.directions == (0.5, 0.0, -1.0)
    np.testing.assert_array_equal(look.codes, codes)


def test_mixed_styles_and_truncation_of_a_region():
    look = sent(
        look_of(
            "portrait-a",
            [],
            [],
            {
                2: RegionLook(
                    first=StyleSource(seed=1), second=StyleSource(seed=2), mix=0.25, truncation=0.6
                ),
                4: RegionLook(first=StyleSource(seed=1), second=StyleSource(seed=1), mix=0.5),
                5: RegionLook(second=StyleSource(seed=2)),  # mix 0: the second does not show
                7: RegionLook(truncation=0.0),
            },
        )
    )
    assert set(look.styles) == {2, 4, 7}
    assert look.styles[2].blend == ((Source(seed=1), 0.75), (Source(seed=2), 0.25))
    assert look.styles[2].truncation == 0.6
    assert look.styles[4].blend == ((Source(seed=1), 1.0),)
    assert look.styles[7].blend == ((OWN, 1.0),)


def test_stored_styles_of_many_regions_share_rows():
    rng = np.random.default_rng(2)
    rows = {label: rng.normal(size=6).astype(np.float32) for label in range(17)}
    other = rng.normal(size=6).astype(np.float32)
    regions = {label: RegionLook(first=StyleSource(row=row)) for label, row in rows.items()}
    regions[3] = RegionLook(first=StyleSource(row=rows[3]), second=StyleSource(row=other), mix=0.5)
    look = sent(look_of("portrait-a", [], [], regions))
    assert look.style_rows is not None
    assert look.style_rows.shape == (2, 17, 6)
    for label, row in rows.items():
        index = look.styles[label].blend[0][0].row
        np.testing.assert_array_equal(look.style_rows[index, label], row)
    second = look.styles[3].blend[1][0].row
    np.testing.assert_array_equal(look.style_rows[second, 3], other)
    assert np.isfinite(look.style_rows).all()


def test_codes_of_different_networks_are_refused():
    heads = [
        HeadSource(weight=1.0, code=np.zeros(4, np.float32)),
        HeadSource(weight=1.0, code=np.zeros(5, np.float32)),
    ]
    with pytest.raises(BadParameter, match="networks of different sizes"):
        look_of("portrait-a", heads, [], {}, "Eve")
