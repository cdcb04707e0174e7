"""What a handler module offers, and what its functions are given and return.

A module of `server.handlers` holds a table of `Operation`s. It is imported by the broker
(for the table) and by the workers (to do the work), so it imports torch inside functions only.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from blender_addon.contract.fields import parse_model_id
from blender_addon.contract.wire import Arrays, Reply, Request
from server.storage import Storage

if TYPE_CHECKING:
    from server.library import Library


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a handler gives back; the arrays become the server's and must not change any more.

    Attributes:
        params: plain values.
        arrays: numpy arrays by name.
        digest: of the models that made the answer (`Library.digest`); empty: not to be cached.
    """

    params: dict[str, Any] = field(default_factory=dict[str, Any])
    arrays: Arrays = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a long job says between two steps.

    Attributes:
        params: plain values.
        arrays: a preview, now and then; the arrays become the server's.
    """

    params: dict[str, Any]
    arrays: Arrays = field(default_factory=dict)


@dataclass(kw_only=True)
class Context:
    """What handlers share inside one process.

    Attributes:
        library: the model packages on disk.
        device: torch's name of the device: "cpu", "cuda:0", …
        storage: the folders that handlers may write.
        heartbeat: to be called during work that takes long outside a generator (loading).
        turn: to be called in the middle of a long job's steps, as often as one likes: what else has
            come is served, and `Cancelled` is raised once the job is to end.
        loaded: what handlers keep between calls, by their own keys.
    """

    library: Library
    device: str
    storage: Storage = field(default_factory=Storage)
    heartbeat: Callable[[], None] = lambda: None
    turn: Callable[[], None] = lambda: None
    loaded: dict[str, Any] = field(default_factory=dict[str, Any])


Light = Callable[[Context, Request], Answer]
"""Short and without torch: runs in a thread of the broker."""

Predict = Callable[[Context, Sequence[Request]], Sequence[Answer]]
"""A batch on the worker, answers in the batch's order; a bad request raises a typed error."""

Steps = Callable[[Context, Request], Generator[Progress, None, Answer]]
"""A long job on the worker in steps of at most 0.3 s, or in longer ones that call `Context.turn` as
often; closed early when it is cancelled."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One row of a handler module's table.

    Attributes:
        name: `family.verb`.
        kind: where and how it runs: see `Light`, `Predict`, `Steps`.
        call: the function.
        model: the parameter that names the model package which the answer is a pure function of,
            beside the request; its answers are cached. Empty: never cached.
        also: the ids of all packages that the answer depends on, where that is more than `model`;
            run by the broker.
        max_batch: how many requests one `Predict` call may get.
    """

    name: str
    kind: Literal["light", "predict", "steps"]
    call: Callable[..., Any]
    model: str = ""
    also: Callable[[Library, Request], Sequence[str]] | None = None
    max_batch: int = 1


def dependencies(operation: Operation, library: Library, request: Request) -> Sequence[str]:
    """Return the ids of the packages that an operation's answer depends on.

    Raises:
        BadParameter: the request names none, or what is no id.
        UnknownModel: one is missing.
    """
    if operation.also is not None:
        return operation.also(library, request)
    return [parse_model_id(request, operation.model)]


@dataclass(frozen=True)
class HandlerTable:
    """The operations of a server, and what its workers do before they take work."""

    operations: dict[str, Operation]
    prepare: Callable[[Context], None] | None


def load_table(module: str) -> HandlerTable:
    """Import a handler module; it has OPERATIONS, and `prepare(context)` if it needs one."""
    loaded = importlib.import_module(module)
    rows: Sequence[Operation] = loaded.OPERATIONS
    return HandlerTable({row.name: row for row in rows}, getattr(loaded, "prepare", None))


def result_reply(request: Request, answer: Answer) -> Reply:
    """Return the reply that carries an answer."""
    return Reply(id=request.id, kind="result", params=answer.params, arrays=answer.arrays)
