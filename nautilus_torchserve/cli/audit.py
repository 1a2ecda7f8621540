"""Show the story of an order: ``nautilus-torchserve audit O-20231114-221320-001-000-1 --log parquet:runs/audit``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text

from nautilus_torchserve.audit.opening import existing_log, folder_of
from nautilus_torchserve.audit.records import ANSWERED, DecisionRecord, Record, RequestRecord
from nautilus_torchserve.audit.story import OrderStory, orders, story_of
from nautilus_torchserve.audit.verification import Verification
from nautilus_torchserve.audit.verification import verify as verify_log
from nautilus_torchserve.cli.app import App, console, echo, print_json
from nautilus_torchserve.cli.options import Json, Log, RunId
from nautilus_torchserve.features.tick import COLUMNS
from nautilus_torchserve.user_error import UserError

Line = tuple[int, str]
"""When, Unix ns, and what."""
app = App(no_args_is_help=True)


@app.command()
def main(
    order_id: Annotated[str | None, typer.Argument(help="Client order ID.")] = None,
    log: Log = "parquet:runs/audit",
    run: RunId = None,
    list_orders: Annotated[bool, typer.Option("--list", help="List all orders instead.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Verify all files against the log's hash chain instead.")
    ] = False,
    last_hash: Annotated[
        str | None,
        typer.Option(help="Hash that the chain must contain (with --verify), from a run's summary; default: none."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the request to the model, its outputs, the strategy's decision, and what became of the order."""
    if [order_id is not None, list_orders, verify].count(True) != 1:
        raise typer.BadParameter("expected one of ORDER_ID, --list and --verify")
    if verify:
        print_verification(log, verify_log(folder_of(log), last_hash), as_json)
        return
    columns = [column.name for column in COLUMNS]
    opened = existing_log(log)
    if order_id is None:
        print_orders(orders(opened, run), as_json)
        return
    story = story_of(opened, order_id, run)
    if as_json:
        print_json(story_dict(story, columns))
    else:
        console.print(story_table(story, columns))


def print_verification(log: str, verification: Verification, as_json: bool) -> None:
    """Print what was compared; raise where a file is not as it was written."""
    if as_json:
        print_json({"whole": not verification.findings, **asdict(verification)})
    for name in verification.unconfirmed:
        echo(f"{name}: its run crashed while it wrote, and its last records may be missing")
    for finding in verification.findings:
        echo(f"{finding.problem}: {finding.file}: expected {finding.expected}, got {finding.got}")
    if verification.findings:
        raise UserError(f"{log}: {len(verification.findings)} findings in {verification.entries} entries of the chain")
    adopted = f"{verification.segments} files ({verification.adopted} from before it had a chain)"
    streams = f"{verification.streams} still written or left by a crash"
    echo(f"{log} is whole: {adopted}, {streams}; last hash {verification.last_hash}")


def print_orders(listed: list[dict], as_json: bool) -> None:
    if as_json:
        print_json({"orders": listed})
        return
    table = Table(
        Column("order", overflow="fold"), Column("run", overflow="fold"), "instrument", "side", "quantity", "came to"
    )
    for order in listed:
        table.add_row(*(order[name] for name in ("order_id", "run_id", "instrument_id", "side", "quantity", "event")))
    console.print(table)


def story_table(story: OrderStory, columns: Sequence[str] = ()) -> Table:
    """Return the events in order of time, the times counted from the event that the prediction is about.

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
    for request in story.requests:
        yield from _request_lines(request, story.features(columns) if request is story.requests[-1] else {})
    if story.decision is not None:
        yield _decision_line(story.decision)
    for event in story.events:
        terms = " ".join(text for text in (event.side, event.quantity, event.order_type) if text)
        tags = f" [{', '.join(event.tags)}]" if event.tags else ""
        yield event.ts_ns, f"order {event.event}{f' {terms}' if terms else ''}{tags}{_because(event.reason)}"
    for fill in story.fills:
        fee = f"fee {fill.fee} {fill.fee_currency}"
        yield fill.ts_ns, f"filled {fill.side} {fill.quantity} at {fill.price}, {fee}, {fill.liquidity}"


def _request_lines(request: RequestRecord, features: Mapping[str, float]) -> Iterator[Line]:
    yield request.ts_event, f"event {request.question} of {request.instrument_id} at the venue"
    yield request.ts_init, "received"
    if request.sent_ns:
        shown = f": {_values(features)}" if features else ""
        batch = f" in a request of {request.rows} rows" if request.rows > 1 else ""
        yield request.sent_ns, f"request to {request.model} at {request.url}{batch}{shown}"
    if request.fate == ANSWERED:
        archive = f"{request.model} {request.version} ({request.digest[:12]})"
        took = f"the call took {request.latency_ns / 1e6:.3f} ms"
        yield request.ended_ns, f"{archive} predicted {_values(request.outputs)}; {took}"
    else:
        yield request.ended_ns, f"no answer in time: {request.fate}{_because(request.error)}"


def _decision_line(decision: DecisionRecord) -> Line:
    action = f"{decision.side} {decision.quantity}" if decision.side else "nothing"
    market = f"; bid {decision.bid or '?'}, ask {decision.ask or '?'}, last {decision.last or '?'}"
    state = "" if decision.status == "OK" else f", the prediction being {decision.status}"
    decided = (
        f"{decision.strategy_id} decided at an age of {decision.age_ns / 1e6:.3f} ms, position {decision.position}"
    )
    return decision.ts_ns, f"{decided}{state}: {action}: {decision.why}{market}"


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
    """Return the story in plain JSON types."""
    price, slippage = story.average_price, story.slippage_bps
    return {
        "order_id": story.order_id,
        "run_id": story.run_id,
        "session": None if story.session is None else _plain(story.session),
        "asked": [_plain(request) for request in story.requests],
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
