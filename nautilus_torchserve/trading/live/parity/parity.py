"""Comparison of a recorded live run with a backtest over the same data and latencies."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.audit.records import AuditLog, RequestRecord
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.models.spec import ModelSpec
from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.serving.model_metadata import UNKNOWN_DIGEST
from nautilus_torchserve.trading.instruments.conform import conform, tick_steps
from nautilus_torchserve.trading.live.parity.backtest import backtest_recorded, traded_instrument
from nautilus_torchserve.trading.live.parity.inputs import ComputedInputs, own_inputs, tick_inputs
from nautilus_torchserve.trading.live.parity.reasons import Market, Reasons
from nautilus_torchserve.trading.live.parity.recorded_run import (
    LoggedRun,
    NoParity,
    RecordedRun,
    recorded_run,
)
from nautilus_torchserve.trading.live.parity.sent_orders import Key, SentOrder, sent_orders
from nautilus_torchserve.wire.errors import UnknownModel


@dataclass(frozen=True)
class OrderDifference:
    """An order that one side has and the other has not, or has otherwise."""

    ts_ns: int
    """Time at which it was sent, Unix ns, in the recorded run's time."""
    strategy_id: str
    question: int | None
    """Number of the request whose response it was sent on; None without a prediction."""
    order_id: str
    """The recorded run's; empty: it had none."""
    live: str
    """Side, quantity, end and price; empty: none."""
    backtest: str
    """The same of the backtest's."""
    explanation: str
    """Reason; empty where the records do not show it."""


@dataclass(frozen=True)
class OrderParity:
    """The comparison of all orders."""

    live: int
    """Orders in the log."""
    backtest: int
    """Orders of the backtest."""
    equal: int
    """Orders of both, with the same side, quantity, end, fills, price and fees."""
    most_apart_ns: int
    """By how much an equal order was sent earlier or later than in the backtest at most (nanoseconds)."""
    differences: tuple[OrderDifference, ...]

    @property
    def explained(self) -> bool:
        """Whether every difference is explained."""
        return all(difference.explanation for difference in self.differences)


def compare_orders(live: RecordedRun, backtest: RecordedRun, market: Market) -> OrderParity:
    """Compare two runs on the same data, in the same time."""
    live_orders, backtest_orders = sent_orders(live), sent_orders(backtest)
    reasons = Reasons(live, backtest, market)
    differences, equal, apart_ns = [], 0, 0
    times = {key: order.ts_ns for key, order in (backtest_orders | live_orders).items()}
    for key in sorted(times, key=lambda key: times[key]):
        live_order, backtest_order = live_orders.get(key), backtest_orders.get(key)
        if live_order is not None and backtest_order is not None and _outcome(live_order) == _outcome(backtest_order):
            equal += 1
            apart_ns = max(apart_ns, abs(live_order.ts_ns - backtest_order.ts_ns))
        else:
            differences.append(_difference(key, times[key], live_order, backtest_order, reasons.why(key)))
    return OrderParity(len(live_orders), len(backtest_orders), equal, apart_ns, tuple(differences))


def _outcome(order: SentOrder) -> tuple[object, ...]:
    return order.side, order.quantity, order.ended, order.filled, order.value, order.fees


def _difference(
    key: Key, ts_ns: int, live_order: SentOrder | None, backtest_order: SentOrder | None, explanation: str
) -> OrderDifference:
    return OrderDifference(
        ts_ns=ts_ns,
        strategy_id=key.strategy_id,
        question=key.question if key.model else None,
        order_id="" if live_order is None else live_order.order_id,
        live="" if live_order is None else str(live_order),
        backtest="" if backtest_order is None else str(backtest_order),
        explanation=explanation,
    )


ROWS = 8192
"""Rows of one request."""


@dataclass(frozen=True)
class PredictionDifference:
    """A request whose features or response differ now."""

    question: int
    ts_event: int
    """Unix ns, as recorded."""
    what: str
    """In words, with both values."""


@dataclass(frozen=True, eq=False)
class PredictionParity:
    """The comparison of all requests."""

    requests: int
    """Requests in the log."""
    features_equal: int
    """Requests whose features are those of the data, to the bit."""
    answered: int
    """Requests with a response in the log."""
    outputs_equal: int
    """Requests whose response is the model's for the features of the data, to the bit."""
    differences: tuple[PredictionDifference, ...]
    outputs: tuple[dict[str, float], ...]
    """The model's outputs now [requests]; empty where there was no response."""

    @property
    def equal(self) -> bool:
        """Whether all predictions are."""
        return not self.differences


def compare_predictions(
    requests: Sequence[RequestRecord], computed: ComputedInputs, urls: Sequence[str], token: str | None = None
) -> PredictionParity:
    """Compare the inputs of all requests with those of the data, and request their predictions again.

    Parameters
    ----------
    urls : sequence of str
        Where the archives that answered are: servers, or ``mar:PATH``.
    token : str, optional
        TorchServe's inference token.

    Raises
    ------
    NoParity
        An archive that answered is at none of the URLs, or no request was answered.
    SchemaMismatch
        It takes other features.
    RequestError, UnreadableArchive
        A model cannot be reached.
    """
    rows = computed.positions
    with ExitStack() as stack:
        clients = {
            digest: stack.enter_context(_client(model, version, digest, urls, token))
            for model, version, digest in sorted(
                {(request.model, request.version, request.digest) for request in requests if request.digest}
            )
        }
        if not clients:
            raise NoParity("expected an answer in the log, got none")
        inputs = {digest: computed.of_model(client) for digest, client in clients.items()}
        some = next(iter(inputs.values()))  # of requests without a response
        features = np.stack(
            [
                inputs[request.digest][row] if request.digest else some[row]
                for request, row in zip(requests, rows.tolist(), strict=True)
            ]
        )
        outputs: list[dict[str, float]] = [{} for _ in requests]
        for digest, client in clients.items():
            which = [place for place, request in enumerate(requests) if request.digest == digest and rows[place] >= 0]
            for place, values in zip(which, _answers(client, features[which]), strict=True):
                outputs[place] = values
    return _compare(requests, rows, features, outputs)


def _compare(
    requests: Sequence[RequestRecord],
    rows: NDArray[np.int64],
    features: NDArray[np.float32],
    outputs: Sequence[dict[str, float]],
) -> PredictionParity:
    differences, features_equal, outputs_equal = [], 0, 0
    for request, row, computed, values in zip(requests, rows.tolist(), features, outputs, strict=True):
        same_features = row >= 0 and request.features.tobytes() == computed.tobytes()
        same_outputs = not request.digest or (bool(values) and _bits(request.outputs) == _bits(values))
        features_equal += same_features
        outputs_equal += bool(request.digest) and same_outputs
        if row < 0:
            differences.append(
                PredictionDifference(request.question, request.ts_event, "its event is not among the data")
            )
            continue
        changes = []
        if not same_features:
            changes.append(_feature_change(request.features, computed))
        if not same_outputs:
            changes.append(f"outputs {dict(request.outputs)} recorded, {values} now")
        if changes:
            differences.append(PredictionDifference(request.question, request.ts_event, "; ".join(changes)))
    answered = sum(bool(request.digest) for request in requests)
    return PredictionParity(len(requests), features_equal, answered, outputs_equal, tuple(differences), tuple(outputs))


def _feature_change(recorded: NDArray[np.float32], computed: NDArray[np.float32]) -> str:
    """Return in words how features differ: all of a row, of a window the first one."""
    if computed.ndim == 1 or recorded.size != computed.size:
        return f"features {recorded.tolist()} recorded, {computed.tolist()} from the data"
    first = int((recorded.view(np.uint32) != computed.ravel().view(np.uint32)).argmax())
    step, column = divmod(first, computed.shape[1])
    return (
        f"features from step {step + 1}, column {column + 1}: {recorded[first]:.9g} recorded, "
        f"{computed[step, column]:.9g} from the data"
    )


def _bits(outputs: Mapping[str, float]) -> dict[str, bytes]:
    return {name: np.float32(value).tobytes() for name, value in outputs.items()}


def _client(model: str, version: str, digest: str, urls: Sequence[str], token: str | None) -> InferenceClient:
    """Return a client of this archive."""
    if digest == UNKNOWN_DIGEST:
        raise NoParity(
            f"expected {model} {version} of an archive with a digest, got answers of one of another make, whose server "
            "does not say what it serves: that the same model answers now cannot be known"
        )
    for url in urls:
        try:
            client = connect(url, model, version, token=token)
        except UnknownModel:
            continue
        if client.metadata.archive_digest == digest:
            return client
        client.close()
    raise NoParity(
        f"expected {model} {version} of archive {digest[:12]}, which answered, at {' or '.join(urls)}, got none"
    )


def _answers(client: InferenceClient, features: NDArray[np.float32]) -> Iterator[dict[str, float]]:
    for start in range(0, len(features), ROWS):
        part = features[start : start + ROWS]
        values = client.predict(part).outputs
        for row in range(len(part)):
            yield {name: values.item(row) for name, values in values.items()}


@dataclass(frozen=True, eq=False)
class ParityReport:
    """The result of the comparison."""

    run_id: str
    data: str
    lost: int
    """Records that are missing from the log."""
    halts: int
    """Orders to stop trading, which the backtest got at their recorded times."""
    predictions: PredictionParity
    orders: OrderParity

    @property
    def holds(self) -> bool:
        """All predictions are equal to the bit, each differing order is explained, and no record is missing."""
        return self.predictions.equal and self.orders.explained and not self.lost

    def to_dict(self) -> dict[str, Any]:
        """Return the report in plain JSON types."""
        predictions = self.predictions
        return {
            "run_id": self.run_id,
            "data": self.data,
            "holds": self.holds,
            "lost": self.lost,
            "halts": self.halts,
            "predictions": {
                "asked": predictions.requests,
                "features_equal": predictions.features_equal,
                "answered": predictions.answered,
                "outputs_equal": predictions.outputs_equal,
                "differences": [asdict(difference) for difference in predictions.differences],
            },
            "orders": asdict(self.orders),
        }


def compare_run(
    log: AuditLog,
    trades: Trades,
    urls: Sequence[str],
    run_id: str | None = None,
    token: str | None = None,
    spec: ModelSpec | None = None,
) -> ParityReport:
    """Compare a run on trades with a backtest of it.

    Parameters
    ----------
    trades : Trades
        What was played, as recorded.
    urls : sequence of str
        Where the archives that answered are: servers, or ``mar:PATH``.
    run_id : str, optional
        Which run of the log; None takes the last one.
    token : str, optional
        TorchServe's inference token.
    spec : ModelSpec, optional
        Of a model on features of your own; None: the tick model's features.

    Raises
    ------
    NoParity
        The log, the data and the archives do not belong together, or times make no sense.
    UnknownRun
        There is no such run.
    LogFailed
        The log cannot be read.
    RequestError, UnreadableArchive
        A model cannot be reached.
    """
    recorded = recorded_run(log, run_id)
    _check_not_ahead(recorded)
    instrument = traded_instrument(recorded, trades)
    computed = own_inputs(recorded, trades, instrument, spec) if spec else tick_inputs(recorded, trades)
    predictions = compare_predictions(recorded.run.requests, computed, urls, token)
    trades = conform(trades, instrument)
    backtest = backtest_recorded(recorded, trades, predictions.outputs)
    return ParityReport(
        run_id=recorded.session.run_id,
        data=trades.source,
        lost=recorded.lost,
        halts=len(recorded.run.halts),
        predictions=predictions,
        orders=compare_orders(recorded.run, backtest, Market(trades, recorded.shift_ns, tick_steps(instrument))),
    )


def _check_not_ahead(recorded: LoggedRun) -> None:
    """Raise where data were played faster than they were recorded, and so stamped ahead of the clock."""
    for request in recorded.run.requests:
        if request.ended_ns < request.ts_init:
            raise NoParity(
                f"run {recorded.session.run_id}: expected data played at speed 1, got an answer "
                f"{(request.ts_init - request.ended_ns) / 1e6:.3f} ms before its question"
            )
