"""How a model is asked in a live run: deadlines, what happens when a server fails, tokens, other servers."""

from nautilus_trader.common.config import NautilusConfig

from nautilus_torchserve.trading.checks import expect

HTTP = ("http://", "https://")


class LiveCallsConfig(NautilusConfig, kw_only=True, frozen=True):
    """Configuration of `trading.inference.live_calls.InferenceDispatcher`.

    Parameters
    ----------
    deadline_ns : int
        Longest time from an event's receipt to its answer on the event loop (nanoseconds). Answers after that are
        dropped. A request is waited for twice as long, or ``timeout_s`` of the actor where that is less.
    max_rows : int
        Most questions that may wait for the next request, and so most of one request; beyond it the oldest expire.
    failures_to_open : int
        Failures of a server in a row after which it is not asked any more.
    refusals_to_open : int
        Requests that a server refuses in a row, each for what it says is in it, after which it is not asked any more.
    probe_after_ns : int
        Time until a server that is not asked is tried for the first time (nanoseconds); doubles with each trial.
    max_probe_after_ns : int
        Longest time between two trials (nanoseconds).
    fallback_urls : tuple of str
        Inference ports to ask while those before them fail, in order of preference, after the actor's ``url``.
    token_file : str, optional
        TorchServe's ``key_file.json``, read again when it changes or its token is refused; None: the token is in the
        actor's ``token_env``.
    renew_url : str, optional
        Management port, where the token of ``token_file`` is renewed with the API key of that file. None: it is not.
    renew_before_ns : int
        Time before a token's end at which it is renewed (nanoseconds).
    fallback_token_files : tuple of str
        As ``token_file``, one for each of ``fallback_urls``; empty: they take the token of ``url``.
    fallback_renew_urls : tuple of str
        As ``renew_url``, one for each of ``fallback_token_files``; empty: none is renewed.
    """

    deadline_ns: int = 1_000_000_000
    max_rows: int = 64
    failures_to_open: int = 3
    refusals_to_open: int = 20
    probe_after_ns: int = 250_000_000
    max_probe_after_ns: int = 5_000_000_000
    fallback_urls: tuple[str, ...] = ()
    token_file: str | None = None
    renew_url: str | None = None
    renew_before_ns: int = 300_000_000_000
    fallback_token_files: tuple[str, ...] = ()
    fallback_renew_urls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        counts = ("max_rows", "failures_to_open", "refusals_to_open")
        for name in ("deadline_ns", *counts, "probe_after_ns", "renew_before_ns"):
            value = getattr(self, name)
            expect(value >= 1, f"{name} of at least 1, was {value}")
        expect(
            self.max_probe_after_ns >= self.probe_after_ns,
            f"max_probe_after_ns of at least probe_after_ns = {self.probe_after_ns}, was {self.max_probe_after_ns}",
        )
        renew_urls = [] if self.renew_url is None else [self.renew_url]
        for url in (*self.fallback_urls, *renew_urls, *self.fallback_renew_urls):
            expect(url.startswith(HTTP), f"url beginning with http:// or https://, was {url!r}")
        expect(
            self.renew_url is None or self.token_file is not None,
            "token_file with renew_url (it holds the API key), was none",
        )
        self._expect_one_each("fallback_token_files", "fallback_urls")
        self._expect_one_each("fallback_renew_urls", "fallback_token_files")

    def _expect_one_each(self, name: str, other: str) -> None:
        count, wanted = len(getattr(self, name)), len(getattr(self, other))
        expect(count in (0, wanted), f"{name} none or one for each of {wanted} {other}, was {count}")
