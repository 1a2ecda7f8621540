"""A closed-loop HTTP/1.1 load generator: ``python -m benchmarks.closed_loop < load.json``.

Reads one `benchmarks.load.Load` as JSON (body in base64), prints one `LoadResult` as JSON.
Any answer but 200 and any broken connection ends it with exit status 1.
"""

import asyncio
import base64
import json
import sys
import time
from array import array
from typing import cast
from urllib.parse import urlsplit

import uvloop

_TIMEOUT_S = 10.0


class Connection(asyncio.Protocol):
    """One connection: sends, waits for the whole answer, sends again."""

    def __init__(self, request: bytes, latencies_ns: "array[int]", failed: asyncio.Future[None]) -> None:
        self._request = request
        self._latencies_ns = latencies_ns
        self._failed = failed
        self._received = bytearray()
        self._length = -1
        self._began = 0
        self._stopped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._length < 0:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            try:
                self._length = end + 4 + _content_length(bytes(self._received[:end]))
            except ValueError as error:
                _fail(self._failed, str(error))
                return
        if len(self._received) >= self._length and not self._stopped:
            self._latencies_ns.append(time.perf_counter_ns() - self._began)
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._stopped:
            _fail(self._failed, f"the server closed the connection: {error or 'no error'}")

    def stop(self) -> None:
        """Leave the request under way unanswered; it is not counted."""
        self._stopped = True
        self._transport.abort()

    def _send(self) -> None:
        self._received.clear()
        self._length = -1
        self._began = time.perf_counter_ns()
        self._transport.write(self._request)


def _content_length(head: bytes) -> int:
    """Return the length of the body that follows a head; raise ValueError for anything but a plain 200."""
    status, *lines = head.decode("latin-1").split("\r\n")
    if status.split(" ")[1:2] != ["200"]:
        raise ValueError(f"expected status 200, got {status!r}")
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    raise ValueError("expected a content-length, got none")


async def run(url: str, headers: dict[str, str], body: str, connections: int, seconds: float) -> dict[str, float]:
    """Run the load and return the fields of a `LoadResult`.

    Raises
    ------
    OSError
        No connection, or an answer that is no success.
    """
    parts = urlsplit(url)
    content = base64.b64decode(body)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    request = "\r\n".join([*lines, "", ""]).encode() + content
    host, port = parts.hostname or "", parts.port or 80
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[None] = loop.create_future()
    loop.set_exception_handler(lambda _, context: _fail(failed, f"{context['message']}: {context.get('exception')!r}"))
    latencies_ns = array("q")
    began = time.perf_counter()
    clients = [
        (await loop.create_connection(lambda: Connection(request, latencies_ns, failed), host, port))[1]
        for _ in range(connections)
    ]
    await asyncio.wait([failed], timeout=seconds)
    if not latencies_ns and not failed.done():
        await asyncio.wait([failed], timeout=_TIMEOUT_S)
    took = time.perf_counter() - began
    for client in clients:
        client.stop()
    if failed.done():
        failed.result()
    if not latencies_ns:
        raise ConnectionError(f"no answer within {took:.1f} s")
    ascending = sorted(latencies_ns)
    p50, p99 = (ascending[int(len(ascending) * quantile)] for quantile in (0.5, 0.99))
    return {"p50_ms": p50 / 1e6, "p99_ms": p99 / 1e6, "requests_per_s": len(ascending) / took}


def _fail(failed: asyncio.Future[None], why: str) -> None:
    if not failed.done():
        failed.set_exception(ConnectionError(why))


def main() -> int:
    """Read the load from stdin, print the result."""
    try:
        print(json.dumps(uvloop.run(run(**json.load(sys.stdin)))))
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
