"""What of an exception that no one foresaw is logged, and what its request is answered."""

import logging
import traceback

from nautilus_torchserve.wire.errors import BodyTooLarge, RequestError, ServerFault

_LONGEST_LINE = 300
_FIRST_LINES, _LAST_LINES = 30, 90
_log = logging.getLogger(__name__)


def as_request_error(error: Exception, request_id: str | None) -> RequestError:
    """Return what a request is answered that raised this; whatever is not the request's own fault is logged.

    Parameters
    ----------
    request_id : str or None
        TorchServe's, under which its traceback is logged; the answer names it and nothing else.
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
    words = ("can't allocate memory", "out of memory", "std::bad_alloc")
    return isinstance(error, RuntimeError) and any(each in str(error) for each in words)


def log_traceback(error: Exception, what: str) -> None:
    """Log a traceback in lines that can be nothing else, whatever a request has put into the exception's message.

    TorchServe reads the worker's log line by line and takes some lines for its own: each of these is indented, of a
    bounded length, and ASCII.
    """
    lines = "".join(traceback.format_exception(error)).splitlines()
    if len(lines) > _FIRST_LINES + _LAST_LINES:
        lines[_FIRST_LINES:-_LAST_LINES] = [f"... {len(lines) - _FIRST_LINES - _LAST_LINES} lines ..."]
    shown = (line[:_LONGEST_LINE].encode("ascii", "backslashreplace").decode() for line in lines)
    _log.error("%s failed\n%s", what, "\n".join(f"    {line}" for line in shown))
