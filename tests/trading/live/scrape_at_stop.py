"""An actor that scrapes a run's metrics when it is stopped: positions are closed by then, the port is still open."""

import json
from pathlib import Path

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig
from scraped import scrape


class ScrapeAtStopConfig(ActorConfig, kw_only=True, frozen=True):
    """Configuration of `ScrapeAtStop`: the port, and the file that is written."""

    port: int
    path: str


class ScrapeAtStop(Actor):
    """Writes what Prometheus would have read."""

    def on_stop(self) -> None:
        samples = [[name, labels, value] for (name, labels), value in scrape(self.config.port).items()]
        Path(self.config.path).write_text(json.dumps(samples))
