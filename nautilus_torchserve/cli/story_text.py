"""An order's story for the terminal, and as plain types."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from nautilus_torchserve.audit.records import ANSWERED, DecisionRecord, Record, RequestRecord
from nautilus_torchserve.audit.story import OrderStory

Line = tuple[int, str]
"""When, Unix ns, and what."""


def story_table(story: OrderStory, columns: Sequence[str] = ()) -> Table:
    """What happened, in order of time, the times counted from the event that the model was asked about.

    Parameters
    ----------
    columns : sequence of str
        Names of the features.
    """
    lines = sorted(_lines(story, columns), key=lambda line: line[0])
    origin_ns = lines[0][0] if lines else 0
    table = Table(title=f"{story.order_id} of run {story.run_id}", show_header=False, title_justify="left")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("began", _utc(origin_ns))
    for ts_ns, what in lines:
        table.add_row(f"{(ts_ns - origin_ns) / 1e6:+.3f} ms", Text(what))
    for what in _summary(story):
        table.add_row("in all", Text(what))
    return table


def _lines(story: OrderStory, columns: Sequence[str]) -> Iterator[Line]:
    for asked in story.requests:
        yield from _asked_lines(asked, story.features(columns) if asked is story.requests[-1] else {})
    if story.decision is not None:
        yield _decision_line(story.decision)
    for event in story.events:
        told = " ".join(text for text in (event.side, event.quantity, event.order_type) if text)
        tags = f" [{', '.join(event.tags)}]" if event.tags else ""
        yield event.ts_ns, f"order {event.event}{f' {told}' if told else ''}{tags}{_because(event.reason)}"
    for fill in story.fills:
        fee = f"fee {fill.fee} {fill.fee_currency}"
        yield fill.ts_ns, f"filled {fill.side} {fill.quantity} at {fill.price}, {fee}, {fill.liquidity}"


def _asked_lines(asked: RequestRecord, features: Mapping[str, float]) -> Iterator[Line]:
    yield asked.ts_event, f"event {asked.question} of {asked.instrument_id} at the venue"
    yield asked.ts_init, "received"
    if asked.sent_ns:
        shown = f": {_values(features)}" if features else ""
        beside = f" in a request of {asked.rows} rows" if asked.rows > 1 else ""
        yield asked.sent_ns, f"{asked.model} asked at {asked.url}{beside}{shown}"
    if asked.fate == ANSWERED:
        who = f"{asked.model} {asked.version} ({asked.digest[:12]})"
        yield asked.ended_ns, f"{who} said {_values(asked.outputs)}; the call took {asked.latency_ns / 1e6:.3f} ms"
    else:
        yield asked.ended_ns, f"no answer in time: {asked.fate}{_because(asked.error)}"


def _decision_line(said: DecisionRecord) -> Line:
    did = f"{said.side} {said.quantity}" if said.side else "nothing"
    market = f"; bid {said.bid or '?'}, ask {said.ask or '?'}, last {said.last or '?'}"
    state = "" if said.status == "OK" else f", the prediction being {said.status}"
    age = f"at an age of {said.age_ns / 1e6:.3f} ms"
    return said.ts_ns, f"{said.strategy_id} decided {age}, position {said.position}{state}: {did}: {said.why}{market}"


def _summary(story: OrderStory) -> Iterator[str]:
    if story.decision is None:
        yield "sent without a prediction, as at a halt or the end of a run"
    if story.average_price is None:
        yield "nothing was filled"
        return
    fees = ", ".join(f"{fee} {currency}" for currency, fee in story.fees.items())
    yield f"filled {story.filled} at {story.average_price:.10g} on average, fees {fees}"
    if story.slippage_bps is not None:
        yield f"{story.slippage_bps:.3f} bps worse than {story.reference_price:.10g} at the decision"


def story_dict(story: OrderStory, columns: Sequence[str] = ()) -> dict[str, Any]:
    """All of it in plain JSON types."""
    price, slippage = story.average_price, story.slippage_bps
    return {
        "order_id": story.order_id,
        "run_id": story.run_id,
        "session": None if story.session is None else _plain(story.session),
        "asked": [_plain(asked) for asked in story.requests],
        "features": dict(story.features(columns)),
        "decision": None if story.decision is None else _plain(story.decision),
        "events": [_plain(event) for event in story.events],
        "fills": [_plain(fill) for fill in story.fills],
        "filled": str(story.filled),
        "average_price": None if price is None else str(price),
        "fees": {currency: str(fee) for currency, fee in story.fees.items()},
        "slippage_bps": None if slippage is None else float(slippage),
    }


def _plain(record: Record) -> dict[str, Any]:
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in asdict(record).items()}


def _values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in values.items())


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _utc(ts_ns: int) -> str:
    whole, rest = divmod(ts_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%d %H:%M:%S}.{rest:09d} UTC"
