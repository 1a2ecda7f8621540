"""Unexpected exceptions: what is logged, and what their requests are answered."""

import logging
import traceback

from nautilus_torchserve.wire.errors import BodyTooLarge, RequestError, ServerFault

_LONGEST_LINE = 300
_FIRST_LINES, _LAST_LINES = 30, 90
_log = logging.getLogger(__name__)


def as_request_error(error: Exception, request_id: str | None) -> RequestError:
    """Return the error that a request is answered; one that is not the request's own fault is logged.

    Parameters
    ----------
    request_id : str or None
        TorchServe's, with which its traceback is logged; the answer quotes nothing else of it.
    """
    if isinstance(error, RequestError):
        return error
    log_traceback(error, f"request {request_id}")
    if is_out_of_memory(error):
        return BodyTooLarge(f"request {request_id} needs more memory than its worker may take: send less in a request")
    return ServerFault(f"request {request_id} failed in the worker; its model log has the traceback under this id")


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an allocation failed: torch raises RuntimeErrors for it."""
    if isinstance(error, MemoryError):
        return True
    phrases = ("can't allocate memory", "out of memory", "std::bad_alloc")
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in phrases)


def log_traceback(error: Exception, what: str) -> None:
    """Log a traceback so that none of its lines is taken for another, whatever a request put into the message.

    TorchServe reads the worker's log line by line and interprets some lines itself: those of a traceback are indented,
    of bounded length, and ASCII.
    """
    lines = "".join(traceback.format_exception(error)).splitlines()
    if len(lines) > _FIRST_LINES + _LAST_LINES:
        lines[_FIRST_LINES:-_LAST_LINES] = [f"... {len(lines) - _FIRST_LINES - _LAST_LINES} lines ..."]
    shown = (line[:_LONGEST_LINE].encode("ascii", "backslashreplace").decode() for line in lines)
    _log.error("%s failed\n%s", what, "\n".join(f"    {line}" for line in shown))
