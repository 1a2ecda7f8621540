"""A TCP proxy that holds back what comes from behind it."""

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType

HOST = "127.0.0.1"


class ToxicProxy:
    """Passes connections on to a port of this machine.

    Parameters
    ----------
    port : int
        Whom to.
    """

    def __init__(self, port: int) -> None:
        self.delay_s = 0.0
        """How long each piece of an answer is held back."""
        self._behind = port
        self._listening = socket.create_server((HOST, 0))
        self._open: set[socket.socket] = set()
        self._accepting = threading.Thread(target=self._accept)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self._listening.getsockname()[1]}"

    def __enter__(self) -> "ToxicProxy":
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for each in list(self._open):
            _end(each)
        self._accepting.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((HOST, self._behind))
            except OSError:
                client.close()
                continue
            self._open |= {client, server}
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, delayed: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if delayed and self.delay_s:
                    time.sleep(self.delay_s)
                target.sendall(data)
        for each in (source, target):
            _end(each)
        self._open -= {source, target}


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
