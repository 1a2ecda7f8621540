"""Announcement of what a live run is about to trade, where, and within which limits."""

from nautilus_torchserve.trading.live.settings import BinanceMarket, LiveSettings, ReplayMarket


def announcement(settings: LiveSettings) -> str:
    """Return lines to read before orders are sent; they hold no secret."""
    risk, actor = settings.risk, settings.model.actor
    loss = "none" if risk.max_daily_loss is None else f"{risk.max_daily_loss}"
    notional = ", ".join(f"{name} {most}" for name, most in risk.max_notional_per_order.items()) or "none"
    switch = "SIGUSR1" if risk.kill_file is None else f"{risk.kill_file} or SIGUSR1"
    audit_log = "nothing" if settings.audit is None else settings.audit.url
    return "\n".join(
        (
            "REAL ORDERS" if settings.is_real else "paper trading",
            f"  data              {market_in_words(settings)}",
            f"  orders            {_execution(settings)}",
            f"  trades            {actor.get('instrument_id') or ', '.join(actor.get('bar_types', []))}",
            f"  model             {settings.model.name} at {actor.get('url', 'nowhere')}",
            f"  size              {settings.strategy.get('trade_size', 'none')}",
            f"  largest position  {settings.strategy.get('max_position', 'no limit but the size')}",
            f"  order rate        {risk.max_order_submit_rate}",
            f"  largest order     {notional}",
            f"  daily loss        {loss}",
            f"  kill switch       {switch}",
            f"  audit log         {audit_log}",
            f"  when it stops     {'positions are closed' if settings.node.flatten_on_stop else 'positions stay'}",
        )
    )


def market_in_words(settings: LiveSettings) -> str:
    """Return where data come from, in words."""
    market = settings.market
    if isinstance(market, ReplayMarket):
        source = market.trades or ", ".join(market.bars) or f"{market.simulate} simulated trades"
        return f"replay of {source}, speed {market.speed:g}"
    if isinstance(market, BinanceMarket):
        return f"Binance USDT futures, {market.environment}"
    return f"{market.name} ({market.factory})"


def _execution(settings: LiveSettings) -> str:
    if not settings.is_real:
        return "simulated here"
    if isinstance(settings.market, BinanceMarket):
        return f"Binance USDT futures, {settings.market.environment}"
    return getattr(settings.execution, "name", "")
