"""The queue's rules, without a socket or a clock."""

from __future__ import annotations

import pytest

from blender_addon.contract.errors import Busy
from server.jobs import Job, JobQueue
from server.operation import Operation

RENDER = Operation(name="avatar.render", kind="predict", call=lambda: None)


def job(number: int, **changes) -> Job:
    fields = {
        "number": number, "client": b"c", "request_id": f"r{number}", "operation": RENDER,
        "priority": "final", "stream": "", "deadline": 100.0, "frames": [], "size": 10,
        "arrived": 0.0,
    }  # fmt: skip
    return Job(**fields | changes)


def queue_of(*jobs: Job, max_jobs: int = 10, max_bytes: int = 1000) -> JobQueue:
    queue = JobQueue(max_jobs, max_bytes)
    for each in jobs:
        queue.push(each, 1.0)
    return queue


def taken(queue: JobQueue) -> list[int]:
    numbers = []
    while (one := queue.pop(lambda _: True)) is not None:
        numbers.append(one.number)
    return numbers


def test_urgent_work_comes_first_and_equals_in_order():
    order = ["job", "final", "interactive", "final", "interactive", "job"]
    queue = queue_of(*(job(n, priority=p) for n, p in enumerate(order)))
    assert queue.counts() == {"interactive": 2, "final": 2, "job": 2}
    assert taken(queue) == [2, 4, 1, 3, 0, 5]
    assert len(queue) == 0


def test_what_no_worker_accepts_stays_and_lets_others_pass():
    queue = queue_of(job(1), job(2), job(3))
    assert queue.pop(lambda j: j.number > 1).number == 2
    assert taken(queue) == [1, 3]


def test_a_full_queue_says_when_to_come_back():
    queue = queue_of(job(1), job(2), max_jobs=2)
    with pytest.raises(Busy) as caught:
        queue.push(job(3), 0.25)
    assert caught.value.details["retry_after"] == 0.25
    queue.pop(lambda _: True)
    queue.push(job(4), 0.25)
    assert taken(queue) == [2, 4]


def test_a_queue_full_of_bytes_refuses_too():
    queue = queue_of(job(1, size=900))
    with pytest.raises(Busy):
        queue.push(job(2, size=101), 1.0)
    queue.push(job(3, size=100), 1.0)
    taken(queue)
    queue.push(job(4, size=1000), 1.0)


def test_the_newest_of_a_stream_supersedes_only_its_own_older_ones():
    queue = queue_of(
        job(1, stream="view"), job(2), job(3, stream="other"), job(4, stream="view", client=b"d")
    )
    older = queue.push(job(5, stream="view"), 1.0)
    assert [one.number for one in older] == [1]
    assert taken(queue) == [2, 3, 4, 5]


def test_a_stream_never_fills_the_queue():
    queue = queue_of(job(0, stream="view"), job(1), max_jobs=2)
    for number in range(2, 30):
        assert len(queue.push(job(number, stream="view"), 1.0)) == 1
    assert len(queue) == 2


def test_expired_jobs_leave_and_make_room():
    queue = queue_of(job(1, deadline=5.0), job(2, deadline=50.0), max_jobs=2)
    assert [one.number for one in queue.expire(5.0)] == [1]
    queue.push(job(3), 1.0)
    assert taken(queue) == [2, 3]


def test_a_job_put_back_is_next_even_in_a_full_queue():
    queue = queue_of(job(1), job(2), max_jobs=2)
    queue.put_back(job(0))
    assert taken(queue) == [0, 1, 2]
