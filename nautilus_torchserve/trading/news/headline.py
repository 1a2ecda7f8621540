"""Headlines about one or several instruments, as data that actors subscribe to and catalogs store."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from nautilus_trader.core.data import Data
from nautilus_trader.model.custom import customdataclass
from nautilus_trader.model.data import DataType
from nautilus_trader.model.identifiers import InstrumentId


@customdataclass
class NewsHeadline(Data):
    """One headline.

    ``ts_event`` is when it was published, ``ts_init`` when it was received here, both Unix nanoseconds.
    NautilusTrader delivers it at ``ts_init``: nothing may act on it earlier.

    A `ParquetDataCatalog` writes and reads it like any custom data, all headlines in one folder whatever
    they are about: see `trading.backtest.news.market`.
    """

    text: str
    """Its words."""
    source: str
    """Its publisher; empty where it is not known."""
    instrument_ids: list[InstrumentId]
    """The instruments that it is about, at least one."""

    _schema = pa.schema(
        {
            "text": pa.string(),
            "source": pa.string(),
            "instrument_ids": pa.list_(pa.string()),
            "type": pa.string(),
            "ts_event": pa.int64(),
            "ts_init": pa.int64(),
        }
    )

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, as the schema wants them."""
        return {
            "text": self.text,
            "source": self.source,
            "instrument_ids": [instrument_id.value for instrument_id in self.instrument_ids],
            "type": "NewsHeadline",
            "ts_event": self.ts_event,
            "ts_init": self.ts_init,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "NewsHeadline":
        """Return the inverse of :meth:`to_dict`."""
        fields = {name: value for name, value in data.items() if name != "type"}
        fields["instrument_ids"] = [InstrumentId.from_str(value) for value in data["instrument_ids"]]
        return cls(**fields)


HEADLINE_TYPE = DataType(NewsHeadline)
"""The data type of all headlines, published once each, whatever they are about.

It carries no instrument: data have one type only, and a headline on two instruments would have to be sent twice and be
scored twice. Subscribers ignore headlines that are not about their instruments.
"""

HEADLINE_TOPIC = f"data.{HEADLINE_TYPE.topic}"
"""The message bus's topic of `HEADLINE_TYPE`; subscribing to it works the same in backtest and live."""


@dataclass(frozen=True)
class NewsCounts:
    """Counts of the headlines about one instrument in one run."""

    headlines: int
    """Received."""
    unread: int
    """Those of them that the model could not read: predictions were made without them."""
    last_refusal: str
    """``Kind: message`` of the last of these; empty without one."""
