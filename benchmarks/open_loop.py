"""An open-loop load generator: each request is sent at its own time, whether or not earlier ones were answered.

A closed loop sends the next request when the last one is answered: a server that stalls gets fewer requests meanwhile,
and the requests that would have waited are never counted: coordinated omission (G. Tene, "How NOT to measure
latency", 2013). Here the times are given beforehand, requests overlap on as many connections as it takes, and the
latency counts from the time at which a request should have left, so that a delay of the generator itself counts, too.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pycurl
from numpy.typing import NDArray

from benchmarks.load import LoadFailed
from nautilus_torchserve.serving.client.http_connection import set_url

MOST_UNDER_WAY = 256
"""Requests unanswered at one time; at more the server does not keep up, and no profile would help."""
_LONGEST_SLEEP_S = 0.1


@dataclass(frozen=True, eq=False)
class Exchanges:
    """Requests [n] in the order in which they left; times in ns since the first one was due."""

    due_ns: NDArray[np.int64]
    """Scheduled time of each request."""
    sent_ns: NDArray[np.int64]
    """Time at which it was sent."""
    answered_ns: NDArray[np.int64]
    """Time at which its response was complete."""

    @property
    def latency_ns(self) -> NDArray[np.int64]:
        """Time from the scheduled time to the complete response."""
        return self.answered_ns - self.due_ns

    @property
    def lag_ns(self) -> NDArray[np.int64]:
        """Delay of the generator for each request."""
        return self.sent_ns - self.due_ns


class OpenLoop:
    """A pool of keep-alive connections to one route; also a context manager.

    Parameters
    ----------
    url : str
        Where to post.
    headers : sequence of str
        ``Name: value``, sent with each request.
    timeout_s : float
        Longest wait for one answer.
    """

    def __init__(self, url: str, headers: Sequence[str], timeout_s: float = 10.0) -> None:
        self._url = url
        self._headers = [*headers, "Expect:", "User-Agent:"]
        self._timeout_s = timeout_s
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, MOST_UNDER_WAY)
        self._idle: list[pycurl.Curl] = []
        self._in_flight: dict[pycurl.Curl, tuple[int, BytesIO]] = {}  # under way: which request, and its answer so far

    def send(self, bodies: Sequence[bytes], due_ns: NDArray[np.int64]) -> Exchanges:
        """Send request k, with body ``k % len(bodies)``, ``due_ns[k]`` from now, and wait for all answers.

        Parameters
        ----------
        bodies : sequence of bytes
        due_ns : int64 [n]
            Non-decreasing, from 0 on.

        Raises
        ------
        LoadFailed
            An answer but 200, none in time, or more than `MOST_UNDER_WAY` unanswered.
        """
        count = len(due_ns)
        sent, answered = np.zeros(count, np.int64), np.zeros(count, np.int64)
        due = due_ns.tolist()
        began = time.perf_counter_ns()
        following, done = 0, 0
        while done < count:
            while following < count and due[following] <= time.perf_counter_ns() - began:
                sent[following] = time.perf_counter_ns() - began
                self._start(following, bodies[following % len(bodies)])
                following += 1
            ended = self._ended()
            answered[ended] = time.perf_counter_ns() - began
            done += len(ended)
            if done < count:
                until_s = (due[following] - time.perf_counter_ns() + began) / 1e9 if following < count else 1.0
                self._wait(until_s)
        return Exchanges(due_ns, sent, answered)

    def close(self) -> None:
        """Give all connections back; what is under way is dropped."""
        for handle in self._in_flight:
            self._multi.remove_handle(handle)
            handle.close()
        for handle in self._idle:
            handle.close()
        self._in_flight.clear()
        self._idle.clear()
        self._multi.close()

    def __enter__(self) -> "OpenLoop":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, number: int, body: bytes) -> None:
        if len(self._in_flight) == MOST_UNDER_WAY:
            raise LoadFailed(
                f"{self._url}: expected at most {MOST_UNDER_WAY} unanswered requests, got one more: "
                "the server does not keep up with these arrivals"
            )
        handle = self._idle.pop() if self._idle else self._make()
        received = BytesIO()
        handle.setopt(pycurl.POSTFIELDSIZE, len(body))
        handle.setopt(pycurl.POSTFIELDS, body)
        handle.setopt(pycurl.WRITEFUNCTION, received.write)
        self._in_flight[handle] = number, received
        self._multi.add_handle(handle)

    def _ended(self) -> list[int]:
        """Return the requests that were answered since the last call."""
        self._multi.perform()
        numbers = []
        left = 1
        while left:
            left, succeeded, failed = self._multi.info_read()
            for _, _, text in failed:
                raise LoadFailed(f"{self._url}: {text}")
            for handle in succeeded:
                number, received = self._in_flight.pop(handle)
                code = handle.getinfo(pycurl.RESPONSE_CODE)
                self._multi.remove_handle(handle)
                self._idle.append(handle)
                if code != 200:
                    text = received.getvalue().decode(errors="replace")[:200]
                    raise LoadFailed(f"{self._url}: expected status 200, got {code}: {text}")
                numbers.append(number)
        return numbers

    def _wait(self, until_s: float) -> None:
        """Wait until something is received, or the next request is due."""
        if until_s <= 0:
            return
        if self._in_flight:
            self._multi.select(min(until_s, _LONGEST_SLEEP_S))
        else:
            time.sleep(min(until_s, _LONGEST_SLEEP_S))

    def _make(self) -> pycurl.Curl:
        handle = pycurl.Curl()
        handle.setopt(pycurl.NOSIGNAL, 1)
        set_url(handle, self._url)
        handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        handle.setopt(pycurl.TIMEOUT_MS, round(self._timeout_s * 1000))
        handle.setopt(pycurl.HTTPHEADER, self._headers)
        handle.setopt(pycurl.POST, 1)
        return handle
