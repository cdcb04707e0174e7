"""From the amounts that an artist set on a person to the look that requests carry, and back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.contract.avatar_look import OWN, AvatarLook, LookSource, parse_look
from blender_addon.scene.avatar_looks import Towards, look_of, people_of

sources = st.one_of(
    st.builds(LookSource, seed=st.integers(0, 9)),
    st.builds(LookSource, avatar=st.sampled_from(["ada", "ben"])),
)
people = st.lists(
    st.tuples(sources, st.integers(0, 10).map(lambda tenths: tenths / 10)), max_size=3
)


def test_what_is_neutral_is_no_look_at_all():
    ben = LookSource(avatar="ben")
    assert look_of([], {}, [0.0] * 8, 0.2, "people") is None
    assert look_of([(ben, 0.0)], {"head": (ben, 0.0)}, [0.0] * 8) is None


@given(people)
@settings(max_examples=60, deadline=None)
def test_servers_read_the_look_and_a_rig_that_wears_it_sends_it_again(towards: list[Towards]):
    look = look_of(towards, {}, [0.0, 1.5], wardrobe="people")
    assert look is not None
    assert parse_look(look.to_wire()) == look
    again = look_of(people_of(look), {}, [0.0, 1.5], look.truncation, "people")
    assert again is not None
    assert dict(again.sources) == pytest.approx(dict(look.sources), abs=1e-4)


def test_people_are_gone_towards_one_after_the_other():
    ada, seven = LookSource(avatar="ada"), LookSource(seed=7)
    look = look_of([(ada, 0.5), (seven, 0.25)], {"feet": (OWN, 1.0)}, [], 0.8500000238418579)
    assert look == AvatarLook(
        sources=((OWN, 0.375), (ada, 0.375), (seven, 0.25)), parts={"feet": (OWN, 1.0)}
    )
