"""A TCP proxy that can hold responses back, delay them, and be closed and opened again."""

import socket
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

from nautilus_torchserve.serving.server.config import free_ports

HOST = "127.0.0.1"


class Proxy:
    """Forwards connections to a server while it is entered.

    Parameters
    ----------
    url : str
        The server's; it need not be there all the time.
    """

    def __init__(self, url: str) -> None:
        self.delay_s = 0.0
        """Delay of each part of a response, seconds."""
        parts = urlsplit(url)
        self._server = parts.hostname, parts.port
        self._port = free_ports(1)[0]
        self.url = f"http://{HOST}:{self._port}"
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None

    def open(self) -> None:
        """Listen."""
        self._listener = socket.create_server((HOST, self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Stop listening and break all connections."""
        assert self._listener is not None
        for connection in (self._listener, *self._open):
            _end(connection)
        self._open.clear()

    def hold(self) -> None:
        """Hold bytes from the server back until `release`."""
        self._flowing.clear()

    def release(self) -> None:
        """Pass on what was held back."""
        self._flowing.set()

    def __enter__(self) -> "Proxy":
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self.cut()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:  # it is not there now
                client.close()
                continue
            self._open |= {client, server}
            for pipe in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._relay, args=pipe, daemon=True).start()

    def _relay(self, here: socket.socket, there: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := here.recv(65536):
                if answers:
                    self._flowing.wait()
                    time.sleep(self.delay_s)
                there.sendall(data)
        for connection in (here, there):
            _end(connection)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
