"""A live run from its settings to its summary: start, watch, flatten, stop."""

import asyncio
import json
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.enums import TradingState
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.serving.client.transports import is_server_url
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.decision import HALT_TOPIC, Halt
from nautilus_torchserve.trading.inference.config import DispatcherConfig
from nautilus_torchserve.trading.live.audit.actor import AuditActor
from nautilus_torchserve.trading.live.components import fetch_metadata, fixed_token, live_table, with_own_server
from nautilus_torchserve.trading.live.node import build_node
from nautilus_torchserve.trading.live.risk.guard import RiskGuard, begin_day, utc_day
from nautilus_torchserve.trading.live.run_record import RunRecord
from nautilus_torchserve.trading.live.run_summary import Ending, LoopLag, RunFailed, run_summary
from nautilus_torchserve.trading.live.settings import LiveSettings
from nautilus_torchserve.wire.errors import RequestError, SchemaMismatch, Unauthorized

LOOK_EVERY_S = 0.05
"""Interval between two checks of a condition (seconds)."""
QUIET_NS = 200_000_000
"""Time without events after which a run counts as settled (nanoseconds)."""
STOPPED_WITHIN_S = 30.0
"""Longest wait for the node's queues to end after a stop (seconds)."""


class Parts(NamedTuple):
    """The components of a run."""

    node: TradingNode
    guard: RiskGuard
    record: RunRecord
    lag: LoopLag
    ended: "asyncio.Queue[str]"
    """Reasons to stop: of several the first counts."""


def run_live(
    settings: LiveSettings, resume: bool = False, report: Callable[[str], None] = lambda message: None
) -> dict[str, Any]:
    """Trade until something ends it: the end of a replay, a signal, a halt, or a failure.

    SIGINT and SIGTERM stop cleanly, a second one without waiting for positions to be closed. SIGUSR1 halts.

    Parameters
    ----------
    resume : bool
        Go on although trading was halted today; the day's losses count from 0 again.
    report : callable
        Called with messages about what happens before the node's own log begins.

    Returns
    -------
    dict
        `trading.live.run_summary.run_summary`; ``ending`` is the reason of the end.

    Raises
    ------
    BadSetting, BadData
        The settings make no sense, or what they name cannot be used.
    TradingHalted
        Trading was halted today.
    RequestError
        The model cannot be reached, or was trained on other features.
    """
    _check_kill_file(settings)
    settings = with_own_server(settings)
    if (warning := _token_warning(settings)) is not None:
        report(warning)
    metadata = _model(settings, report)
    loop = asyncio.new_event_loop()
    try:
        node, instrument_ids = build_node(settings, metadata, loop)
        try:
            parts = _parts(settings, node, instrument_ids, resume)
            ending = loop.run_until_complete(_run(parts, settings))
            audit = next((actor for actor in node.trader.actors() if isinstance(actor, AuditActor)), None)
            summary = run_summary(
                settings,
                metadata,
                node,
                instrument_ids,
                parts.guard,
                parts.record,
                parts.lag,
                ending,
                None if audit is None else audit.end(),
            )
        finally:
            node.dispose()
    finally:
        if not loop.is_closed():
            loop.close()
    return summary if settings.node.summary_file is None else _with_file(summary, Path(settings.node.summary_file))


def _with_file(summary: dict[str, Any], path: Path) -> dict[str, Any]:
    """Write the summary to its file; return it, failed where that cannot be written."""
    try:
        path.write_text(json.dumps(summary) + "\n")
    except OSError as error:
        reason = f"{path}: the summary cannot be written: {error.strerror}"
        status = summary["exit_status"] or RunFailed.exit_code
        return {**summary, "failed": True, "failures": [*summary["failures"], reason], "exit_status": status}
    return summary


def _check_kill_file(settings: LiveSettings) -> None:
    kill_file = settings.risk.kill_file
    if kill_file is not None and Path(kill_file).exists():
        raise BadSetting(f"{kill_file}: expected no kill file at the start, got one")


def _token_warning(settings: LiveSettings) -> str | None:
    """Return what a run should know that cannot follow its server."""
    actor = settings.model.actor
    is_followed = "token_file" in live_table(settings) or not is_server_url(f"{actor.get('url')}")
    if is_followed or fixed_token(settings) is None:
        return None
    return (
        f"the token of {actor.get('token_env', 'TORCHSERVE_TOKEN')} ends when the server restarts, when it expires and "
        "when it is renewed: this run cannot follow that and would lose its model; model.actor.live.token_file names "
        "the server's key file, which is followed"
    )


def _model(settings: LiveSettings, report: Callable[[str], None]) -> ModelMetadata | None:
    """Return the model's metadata; None where the run may and has to wait for the model."""
    try:
        metadata = fetch_metadata(settings)
    except RequestError as error:
        if not settings.model.wait_for_model or isinstance(error, SchemaMismatch | Unauthorized):
            raise
        report(f"the model cannot be reached yet: {error}")
        return None
    report(f"model {metadata.model} {metadata.version}, archive {metadata.archive_digest[:12]}, features agree")
    return metadata


def _parts(settings: LiveSettings, node: TradingNode, instrument_ids: list[InstrumentId], resume: bool) -> Parts:
    ended: asyncio.Queue[str] = asyncio.Queue()
    risk = settings.risk
    state_file = None if risk.state_file is None else Path(risk.state_file)
    day = begin_day(state_file, utc_day(node.kernel.clock.timestamp_ns()), resume)
    guard = RiskGuard(instrument_ids, risk, day, on_halt=ended.put_nowait)
    node.trader.add_actor(guard)
    max_failures = live_table(settings).get("failures_to_open", DispatcherConfig().failures_to_open)
    record = RunRecord(node.kernel.msgbus, settings.model.name, instrument_ids, ended.put_nowait, max_failures)
    return Parts(node, guard, record, LoopLag(), ended)


async def _run(parts: Parts, settings: LiveSettings) -> Ending:
    """Start the node, wait for the end, and stop it."""
    node = parts.node
    hurry = _handle_signals(parts)
    measuring = asyncio.create_task(parts.lag.measure())
    running = asyncio.create_task(node.run_async())
    try:
        steps = 3  # to connect, to reconcile, to initialise the portfolio
        await _wait_for(
            lambda: node.trader.is_running or running.done() or not parts.ended.empty(),
            steps * settings.node.connect_within_s,
        )
        if running.done() and (error := running.exception()) is not None:
            return Ending(f"not started: {error}", failed=True, flat=True)
        if not node.trader.is_running and not parts.ended.empty():
            return Ending(parts.ended.get_nowait(), failed=False, flat=True)
        if not node.trader.is_running:
            return Ending("the venue or the account could not be connected to, see the log", failed=True, flat=True)
        reason = await _first_reason(parts, running)
        if reason is None:
            return Ending("the node stopped by itself, see the log", failed=True, flat=_is_flat(node))
        node.get_logger().info(f"Stopping: {reason}")
        if parts.record.has_played and not parts.guard.halted:
            await _wait_for(lambda: hurry.is_set() or _has_settled(parts, settings), settings.node.flat_within_s)
        flat = await _flatten(parts, settings, reason, hurry)
        return Ending(reason, failed=not flat, flat=flat)
    finally:
        measuring.cancel()
        await _stop(node, running)


def _handle_signals(parts: Parts) -> asyncio.Event:
    """Make signals reasons to stop; return the event that a second one sets."""
    loop, hurry = asyncio.get_running_loop(), asyncio.Event()

    received: list[str] = []

    def stop(name: str) -> None:
        if received:
            hurry.set()
        received.append(name)
        parts.ended.put_nowait(f"signal {name}")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number.name)
    loop.add_signal_handler(signal.SIGUSR1, parts.guard.halt, "signal SIGUSR1")
    return hurry


async def _first_reason(parts: Parts, running: "asyncio.Task[None]") -> str | None:
    """Return why to stop; None where the node did by itself."""
    next_reason = asyncio.create_task(parts.ended.get())
    await asyncio.wait({next_reason, running}, return_when=asyncio.FIRST_COMPLETED)
    if next_reason.done():
        return next_reason.result()
    next_reason.cancel()
    return None


async def _flatten(parts: Parts, settings: LiveSettings, reason: str, hurry: asyncio.Event) -> bool:
    """Have positions and orders closed where the settings or a halt require it; return whether that succeeded."""
    node, halted = parts.node, bool(parts.guard.halted)
    if not halted and not settings.node.flatten_on_stop:
        return True
    risk_engine = node.kernel.risk_engine
    risk_engine.set_trading_state(TradingState.REDUCING)
    if not halted:
        now_ns = node.kernel.clock.timestamp_ns()
        node.kernel.msgbus.publish(topic=HALT_TOPIC, msg=Halt(reason=reason, ts_ns=now_ns))
    await _wait_for(lambda: hurry.is_set() or _is_flat(node), settings.node.flat_within_s)
    flat = _is_flat(node)
    if flat:
        risk_engine.set_trading_state(TradingState.HALTED)
    else:
        node.get_logger().error(f"NOT FLAT: {node.cache.positions_open()} {node.cache.orders_open()}")
    return flat


def _is_flat(node: TradingNode) -> bool:
    """Return whether there is no position and no order, neither open nor in the node's queues."""
    kernel, cache = node.kernel, node.cache
    queued = (
        kernel.risk_engine.cmd_qsize()
        + kernel.risk_engine.evt_qsize()
        + kernel.exec_engine.cmd_qsize()
        + kernel.exec_engine.evt_qsize()
    )
    open_count = cache.positions_open_count() + cache.orders_open_count() + cache.orders_inflight_count()
    return not queued and not open_count


def _has_settled(parts: Parts, settings: LiveSettings) -> bool:
    """Return whether what was received has been answered and no order is on its way.

    A request about the last event may never have been sent, as while the features' window fills: then it is enough
    that nothing has happened for longer than a response may take.
    """
    kernel, cache, record = parts.node.kernel, parts.node.cache, parts.record
    if kernel.data_engine.data_qsize() or cache.orders_inflight_count() or kernel.exec_engine.evt_qsize():
        return False
    deadline_ns = live_table(settings).get("deadline_ns", DispatcherConfig().deadline_ns)
    quiet_ns = kernel.clock.timestamp_ns() - record.last_activity_ns
    return quiet_ns > (QUIET_NS if record.all_ended else QUIET_NS + deadline_ns)


async def _stop(node: TradingNode, running: "asyncio.Task[None]") -> None:
    if node.is_running():
        await node.stop_async()
    if not running.done():
        done, _ = await asyncio.wait({running}, timeout=STOPPED_WITHIN_S)
        if not done:
            running.cancel()
    with suppress(asyncio.CancelledError):
        if running.exception() is not None:
            node.get_logger().error(f"{running.exception()}")


async def _wait_for(condition: Callable[[], bool], within_s: float) -> bool:
    """Wait for a condition; return whether it came true in time."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while not condition():
        if loop.time() >= until:
            return False
        await asyncio.sleep(LOOK_EVERY_S)
    return True
