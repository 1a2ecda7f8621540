"""A venue on this machine that speaks Binance's futures protocol: as much of it as a data client needs."""

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from nautilus_torchserve.market.trades.trades import Trades, implied_quotes

HOST = "127.0.0.1"


@dataclass(eq=False)
class Subscriber:
    """One open stream."""

    connection: ServerConnection
    streams: set[str] = field(default_factory=set)


class LoopbackVenue:
    """Plays trades in real time, each stamped with the time at which it is sent, with a quote after it.

    Parameters
    ----------
    trades : Trades
        What is played, from trade ``past`` on; their distances in time are kept.
    past : int
        Trades that happened before the venue was started, for requests of history.
    """

    def __init__(self, trades: Trades, past: int = 0) -> None:
        self.sent = 0
        """Trades that have happened since the start, whether anybody received them or not."""
        self.cuts = 0
        """Streams closed by `cut`."""
        self.requests: list[str] = []
        """Paths of REST requests."""
        self._trades, self._past = trades, past
        self._bids, self._asks = implied_quotes(trades)
        self._stamps_ms = np.zeros(len(trades), dtype=np.int64)
        self._stamps_ms[:past] = time.time_ns() // 10**6 - (trades.ts_event[past] - trades.ts_event[:past]) // 10**6
        self._subscribers: list[Subscriber] = []
        self._lock = threading.Lock()
        self._open, self._ended = True, threading.Event()
        self._rest = ThreadingHTTPServer((HOST, 0), self._rest_handler())
        # No pings: those of this library hold bytes that are no text, which NautilusTrader's client cannot answer.
        self._stream = serve(self._handle, HOST, 0, process_request=self._admit, compression=None, ping_interval=None)
        self._threads = [
            threading.Thread(target=self._rest.serve_forever, args=(0.05,)),
            threading.Thread(target=self._stream.serve_forever),
            threading.Thread(target=self._play),
        ]

    def __enter__(self) -> "LoopbackVenue":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self.cut()
        self._rest.shutdown()
        self._rest.server_close()
        self._stream.shutdown()
        for thread in self._threads:
            thread.join()

    @property
    def http_url(self) -> str:
        """URL of the REST interface."""
        return f"http://{HOST}:{self._rest.server_address[1]}"

    @property
    def ws_url(self) -> str:
        """URL of the streams."""
        return f"ws://{HOST}:{self._stream.socket.getsockname()[1]}"

    def cut(self) -> None:
        """Close all streams and refuse clients until `resume`; trading goes on."""
        self._open = False
        with self._lock:
            subscribers, self._subscribers = self._subscribers, []
        for subscriber in subscribers:
            self.cuts += 1
            subscriber.connection.socket.shutdown(2)  # as a network fails, without a close frame

    def resume(self) -> None:
        """Let streams in again."""
        self._open = True

    @property
    def listeners(self) -> int:
        """Streams that are open."""
        return len(self._subscribers)

    def _play(self) -> None:
        trades = self._trades
        began = time.monotonic()
        for place in range(self._past, len(trades)):
            due = began + (int(trades.ts_event[place]) - int(trades.ts_event[self._past])) / 1e9
            if self._ended.wait(max(0.0, due - time.monotonic())):
                return
            now_ms = time.time_ns() // 10**6
            self._stamps_ms[place] = now_ms
            self.sent += 1
            self._publish("trade", {"e": "trade", "E": now_ms, "T": now_ms, "t": place, **self._trade(place)})
            self._publish("bookTicker", {"e": "bookTicker", "u": place, "E": now_ms, "T": now_ms, **self._quote(place)})

    def quoted(self) -> tuple[str, str]:
        """Return bid and ask after the last trade."""
        place = self._past + max(0, self.sent - 1)
        return self._price(self._bids[place]), self._price(self._asks[place])

    def _trade(self, place: int) -> dict[str, Any]:
        trades = self._trades
        return {
            "s": trades.instrument.symbol,
            "p": self._price(trades.price[place]),
            "q": self._size(trades.size[place]),
            "m": bool(trades.side[place] < 0),
            "X": "MARKET",
        }

    def _quote(self, place: int) -> dict[str, Any]:
        size = self._size(self._trades.size[place])
        bid, ask = self._price(self._bids[place]), self._price(self._asks[place])
        return {"s": self._trades.instrument.symbol, "b": bid, "B": size, "a": ask, "A": size}

    def _price(self, steps: int) -> str:
        precision = self._trades.instrument.price_precision
        return f"{int(steps) / 10**precision:.{precision}f}"

    def _size(self, steps: int) -> str:
        precision = self._trades.instrument.size_precision
        return f"{int(steps) / 10**precision:.{precision}f}"

    def _publish(self, kind: str, data: dict[str, Any]) -> None:
        self.publish(f"{self._trades.instrument.symbol.lower()}@{kind}", data)

    def publish(self, stream: str, data: dict[str, Any]) -> None:
        """Send data to the subscribers of a stream."""
        message = json.dumps({"stream": stream, "data": data})
        for subscriber in list(self._subscribers):
            if stream in subscriber.streams:
                try:
                    subscriber.connection.send(message)
                except (ConnectionClosed, OSError):
                    self._unsubscribe(subscriber)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        return None if self._open else connection.respond(503, "closed\n")

    def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        streams = parse_qs(urlsplit(connection.request.path).query).get("streams", [""])[0]
        subscriber = Subscriber(connection, {name for name in streams.split("/") if name})
        with self._lock:
            self._subscribers.append(subscriber)
        try:
            for message in connection:
                request = json.loads(message)
                if request["method"] == "SUBSCRIBE":
                    subscriber.streams.update(request["params"])
                else:
                    subscriber.streams.difference_update(request["params"])
                connection.send(json.dumps({"result": None, "id": request["id"]}))
        except (ConnectionClosed, OSError):
            pass
        finally:
            self._unsubscribe(subscriber)

    def _unsubscribe(self, subscriber: Subscriber) -> None:
        with self._lock:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

    def answer(self, method: str, path: str, query: dict[str, str]) -> Any:
        """Return the response to a REST request; None for an unknown path."""
        if path == "/fapi/v1/exchangeInfo":
            return self._exchange_info()
        if path in ("/fapi/v2/account", "/fapi/v3/account"):
            may = {"canTrade": True, "canDeposit": True, "canWithdraw": True}
            return {"feeTier": 0, **may, "updateTime": 0, "assets": [], "positions": []}
        if path in ("/fapi/v2/positionRisk", "/fapi/v3/positionRisk"):
            return []
        if path == "/fapi/v1/trades":
            return self._history(int(query.get("limit", "500")))
        return None

    def _history(self, limit: int) -> list[dict[str, Any]]:
        stop = self._past + self.sent
        return [
            {
                "id": place,
                "price": trade["p"],
                "qty": trade["q"],
                "quoteQty": "0",
                "time": int(self._stamps_ms[place]),
                "isBuyerMaker": trade["m"],
            }
            for place in range(max(0, stop - limit), stop)
            for trade in (self._trade(place),)
        ]

    def _exchange_info(self) -> dict[str, Any]:
        instrument = self._trades.instrument
        symbol, price, size = instrument.symbol, instrument.price_precision, instrument.size_precision
        base, quote = symbol.removesuffix("USDT"), "USDT"
        step, tick = f"{10**-size:.{size}f}", f"{10**-price:.{price}f}"
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "9999999", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "1000", "stepSize": step},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ]
        about = {
            "symbol": symbol, "pair": symbol, "contractType": "PERPETUAL", "status": "TRADING",
            "deliveryDate": 4133404800000, "onboardDate": 1569398400000,
            "maintMarginPercent": "2.5000", "requiredMarginPercent": "5.0000",
            "baseAsset": base, "quoteAsset": quote, "marginAsset": quote,
            "pricePrecision": price, "quantityPrecision": size, "baseAssetPrecision": 8, "quotePrecision": 8,
            "underlyingType": "COIN", "underlyingSubType": [], "triggerProtect": "0.05",
            "liquidationFee": "0.0125", "marketTakeBound": "0.05", "filters": filters,
            "orderTypes": ["LIMIT", "MARKET"], "timeInForce": ["GTC", "IOC"],
        }  # fmt: skip
        now_ms = time.time_ns() // 10**6
        return {"timezone": "UTC", "serverTime": now_ms, "rateLimits": [], "exchangeFilters": [], "symbols": [about]}

    def _rest_handler(self) -> type[BaseHTTPRequestHandler]:
        venue = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                parameters = f"{parts.query}&{self.rfile.read(length).decode()}"
                venue.requests.append(parts.path)
                query = {name: values[0] for name, values in parse_qs(parameters).items()}
                answer = venue.answer(self.command, parts.path, query)
                body = json.dumps({"code": -1, "msg": f"{parts.path}?"} if answer is None else answer).encode()
                self.send_response(404 if answer is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, *arguments: Any) -> None:
                """Keep stderr clean."""

        return Handler
