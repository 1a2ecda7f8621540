"""What a response to a request of the attack reveals about the server."""

import re

from fault_injection.grammar import Draft
from fault_injection.raw_http import Response
from fault_injection.samples import Subject, differs
from nautilus_torchserve.wire.headers import ARCHIVE_DIGEST, CLIENT_REQUEST_ID

HARMED = "good requests without their answer"
DIFFERS = "good answers with other bits"
FOREIGN = "answers to another request"
SERVER_ERROR = "unexpected 5xx"
FRONT_ERROR = "5xx of TorchServe's front (docs/security.md)"
LEAKS = "answers with a Java class, a path or a traceback"
FRONT_LEAKS = "such answers of TorchServe's front (docs/security.md)"
LONG_ERROR = "errors of more than 1,000 characters"
HUNG = "requests without an answer in time"
_LEAK = re.compile(
    rb"\b(?:java|javax|jdk|sun|io\.netty|org\.pytorch|com\.google)\.[\w.$]+|Traceback \(most|File \"|site-packages"
    rb"|/(?:tmp|home|usr|root|opt|work|mnt)/\w+|\bat [\w.]+\([\w.]+:\d+\)"
)
_LONGEST_ERROR = 1000


def judge(
    draft: Draft, response: Response, subject: Subject, request_id: str, sent: bytes = b""
) -> list[tuple[str, str]]:
    """Return the counts that a response belongs to beside its status, with what was seen."""
    counts = []
    if draft.sample is not None:
        counts += _judge_good(draft, response, subject, request_id)
    elif response.status >= 500 and not _is_late(response):
        counts.append((FRONT_ERROR if _is_front(response) else SERVER_ERROR, shown(response)))
    leak = _LEAK.search(response.body) if response.status != 200 else None
    if leak is not None and leak.group() not in sent:  # the request may be quoted
        counts.append((FRONT_LEAKS if _is_front(response) else LEAKS, f"{leak.group()[:80]!r} in {shown(response)}"))
    if response.status != 200 and len(response.body) > _LONGEST_ERROR and not _is_front(response):
        counts.append((LONG_ERROR, f"{len(response.body)} bytes: {shown(response)}"))
    return counts


def _judge_good(draft: Draft, response: Response, subject: Subject, request_id: str) -> list[tuple[str, str]]:
    assert draft.sample is not None
    if response.status != 200:
        return [(HARMED, shown(response))]
    echoed = response.headers.get(CLIENT_REQUEST_ID)
    if echoed is not None and echoed != request_id:
        return [(FOREIGN, f"expected {CLIENT_REQUEST_ID} {request_id}, got {echoed}")]
    if response.headers.get(ARCHIVE_DIGEST) != subject.digest:
        return [(DIFFERS, f"expected {ARCHIVE_DIGEST} {subject.digest}, got {response.headers.get(ARCHIVE_DIGEST)}")]
    difference = differs(draft.sample, response.body, response.headers.get("content-type", ""), subject.outputs)
    return [] if difference is None else [(DIFFERS, difference)]


def shown(response: Response) -> str:
    """Return a response as one short line."""
    return f"{response.status} {' '.join(response.body[:200].decode(errors='replace').split())}"


def _is_late(response: Response) -> bool:
    return response.status == 504 and b"DeadlinePassed" in response.body


_OF_FRONT = re.compile(rb'"type":\s*"\w*Exception"')
_OF_WORKER = re.compile(
    rb"Worker died|Prediction failed|number of batch response|Invalid model predict output|no worker"
)


def _is_front(response: Response) -> bool:
    """Return whether TorchServe's front end made the response by itself, without a worker."""
    return _OF_FRONT.search(response.body) is not None and _OF_WORKER.search(response.body) is None
