"""What an attack found: counts, which of them must be zero, and how each failure is reproduced alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

MOST_SHOWN = 20
"""Failures of one part that are printed in full."""


@dataclass(frozen=True)
class Failure:
    """One case that did harm."""

    count: str
    """The count that it belongs to."""
    kind: str
    """Kind of the case."""
    what: str
    """Observed result, at most some hundred characters."""
    reproduce: str
    """Options of ``scripts/attack.py`` that repeat this case alone."""


@dataclass
class Findings:
    """One part's counts and failures."""

    part: str
    must_be_zero: tuple[str, ...]
    """Names of the counts that make the verdict."""
    counts: dict[str, float] = field(default_factory=dict)
    """Name -> number, in the order in which they are shown."""
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = {**dict.fromkeys(self.must_be_zero, 0), **self.counts}

    def fail(self, failure: Failure) -> None:
        """Count a failure and keep it."""
        self.counts[failure.count] = self.counts.get(failure.count, 0) + 1
        self.failures.append(failure)

    @property
    def ok(self) -> bool:
        """Whether everything that must be zero is zero."""
        return not any(self.counts[name] for name in self.must_be_zero)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types for ``--json``."""
        return {
            "part": self.part,
            "ok": self.ok,
            "counts": self.counts,
            "must_be_zero": list(self.must_be_zero),
            "failures": [vars(failure) for failure in self.failures[:MOST_SHOWN]],
        }


def as_table(parts: Sequence[Findings]) -> Table:
    """Return all counts, one a row."""
    table = Table("part", "count", "number", "must be zero")
    for part in parts:
        for number, (name, value) in enumerate(part.counts.items()):
            shown = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}"
            must = name in part.must_be_zero
            verdict = "" if not must else "[green]yes[/]" if not value else "[red]yes[/]"
            table.add_row("" if number else part.part, name, f"[red]{shown}[/]" if must and value else shown, verdict)
        table.add_section()
    return table


def describe_failures(findings: Findings) -> list[str]:
    """Return lines: the number of failures of each kind, and some of each with the options that repeat them."""
    kinds = Counter((failure.count, failure.kind) for failure in findings.failures)
    lines = [f"{findings.part}: {count} by {kind}: {number}" for (count, kind), number in kinds.most_common()]
    shown: Counter[tuple[str, str]] = Counter()
    for failure in findings.failures:
        shown[failure.count, failure.kind] += 1
        if shown[failure.count, failure.kind] <= 2 and sum(shown.values()) <= 5 * MOST_SHOWN:
            lines.append(f"  {failure.count} ({failure.kind}): {failure.what}")
            lines.append(f"    python scripts/attack.py {failure.reproduce}")
    return lines
