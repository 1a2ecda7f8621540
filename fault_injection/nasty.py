"""Values, texts and JSON that code tends not to expect."""

from random import Random
from typing import Any

NASTY_TEXTS = (
    "",
    " ",
    "nan",
    "inf",
    "-inf",
    "NaN",
    "1e309",
    "-1",
    "0",
    "-0.0",
    "1e-400",
    "9" * 30,
    "9223372036854775808",
    "1.5",
    "é中😀",
    "'",
    '"',
    "[/b]",
    "[0]",
    "{}",
    "%s",
    "1,5",
    "0x10",
    "None",
    "true",
    "null",
    "../..",
    "a" * 5000,
    "\t",
    "2024-13-45",
    "1970-01-01T00:00:00Z",
    "2262-04-12",
    "1_000",
    "٣",
    "\x07",
    "\u2028",
    "=1+1",
)
NASTY_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    -1,
    0,
    1,
    10**30,
    1.5,
    -1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "é中",
    [],
    {},
    [[]],
    {"": None},
    [None],
    ["x"],
    "9" * 400,
    2**63,
    [1, 2, 3],
)


def damaged_json(value: Any, random: Random) -> Any:
    """Replace, remove or rename one node somewhere in a JSON value."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(sorted(value))
        chance = random.random()
        if chance < 0.12:
            return {name: node for name, node in value.items() if name != key}
        if chance < 0.18:
            return {(f"{name}_" if name == key else name): node for name, node in value.items()}
        return {**value, key: damaged_json(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.7:
        at = random.randrange(len(value))
        if random.random() < 0.2:
            return value[:at] + value[at + 1 :]
        return [*value[:at], damaged_json(value[at], random), *value[at + 1 :]]
    return random.choice(NASTY_VALUES)


def mutated(data: bytes, random: Random, most: int = 4) -> bytes:
    """Flip, cut, insert, repeat or move a few bytes."""
    result = bytearray(data)
    for _ in range(random.randrange(1, most + 1)):
        at = random.randrange(len(result) + 1)
        end = min(len(result), at + random.choice((1, 1, 2, 8, 64)))
        chance = random.random()
        if chance < 0.3 and at < len(result):
            result[at] = random.randrange(256)
        elif chance < 0.5:
            del result[at:end]
        elif chance < 0.7:
            result[at:at] = random.choice(
                (b"\0", b"\r\n", b"\xff\xfe", b"%00", b'"', b"\\ud800", b"{", b"[", b":", b",")
            )
        elif chance < 0.85:
            result[at:at] = result[at:end] * random.choice((1, 2, 50))
        else:
            result[at:at] = random.randbytes(end - at)
    return bytes(result)
