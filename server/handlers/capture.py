"""`capture.put`: captures that clients send. Run by the broker, without torch."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

from blender_addon.contract.capture_transfer import (
    CAPTURE_PUT,
    AddFrames,
    OpenUpload,
    parse_capture_put,
)
from server.operation import Answer, Context, Operation
from server.uploads import Uploads

if TYPE_CHECKING:
    from blender_addon.contract.wire import Request

_KEY = "capture.uploads"
_making = threading.Lock()


def put(context: Context, request: Request) -> Answer:
    """Take one step of an upload; see `capture_transfer` for params, arrays and results."""
    asked = parse_capture_put(request)
    uploads = _uploads(context)
    if isinstance(asked, OpenUpload):
        have, capture = uploads.open(asked)
        return Answer(params={"upload": asked.upload, "have": have, "capture": capture})
    if isinstance(asked, AddFrames):
        return Answer(params={"missing": uploads.add(asked)})
    capture, frames = uploads.close(asked.upload)
    return Answer(params={"capture": capture, "frames": frames})


def _uploads(context: Context) -> Uploads:
    with _making:
        made = context.loaded.setdefault(_KEY, None) or Uploads(context.storage)
        context.loaded[_KEY] = made
    return cast("Uploads", made)


OPERATIONS = (Operation(name=CAPTURE_PUT, kind="light", call=put),)
