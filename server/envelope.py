"""What broker and worker say to each other around the messages of clients.

Broker → worker: (WORK or WORK_AND_MORE, job number, *request frames) or (STOP, job number).
WORK_AND_MORE is followed at once by another job of the same batch.
Worker → broker: (READY, device), (ALIVE,), (FAILED, msgpack of an error), or
(PROGRESS | RESULT | ERROR, job number, digest, *reply frames); the digest is empty unless the
result may be cached. Client messages travel inside unchanged, so the broker never encodes arrays.
"""

from __future__ import annotations

WORK = b"work"
WORK_AND_MORE = b"more"
STOP = b"stop"

READY = b"ready"
ALIVE = b"alive"
FAILED = b"failed"
PROGRESS = b"progress"
RESULT = b"result"
ERROR = b"error"

HEARTBEAT_SECONDS = 1.0
"""Between two signs of life of an idle worker, and of the broker to a waiting client."""


def pack_number(number: int) -> bytes:
    """Return a job number as a frame."""
    return number.to_bytes(8, "big")


def unpack_number(frame: bytes | memoryview) -> int:
    """Return the job number of a frame."""
    return int.from_bytes(frame, "big")
