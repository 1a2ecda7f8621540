"""A mean whose values count less the older they are."""


class DecayedMean:
    """Exponentially decayed mean, O(1) a value.

    At time t, the newest value's, it is::

        mean(t) = sum_i value_i * 2 ** (-(t - t_i) / half_life) / sum_i 2 ** (-(t - t_i) / half_life)

    which is what `model_defs.news_pool.sentiment_of` computes from all values anew. Numerator and denominator decay by
    the same factor, so that the mean moves with new values only, by less the more is already known: between two
    values it stays what it is.

    Parameters
    ----------
    half_life_ns : int
        Age at which a value counts half (nanoseconds).
    """

    def __init__(self, half_life_ns: int) -> None:
        if half_life_ns < 1:
            raise ValueError(f"expected half_life_ns of at least 1, got {half_life_ns}")
        self.half_life_ns = half_life_ns
        self.count = 0
        """Number of values."""
        self._sum = 0.0
        self._weight = 0.0
        self._ts_ns = 0
        """The newest value's time, of which `_sum` and `_weight` are."""

    def update(self, value: float, ts_ns: int) -> float:
        """Add a value; return the mean at the newest value's time, whatever order values come in.

        Parameters
        ----------
        value : float
        ts_ns : int
            The value's time, Unix nanoseconds.
        """
        since = ts_ns - self._ts_ns if self.count else 0
        decay = 2.0 ** (-abs(since) / self.half_life_ns)
        if since >= 0:
            self._sum = self._sum * decay + value
            self._weight = self._weight * decay + 1.0
        else:
            self._sum += value * decay
            self._weight += decay
        self._ts_ns = max(self._ts_ns, ts_ns)
        self.count += 1
        return self._sum / self._weight
