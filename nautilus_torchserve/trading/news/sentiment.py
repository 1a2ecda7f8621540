"""What headlines say about an instrument, as data that strategies subscribe to and catalogs store."""

from nautilus_trader.core.data import Data
from nautilus_trader.model.custom import customdataclass
from nautilus_trader.model.data import DataType
from nautilus_trader.model.identifiers import InstrumentId


@customdataclass
class InstrumentSentiment(Data):
    """An instrument's sentiment after one more headline.

    ``ts_event`` is when the headline was published, ``ts_init`` when its score took effect here; both Unix
    nanoseconds.

    A `ParquetDataCatalog` writes and reads it like any custom data.
    """

    instrument_id: InstrumentId
    """What it is about."""
    score: float
    """Mean of all headlines' scores so far, in [-1, 1], the older ones counting less:
    `trading.news.decayed_mean`. It does not fade by itself: how old it is, ``ts_event`` says."""
    last_score: float
    """The last headline's alone."""
    headlines: int
    """How many the score is made of."""
    model: str
    """The model's name."""
    version: str
    """The version that answered."""
    archive_digest: str
    """Content digest of the archive that answered."""


def sentiment_type(instrument_id: InstrumentId) -> DataType:
    """What an instrument's sentiment is published as; the metadata must match on both sides."""
    return DataType(InstrumentSentiment, metadata={"instrument_id": instrument_id.value})


def sentiment_topic(instrument_id: InstrumentId) -> str:
    """The message bus's topic of `sentiment_type`; subscribing to it works the same in backtest and live."""
    return f"data.{sentiment_type(instrument_id).topic}"
