"""Requests as an attacker would write them: the same seed and index give the same bytes.

A kind of request is a function from a `Subject` and a random source to a `Draft`; `KINDS` weighs them by how often
they come. Most are built from a grammar of what HTTP, JSON, forms and the Open Inference Protocol allow, with one
thing wrong; the kind ``mutated`` changes bytes of good requests.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

from fault_injection import odd_bodies, odd_heads
from fault_injection.drafts import JSON_TYPE, Draft, good
from fault_injection.nasty import mutated
from fault_injection.samples import Subject
from nautilus_torchserve.wire.headers import EXPLAIN_OUTPUT


def _explanations(subject: Subject, random: Random) -> Draft:
    """Return explanations, of a few rows or far too many, good and malformed."""
    chance = random.random()
    if chance < 0.5:
        draft = replace(good(subject, random), sample=None)
        if len(draft.body) > 600:
            draft = Draft(JSON_TYPE, json.dumps([odd_bodies.row_of(subject)]).encode())
    elif chance < 0.9:
        draft = random.choice((odd_bodies.json_values, odd_bodies.oip, odd_bodies.binary))(subject, random)
    else:
        draft = Draft(JSON_TYPE, json.dumps([odd_bodies.row_of(subject)] * random.choice((100, 1000, 10_000))).encode())
    headers = tuple(header for header in draft.headers if header[0] != b"Accept")
    if random.random() < 0.5:
        headers += ((EXPLAIN_OUTPUT.encode(), random.choice((b"buy", b"nothing", b"\xff", b"a" * 5000, b""))),)
    return replace(draft, headers=headers, explains=True)


def _described(subject: Subject, random: Random) -> Draft:
    """Return a request for a model's description, with or without a body."""
    value = random.choice((b"True", b"True", b"true", b"1", b""))
    return Draft(((b"describe", value),), random.choice((b"", b"x")), method=random.choice((b"GET", b"POST")))


def _mutated(subject: Subject, random: Random) -> Draft:
    """Return a good request, some of whose body's or head's bytes were changed."""
    draft = replace(good(subject, random), sample=None)
    if random.random() < 0.6:
        return replace(draft, body=mutated(draft.body[:2000], random))
    head = b"\r\n".join(name + b": " + value for name, value in draft.headers)
    head = mutated(head, random)
    raw = b"POST /predictions/{model} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n" + head
    raw += b"\r\nContent-Length: %d\r\n\r\n" % len(draft.body)
    return Draft(raw=raw + draft.body, framing=True)


def _broken_off(subject: Subject, random: Random) -> Draft:
    """Return a request that is not sent to its end, or whose answer is not waited for."""
    draft = replace(good(subject, random), sample=None, framing=True)
    return replace(draft, delivery=random.choice(("half", "abort", "abort")))


def _in_pieces(subject: Subject, random: Random) -> Draft:
    """Return a good request that comes in pieces; its answer counts like any other."""
    return replace(good(subject, random), delivery="pieces")


def _pipelined(subject: Subject, random: Random) -> Draft:
    """Return two good requests at once on one connection."""
    return replace(good(subject, random), delivery="twice", sample=None, framing=True)


KINDS: Mapping[str, tuple[float, Callable[[Subject, Random], Draft]]] = {
    "json text": (10, odd_bodies.json_text),
    "json values": (14, odd_bodies.json_values),
    "surrogates": (8, odd_bodies.surrogates),
    "oip": (12, odd_bodies.oip),
    "bomb": (1.5, odd_bodies.bomb),
    "binary": (10, odd_bodies.binary),
    "content type": (8, odd_heads.content_type),
    "headers": (14, odd_heads.odd_headers),
    "deadline": (8, odd_heads.deadlines),
    "accept": (3, odd_heads.not_accepted),
    "path": (8, odd_heads.paths),
    "method": (3, odd_heads.methods),
    "token": (3, odd_heads.tokens),
    "multipart": (8, odd_bodies.multipart),
    "form": (5, odd_bodies.forms),
    "encoding": (2, odd_bodies.encodings),
    "framing": (6, odd_heads.framing),
    "too large": (1, odd_heads.too_large),
    "large answer": (0.08, odd_bodies.large_answer),
    "explanation": (3, _explanations),
    "describe": (2, _described),
    "mutated": (16, _mutated),
    "broken off": (5, _broken_off),
    "pieces": (2, _in_pieces),
    "pipelined": (2, _pipelined),
}
"""Kind -> how often it comes among malformed requests, and what makes one."""
_NAMES, _WEIGHTS = tuple(KINDS), tuple(weight for weight, _ in KINDS.values())
GOOD_SHARE = 0.5


def make_case(subject: Subject, seed: int, index: int) -> tuple[str, Draft, bool]:
    """Return kind, request, and whether it goes to the batched registration, of one index of a seed."""
    random = Random(seed << 32 | index)
    batched = random.random() < 0.7
    if random.random() < GOOD_SHARE:
        return "good", good(subject, random), batched
    (kind,) = random.choices(_NAMES, _WEIGHTS)
    return kind, KINDS[kind][1](subject, random), batched
