"""The result cache: what makes two requests the same, and what is dropped when it is full."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.contract.wire import Request, encode_request
from server.cache import ResultCache, cache_key


def key_of(digest: str = "d", operation: str = "avatar.render", id_: str = "a", timeout: float = 1.0,
           params: dict | None = None, arrays: dict | None = None) -> str:  # fmt: skip
    request = Request(
        id=id_, operation=operation, timeout=timeout,
        params=params or {"avatar": "anna", "width": 4},
        arrays=arrays or {"pose": np.arange(4, dtype=np.float32)},
    )  # fmt: skip
    return cache_key(request, encode_request(request)[1:], digest)


def test_who_asks_and_when_does_not_count():
    changed = {"avatar": "anna", "priority": "interactive", "stream": "v", "width": 4}
    assert key_of() == key_of(id_="b", timeout=9.0, params=changed)


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "e"},
        {"operation": "avatar.other"},
        {"params": {"avatar": "anna", "width": 5}},
        {"params": {"avatar": "anna", "width": 4, "passes": ["rgba"]}},
        {"arrays": {"pose": np.array([0, 1, 2, 4], np.float32)}},
        {"arrays": {"pose": np.arange(4, dtype=np.float32).reshape(2, 2)}},
        {"arrays": {"pose": np.arange(4, dtype=np.float32).view(np.int32)}},
        {"arrays": {"betas": np.arange(4, dtype=np.float32)}},
    ],
)
def test_everything_else_counts(change):
    assert key_of() != key_of(**change)


def test_the_least_recently_used_go_first():
    cache = ResultCache(30)
    for name in "abc":
        cache.put(name, [b"0123456789"])
    assert cache.get("a")
    cache.put("d", [b"01234", b"56789"])
    assert cache.get("b") is None
    assert [bool(cache.get(name)) for name in "acd"] == [True, True, True]
    assert cache.bytes == 30
    assert (cache.figures.hits, cache.figures.misses) == (4, 1)


def test_what_is_larger_than_the_cache_is_not_kept_and_drops_nothing():
    cache = ResultCache(10)
    cache.put("a", [b"0123456789"])
    cache.put("b", [b"0" * 11])
    assert cache.get("a")
    assert cache.get("b") is None


def test_no_cache_keeps_nothing():
    cache = ResultCache(0)
    cache.put("a", [b"x"])
    assert cache.get("a") is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 40)), max_size=40))
def test_it_never_holds_more_than_it_may(entries):
    cache = ResultCache(50)
    for name, size in entries:
        cache.put(name, [bytes(size)])
        assert cache.bytes <= 50
    assert cache.bytes == sum(
        len(frames[0]) for name in "abcdef" if (frames := cache.get(name)) is not None
    )
