"""Which addresses the server may listen on: the loopback interface, until keys exist."""

from __future__ import annotations

import ipaddress
import re

from blender_addon.contract.errors import BadParameter, InsecureEndpoint

DEFAULT_ENDPOINT = "tcp://127.0.0.1:0"
"""Port 0: the system chooses a free one, which the ready line reports."""

_TCP = re.compile(r"tcp://(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]/]+):(?P<port>\d{1,5}|\*)")


def loopback_endpoint(endpoint: str) -> str:
    """Return the endpoint in the form that ZeroMQ binds.

    Args:
        endpoint: `tcp://HOST:PORT`, HOST 127.x.y.z, [::1] or localhost.

    Raises:
        BadParameter: it is not such an address.
        InsecureEndpoint: it is an address that other machines can reach, or may be one.
    """
    match = _TCP.fullmatch(endpoint)
    if match is None:
        raise BadParameter(
            f"{endpoint!r} is not an endpoint of the form tcp://127.0.0.1:PORT", field="endpoint"
        )
    host, port = match["host"], match["port"]
    if port != "*" and int(port) > 65535:
        raise BadParameter(f"{port} is not a port", field="endpoint")
    if host == "localhost":
        host = "127.0.0.1"
    try:
        is_loopback = ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise InsecureEndpoint(f"{endpoint} could be reached from other machines", host=host)
    return f"tcp://{host}:{port}"
