"""The headers of a request, as TorchServe passes them to a worker."""

import time
from collections.abc import Mapping
from typing import Any

from nautilus_torchserve.wire import headers
from nautilus_torchserve.wire.body import BINARY, JSON, excerpt
from nautilus_torchserve.wire.errors import BadHeader, DeadlinePassed, NotAcceptable

BODY = "body"
"""The part of a request that holds its inputs; a request that is no form has only this one."""
_READ = frozenset((headers.DEADLINE_NS, headers.CLIENT_REQUEST_ID, headers.EXPLAIN_OUTPUT, "accept", "content-type"))
"""Headers that have a meaning here."""
_NS_DIGITS = 19
"""Digits of a nanosecond in int64."""
_MAX_ID_LENGTH = 200


def read_headers(properties: Mapping[str, Any]) -> dict[str, str]:
    """Return a request's headers by their names in lower case.

    Parameters
    ----------
    properties : mapping
        Of TorchServe's `RequestProcessor`: headers (name -> text), and among them the parts of the body
        (name -> ``{"content-type": text}``), which a client may name as it likes. A header named like a part wins.

    Raises
    ------
    BadHeader
        A header that is read here came twice, in different case and with different values.
    """
    sent: dict[str, str] = {}
    for name, value in properties.items():
        if isinstance(value, str):
            lower = name.lower()
            if sent.setdefault(lower, value) != value and lower in _READ:
                raise BadHeader(f"expected {lower} once, got it twice: {excerpt(sent[lower])!r}, {excerpt(value)!r}")
    if isinstance(explain := properties.get(headers.EXPLAIN), str):
        sent[headers.EXPLAIN] = explain  # set by TorchServe on its explanations route, in this case
    part = properties.get(BODY)
    if isinstance(part, dict) and part.get("content-type"):
        sent["content-type"] = part["content-type"]
    return sent


def client_request_id(sent: Mapping[str, str]) -> str | None:
    """Return the id that the answer returns to its client; raise `BadHeader` where a header cannot hold it."""
    client_id = sent.get(headers.CLIENT_REQUEST_ID)
    if client_id is not None and not (
        len(client_id) <= _MAX_ID_LENGTH and client_id.isascii() and client_id.isprintable()
    ):
        raise BadHeader(
            f"{headers.CLIENT_REQUEST_ID}: expected at most {_MAX_ID_LENGTH} printable ASCII characters, "
            f"got {len(client_id)}: {excerpt(ascii(client_id))}"
        )
    return client_id


def check_deadline(sent: Mapping[str, str]) -> None:
    """Refuse a request whose deadline has passed.

    Raises
    ------
    BadHeader, DeadlinePassed
    """
    deadline = sent.get(headers.DEADLINE_NS)
    if deadline is None:
        return
    if not (deadline.isdecimal() and deadline.isascii() and len(deadline) <= _NS_DIGITS):
        raise BadHeader(f"expected {headers.DEADLINE_NS} in Unix nanoseconds, got {excerpt(deadline)!r}")
    late_ns = time.time_ns() - int(deadline)
    if late_ns > 0:
        raise DeadlinePassed(f"expected an answer before {deadline}, which was {late_ns} ns ago")


def accepts_binary(sent: Mapping[str, str]) -> bool:
    """Return whether a request accepts float32 instead of JSON; raise `NotAcceptable` where it accepts neither."""
    accept = sent.get("accept", "*/*")
    binary = BINARY in accept
    if not (binary or JSON in accept or "*/*" in accept or "application/*" in accept):
        raise NotAcceptable(f"expected accept {JSON} or {BINARY}, got {excerpt(accept)}")
    return binary
