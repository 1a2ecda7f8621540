"""What became of a live request, as predictions that strategies hear of."""

from collections.abc import Callable, Iterator

from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.trading.inference.messages import InferenceCall, PredictionRequest, RequestOutcome
from nautilus_torchserve.trading.prediction import Prediction, Status


class LiveAnswers:
    """Remembers each instrument's last good prediction, for when there is no other.

    Parameters
    ----------
    model : str
        The name asked for.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._good: dict[InstrumentId, Prediction] = {}

    def predictions(
        self, call: InferenceCall, split: str, now_ns: int, leaving: Callable[[InstrumentId, int], bool]
    ) -> Iterator[Prediction]:
        """One for each answered question, in the order of the call; for an instrument of which none was, one DEGRADED.

        Parameters
        ----------
        split : str
            Name of the traffic split that the request was a part of.
        now_ns : int
            When they take effect, Unix ns.
        leaving : callable
            Given an instrument and a ``ts_event``: whether it is to change to another version.
        """
        answered = {
            question.instrument_id
            for question, fate in zip(call.questions, call.fates, strict=True)
            if fate is RequestOutcome.ANSWERED
        }
        degraded: dict[InstrumentId, PredictionRequest] = {}
        for row, (question, fate) in enumerate(zip(call.questions, call.fates, strict=True)):
            instrument_id = question.instrument_id
            if fate is RequestOutcome.ANSWERED:
                said = self._answer(call, row, split, now_ns, leaving(instrument_id, question.ts_event))
                good = self._good.get(instrument_id)
                if good is None or said.feature_ts >= good.feature_ts:
                    self._good[instrument_id] = said
                yield said
            elif instrument_id not in answered:
                degraded.setdefault(instrument_id, question)  # newest first
        for question in degraded.values():
            yield self._degraded(question, now_ns)

    def _answer(self, call: InferenceCall, row: int, split: str, now_ns: int, leaving: bool) -> Prediction:
        question = call.questions[row]
        return Prediction(
            ts_event=question.ts_event,
            ts_init=now_ns,
            instrument_id=question.instrument_id,
            model=self._model,
            version=call.version,
            archive_digest=call.digest,
            outputs={name: values.item(row) for name, values in call.outputs.items()},
            feature_ts=question.ts_event,
            latency_ns=call.latency_ns,
            split=split,
            leaving=leaving,
            number=question.number,
        )

    def _degraded(self, question: PredictionRequest, now_ns: int) -> Prediction:
        good = self._good.get(question.instrument_id)
        return Prediction(
            ts_event=question.ts_event,
            ts_init=now_ns,
            instrument_id=question.instrument_id,
            model=self._model,
            version="" if good is None else good.version,
            archive_digest="" if good is None else good.archive_digest,
            outputs={} if good is None else dict(good.outputs),
            feature_ts=0 if good is None else good.feature_ts,
            latency_ns=0,
            status=Status.DEGRADED,
            split="" if good is None else good.split,
            leaving=False if good is None else good.leaving,
            number=-1 if good is None else good.number,
        )
