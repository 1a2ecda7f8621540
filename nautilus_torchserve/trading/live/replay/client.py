"""A data client of NautilusTrader's that plays recorded data as if they came in now."""

import asyncio
from dataclasses import dataclass
from typing import TypeVar

from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.common.providers import InstrumentProvider
from nautilus_trader.config import LiveDataClientConfig
from nautilus_trader.core.datetime import dt_to_unix_nanos
from nautilus_trader.data.messages import (
    RequestBars,
    RequestQuoteTicks,
    RequestTradeTicks,
    SubscribeBars,
    SubscribeQuoteTicks,
    SubscribeTradeTicks,
    UnsubscribeBars,
    UnsubscribeQuoteTicks,
    UnsubscribeTradeTicks,
)
from nautilus_trader.live.data_client import LiveMarketDataClient
from nautilus_trader.live.factories import LiveDataClientFactory
from nautilus_trader.model.data import Bar, QuoteTick, TradeTick
from nautilus_trader.model.identifiers import ClientId

from nautilus_torchserve.trading.live.replay.recording import Recording, load_recording
from nautilus_torchserve.trading.live.settings import ReplayMarket

E = TypeVar("E", TradeTick, QuoteTick, Bar)
PLAYBACK_TOPIC = "replay.playback"
"""Topic of `Playback`s, which are published when a replay begins and when it has ended."""
LEAD_NS = 200_000_000
"""From the first subscription to the first event: time for the others to subscribe, too (nanoseconds)."""
LARGEST_BURST = 64
"""Moments that may be handed over in a row before the event loop has its turn."""


@dataclass(frozen=True)
class Playback:
    """State of a replay of recorded data."""

    shift_ns: int
    """Shift that was added to all recorded times (nanoseconds)."""
    source: str
    """Source of the recorded data."""
    sha256: str
    """Hash of the recorded values, as recorded."""
    events: int
    """Handed over so far; quotes count where they are played alone."""
    ended: bool
    """Whether that was all."""


class ReplayDataClientConfig(LiveDataClientConfig, kw_only=True, frozen=True):
    """Configuration of `ReplayDataClient`.

    Parameters
    ----------
    market : ReplayMarket
        The data to play, and their speed.
    """

    market: ReplayMarket


class ReplayDataClient(LiveMarketDataClient):
    """Plays a recording to whoever subscribes; requests for history get the events before it.

    All times are shifted by one constant, so that the first event happens `LEAD_NS` after the first subscription or
    request. Every distance between two times stays what it was: features, and so predictions, are those of a
    backtest on the same data to the bit. Played at ``speed`` 1 each event is handed over when its ``ts_init`` has
    come; faster, ``ts_init`` runs ahead of the clock.

    Parameters
    ----------
    recording : Recording
    speed : float
        How many times faster than real time; infinite is as fast as it can be taken.
    """

    def __init__(
        self,
        recording: Recording,
        speed: float,
        loop: asyncio.AbstractEventLoop,
        msgbus: MessageBus,
        cache: Cache,
        clock: LiveClock,
        name: str,
    ) -> None:
        venues = {instrument.id.venue for instrument in recording.instruments}
        provider = InstrumentProvider()
        provider.add_bulk(list(recording.instruments))
        super().__init__(
            loop=loop,
            client_id=ClientId(name),
            venue=venues.pop() if len(venues) == 1 else None,
            msgbus=msgbus,
            cache=cache,
            clock=clock,
            instrument_provider=provider,
        )
        self.recording = recording
        self.shift_ns: int | None = None
        """Shift of all recorded times (nanoseconds); None before the first subscription."""
        self.played = 0
        """Events published so far, see `Playback.events`."""
        self.ended = False
        """Whether those were all."""
        self._speed = speed
        self._playing: asyncio.Task | None = None

    async def _connect(self) -> None:
        for instrument in self.recording.instruments:
            self._cache.add_instrument(instrument)  # at once: what is published waits in a queue
            self._handle_data(instrument)
            self._log.info(f"{self.recording.source}: {instrument.id}")

    async def _disconnect(self) -> None:
        if self._playing is not None:
            self._playing.cancel()

    async def _subscribe_trade_ticks(self, command: SubscribeTradeTicks) -> None:
        self._begin()

    async def _subscribe_bars(self, command: SubscribeBars) -> None:
        self._begin()

    async def _subscribe_quote_ticks(self, command: SubscribeQuoteTicks) -> None:
        """Begin where quotes are played alone; else they come with the trades or bars."""
        if self.recording.kind is QuoteTick:
            self._begin()

    async def _unsubscribe_trade_ticks(self, command: UnsubscribeTradeTicks) -> None:
        """Do nothing: the others go on receiving them."""

    async def _unsubscribe_bars(self, command: UnsubscribeBars) -> None:
        """Do nothing: the others go on receiving them."""

    async def _unsubscribe_quote_ticks(self, command: UnsubscribeQuoteTicks) -> None:
        """Do nothing: the others go on receiving them."""

    async def _request_trade_ticks(self, request: RequestTradeTicks) -> None:
        past = await self._past(self.recording.past(TradeTick, request.instrument_id, self._shift()), request)
        # No end: the engine would leave out what came between the request and now.
        self._handle_trade_ticks(request.instrument_id, past, request.id, request.start, None, request.params)

    async def _request_quote_ticks(self, request: RequestQuoteTicks) -> None:
        past = await self._past(self.recording.past(QuoteTick, request.instrument_id, self._shift()), request)
        self._handle_quote_ticks(request.instrument_id, past, request.id, request.start, None, request.params)

    async def _request_bars(self, request: RequestBars) -> None:
        past = await self._past(self.recording.past(Bar, request.bar_type, self._shift()), request)
        self._handle_bars(request.bar_type, past, request.id, request.start, None, request.params)

    async def _past(self, known: list[E], request: RequestTradeTicks | RequestQuoteTicks | RequestBars) -> list[E]:
        """Return the events since ``start``, at most the last ``limit`` of them, once all of them are past."""
        start_ns = 0 if request.start is None else dt_to_unix_nanos(request.start)
        events = [event for event in known if event.ts_init >= start_ns]
        if events:
            await asyncio.sleep(max(0, events[-1].ts_init - self._clock.timestamp_ns()) / 1e9)
        return events[-request.limit :] if request.limit else events

    def _shift(self) -> int:
        """Return the shift of all times, fixed at the first use."""
        if self.shift_ns is None:
            self.shift_ns = self._clock.timestamp_ns() + LEAD_NS - self.recording.first_ts
            self._log.info(f"{self.recording.source}: all times are shifted by {self.shift_ns} ns")
        return self.shift_ns

    def _begin(self) -> None:
        if self._playing is None:
            self._playing = self.create_task(self._play(self._shift()), log_msg="replay")

    async def _play(self, shift_ns: int) -> None:
        first_ns = self.recording.first_ts + shift_ns
        self._publish_playback(shift_ns)
        burst = 0
        for ts_init, together in self.recording.moments(shift_ns):
            due_ns = first_ns + (ts_init - first_ns) / self._speed
            burst += 1
            # A sleep ends a little early or late by the loop's clock: wait again until the time has come.
            while (wait_ns := due_ns - self._clock.timestamp_ns()) > 0 or burst > LARGEST_BURST:
                await asyncio.sleep(max(wait_ns, 0) / 1e9)
                burst = 0
            for event in together:
                self._handle_data(event)
            self.played += sum(isinstance(event, self.recording.kind) for event in together)
        self.ended = True
        self._log.info(f"{self.recording.source}: all {self.played} events were played")
        self._publish_playback(shift_ns)

    def _publish_playback(self, shift_ns: int) -> None:
        recording = self.recording
        self._msgbus.publish(
            topic=PLAYBACK_TOPIC,
            msg=Playback(shift_ns, recording.source, recording.sha256, self.played, self.ended),
        )


class ReplayDataClientFactory(LiveDataClientFactory):
    """Makes `ReplayDataClient`s for a `TradingNode`."""

    @staticmethod
    def create(  # type: ignore[override]
        loop: asyncio.AbstractEventLoop,
        name: str,
        config: ReplayDataClientConfig,
        msgbus: MessageBus,
        cache: Cache,
        clock: LiveClock,
    ) -> ReplayDataClient:
        return ReplayDataClient(load_recording(config.market), config.market.speed, loop, msgbus, cache, clock, name)
