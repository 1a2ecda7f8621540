"""A streaming class of features at work: the rows about one instrument, and the inputs that they make up."""

import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
from nautilus_trader.core.data import Data
from nautilus_trader.model.identifiers import InstrumentId
from numpy.typing import NDArray

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.features.streaming import BadRow, InputWindows, StreamingFeatures
from nautilus_torchserve.models.spec import FeatureSet, load_object
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.features.subscription import parse_subscription
from nautilus_torchserve.user_error import UserError


class FeaturesFailed(UserError):
    """A streaming class of features raised an exception, or returned what is no row."""


def load_schema(features: FeatureSet) -> FeatureSchema:
    """Return the schema of a feature set.

    Raises
    ------
    InvalidArgument
        There is no such object.
    BadSetting
        It is no schema.
    """
    schema = features.load_schema()
    if not isinstance(schema, FeatureSchema):
        raise BadSetting(f"{features.schema}: expected a FeatureSchema, got {type(schema).__name__}")
    return schema


class InstrumentFeatures:
    """Computes the features of one instrument.

    Parameters
    ----------
    features : FeatureSet
        With a streaming class.
    instrument_id : InstrumentId
        The predicted instrument.

    Raises
    ------
    BadSetting
        The feature set has no streaming class, or names data that do not exist.
    InvalidArgument
        It names objects that do not exist.
    FeaturesFailed
        The class cannot be constructed.
    """

    def __init__(self, features: FeatureSet, instrument_id: InstrumentId) -> None:
        if features.streaming is None:
            raise BadSetting("expected a feature set with a streaming class, got none")
        self.instrument_id = instrument_id
        self.subscriptions = tuple(parse_subscription(text, instrument_id) for text in features.data)
        """In the order of `FeatureSet.data`."""
        if not self.subscriptions:
            raise BadSetting(f"features.data: expected what {features.streaming} is given, got nothing")
        self.windows = InputWindows(load_schema(features), features.warm_up)
        """The inputs so far."""
        self._name = features.streaming
        named = [subscription.instrument_id for subscription in self.subscriptions]
        instrument_ids = list(dict.fromkeys([instrument_id, *filter(None, named)]))
        streaming_class = load_object(features.streaming)
        try:
            self._streaming: StreamingFeatures = streaming_class(instrument_ids)
        except (Exception, SystemExit) as error:  # whatever code of the user raises
            raise self._failed(f"cannot be constructed with {instrument_ids}", error) from error

    def update(self, data: Data) -> NDArray[np.float32] | None:
        """Add a datum; return the model's input that ends with it, see `InputWindows.add`.

        Raises
        ------
        FeaturesFailed
            The class raised an exception, or returned what is no row.
        """
        row = self.row(data)
        if row is None:
            return None
        try:
            return self.windows.add(row)
        except BadRow as error:
            raise FeaturesFailed(f"{self._name} on {self.instrument_id}, {data}: {error}") from None

    def row(self, data: Data) -> Sequence[float] | NDArray[Any] | None:
        """Add a datum; return what the class makes of it, as it is; raises as `update`."""
        try:
            return self._streaming.update(data)
        except (Exception, SystemExit) as error:  # whatever code of the user raises
            raise self._failed(f"failed at {data}", error) from error

    def _failed(self, what: str, error: BaseException) -> FeaturesFailed:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return FeaturesFailed(f"{self._name} {what}: {type(error).__name__}: {error} ({where.filename}:{where.lineno})")
