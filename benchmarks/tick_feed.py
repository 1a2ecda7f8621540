"""Sends a time stamp at each of so many random times: ``python -m benchmarks.tick_feed PORT RATE COUNT SEED``.

In a process of its own, so that it keeps its pace whatever happens to those who read: an open loop.
"""

import socket
import struct
import sys
import time

import numpy as np

STAMP = struct.Struct("<q")
"""Unix nanoseconds at which it was sent."""


def send(port: int, rate: float, count: int, seed: int) -> None:
    """Send ``count`` stamps, ``rate`` a second on average, the times between them exponential."""
    gaps_s = np.random.default_rng(seed).exponential(1 / rate, count)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.monotonic()
        for due_s in np.cumsum(gaps_s).tolist():
            if (left_s := began + due_s - time.monotonic()) > 0:
                time.sleep(left_s)
            connection.sendall(STAMP.pack(time.time_ns()))


if __name__ == "__main__":
    port, rate, count, seed = sys.argv[1:]
    send(int(port), float(rate), int(count), int(seed))
