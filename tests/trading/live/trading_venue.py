"""A loopback venue that takes orders, too: each market order fills at once at the quote."""

import itertools
import time
from decimal import Decimal
from typing import Any

from loopback_venue import LoopbackVenue

from nautilus_torchserve.market.trades.trades import Trades

LISTEN_KEY = "loopbacklistenkey"
NOUGHTS = ("unrealizedProfit", "maintMargin", "initialMargin", "positionInitialMargin", "openOrderInitialMargin",
           "crossUnPnl")  # fmt: skip
TOTALS = ("walletBalance", "marginBalance", "crossWalletBalance", "availableBalance", "maxWithdrawAmount")


class TradingVenue(LoopbackVenue):
    """One account in one-way mode, with 10,000 USDT, which trades cost nothing.

    Parameters
    ----------
    trades : Trades
        What is played, see `LoopbackVenue`.
    position : Decimal
        What the account holds at the start.
    """

    def __init__(self, trades: Trades, position: Decimal = Decimal(0)) -> None:
        super().__init__(trades)
        self.position = position
        """Position of the account."""
        self.orders: list[dict[str, str]] = []
        """Orders as they came."""
        self.leverages: dict[str, int] = {}
        """Leverage that was set, by symbol."""
        self._symbol = trades.instrument.symbol
        self._numbers = itertools.count(1)

    def answer(self, method: str, path: str, query: dict[str, str]) -> Any:
        name = path.removeprefix("/fapi/").partition("/")[2]
        if (method, name) == ("POST", "order"):
            return self._take(query)
        if (method, name) == ("POST", "leverage"):
            self.leverages[query["symbol"]] = int(query["leverage"])
            return {"leverage": int(query["leverage"]), "maxNotionalValue": "1000000", "symbol": query["symbol"]}
        if name == "account":
            noughts, totals = dict.fromkeys(NOUGHTS, "0"), dict.fromkeys(TOTALS, "10000")
            return super().answer(method, path, query) | {"assets": [{"asset": "USDT", **noughts, **totals}]}
        if name == "positionRisk":
            return [self._held()] if self.position else []
        simple: dict[str, Any] = {
            "listenKey": {"listenKey": LISTEN_KEY},
            "time": {"serverTime": time.time_ns() // 10**6},
            "positionSide/dual": {"dualSidePosition": False},
            "symbolConfig": [],
            "openOrders": [],
            "allOrders": [],
            "userTrades": [],
            "allOpenOrders": {"code": 200, "msg": "done"},
        }
        return simple[name] if name in simple else super().answer(method, path, query)

    def _held(self) -> dict[str, Any]:
        price = self.quoted()[0]
        return {
            "symbol": self._symbol, "positionSide": "BOTH", "positionAmt": str(self.position), "entryPrice": price,
            "markPrice": price, "unRealizedProfit": "0", "liquidationPrice": "0", "isolatedMargin": "0",
            "updateTime": time.time_ns() // 10**6,
        }  # fmt: skip

    def _take(self, order: dict[str, str]) -> dict[str, Any]:
        self.orders.append(order)
        number, now_ms = next(self._numbers), time.time_ns() // 10**6
        bid, ask = self.quoted()
        price, quantity = (ask if order["side"] == "BUY" else bid), order["quantity"]
        self.position += Decimal(quantity) * (1 if order["side"] == "BUY" else -1)
        about = {
            "s": order["symbol"], "c": order["newClientOrderId"], "S": order["side"], "o": "MARKET", "f": "GTC",
            "q": quantity, "p": "0", "sp": "0", "i": number, "N": "USDT", "n": "0", "T": now_ms, "b": "0", "a": "0",
            "m": False, "R": order.get("reduceOnly", "").lower() == "true", "wt": "CONTRACT_PRICE", "ot": "MARKET",
            "ps": "BOTH", "pP": False, "si": 0, "ss": 0, "rp": "0", "gtd": 0,
        }  # fmt: skip
        accepted = {"ap": "0", "x": "NEW", "X": "NEW", "l": "0", "z": "0", "L": "0", "t": 0}
        filled = {"ap": price, "x": "TRADE", "X": "FILLED", "l": quantity, "z": quantity, "L": price, "t": number}
        for change in (accepted, filled):
            self.publish(LISTEN_KEY, {"e": "ORDER_TRADE_UPDATE", "E": now_ms, "T": now_ms, "o": {**about, **change}})
        return {"symbol": order["symbol"], "orderId": number, "clientOrderId": order["newClientOrderId"]}
