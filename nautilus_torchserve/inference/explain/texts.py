"""Explanations of texts: one attribution a token, with its place in the text."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tokenizers import Encoding

from model_defs.sentiment_transformer import OUTPUTS, SentimentTransformer, outputs
from nautilus_torchserve.inference.explain.integrate import Integral, TimeLimit, check_count, integrate, select_output
from nautilus_torchserve.inference.text_model import TextNetwork

DEFAULT = "score"
FLOOR = 1e-3
"""Completeness error allowed, of a score or of a probability."""
MAX_TOKENS = 1024
"""Most tokens of all texts in a request: a path of them takes half a minute on a core."""
TOKENS_AT_ONCE = 512
"""Tokens times points of the path that are computed together; more are no quicker."""
Probabilities = Sequence[torch.Tensor]
"""One tensor a text, float [points, 3]."""


def explain_text(
    model: TextNetwork, text: str, chunks: Sequence[Encoding], truncated: bool, output: str | None, limit: TimeLimit
) -> dict[str, Any]:
    """Attribute the difference of one output from that of neutral words to the tokens.

    Parameters
    ----------
    text : str
        The text as received.
    chunks : sequence of Encoding
        Its tokens; attributions of tokens in several chunks are added.
    truncated : bool
        Whether the text has more tokens than its chunks hold.
    output : str or None
        One of `OUTPUTS`; None: `DEFAULT`.
    limit : TimeLimit
        See `inference.explain.integrate.integrate`.

    Returns
    -------
    dict
        Plain JSON types: ``output``, the keys of `inference.explain.integrate.Integral.to_dict`, ``baseline`` (in
        words) and the keys of `text_parts`.

    Raises
    ------
    NotExplained
        There is no such output.
    """
    name = select_output(output, DEFAULT, OUTPUTS)
    column = OUTPUTS.index(name)
    integral = integrate_texts(
        model, [chunks], lambda probabilities: outputs(probabilities[0])[:, column], FLOOR, limit
    )
    return {
        "output": name,
        **integral.to_dict(),
        "baseline": baseline_words(model),
        **text_parts(model, text, chunks, truncated, integral.attributions),
    }


def integrate_texts(
    model: TextNetwork,
    texts: Sequence[Sequence[Encoding]],
    combine: Callable[[Probabilities], torch.Tensor],
    floor: float,
    limit: TimeLimit,
) -> Integral:
    """Integrate from texts whose every token is the neutral one to the texts, all on one path.

    Parameters
    ----------
    texts : sequence of sequence of Encoding
        Each text's chunks.
    combine : callable
        The texts' probabilities -> the output to attribute, float [points].

    Returns
    -------
    Integral
        One array of attributions [tokens, width] a chunk, text after text.
    """
    network, blank = model.network, _blank(model)[0]
    device = next(network.parameters()).device
    chunks = [chunk for text in texts for chunk in text]
    tokens = [torch.tensor([chunk.ids], device=device) for chunk in chunks]  # (1, L) each
    blanks = [
        torch.where(torch.tensor([chunk.special_tokens_mask], device=device) > 0, ids, blank)
        for chunk, ids in zip(chunks, tokens, strict=True)
    ]

    def output(*embeddings: torch.Tensor) -> torch.Tensor:
        of_chunks = [_probability(network, chunk, ids) for chunk, ids in zip(embeddings, tokens, strict=True)]
        of_texts, start = [], 0
        for text in texts:
            weighted = [weight * of_chunks[start + at] for at, weight in enumerate(weights(text))]
            of_texts.append(torch.stack(weighted).sum(dim=0))  # (points, 3)
            start += len(text)
        return combine(of_texts)

    with torch.no_grad():
        inputs, baselines = ([network.embeddings(ids) for ids in ends] for ends in (tokens, blanks))
    return integrate(output, inputs, baselines, floor, limit, max(1, TOKENS_AT_ONCE // sum(map(len, chunks))))


def weights(chunks: Sequence[Encoding]) -> list[float]:
    """Return each chunk's weight in its text, by its length, as in `TextNetwork.compute`."""
    total = sum(map(len, chunks))
    return [len(chunk) / total for chunk in chunks]


def text_parts(
    model: TextNetwork, text: str, chunks: Sequence[Encoding], truncated: bool, attributions: Sequence[Any]
) -> dict[str, Any]:
    """Return the part of an explanation about one text, in plain JSON types.

    Returns
    -------
    dict
        ``text``, ``truncated``, ``chunks`` (rows of ``tokens`` and ``weight``) and ``tokens`` (rows of ``text``,
        ``start`` and ``end`` in characters, ``attribution``), in the text's order and without special tokens.
    """
    rows: dict[int, dict[str, Any]] = {}
    for number, (chunk, values) in enumerate(zip(chunks, attributions, strict=True)):
        content = [place for place, mark in enumerate(chunk.special_tokens_mask) if not mark]
        for position, place in enumerate(content, number * _stride(model)):
            start, end = chunk.offsets[place]
            token = {"text": text[start:end], "start": start, "end": end, "attribution": 0.0}
            rows.setdefault(position, token)["attribution"] += float(values[place].sum())
    return {
        "text": text,
        "truncated": truncated,
        "chunks": [
            {"tokens": len(chunk), "weight": weight} for chunk, weight in zip(chunks, weights(chunks), strict=True)
        ],
        "tokens": list(rows.values()),
    }


def baseline_words(model: TextNetwork) -> str:
    """Return the description of the baseline."""
    return f"words that say nothing ({_blank(model)[1]} in the place of each)"


def check_length(texts: Sequence[Sequence[Encoding]]) -> None:
    """Raise `NotExplained` where a request's texts would take too long."""
    check_count(sum(len(chunk) for text in texts for chunk in text), MAX_TOKENS, "tokens")


def _probability(network: SentimentTransformer, embeddings: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    logits = network.from_embeddings(embeddings, ids.expand(len(embeddings), -1))
    return (logits / network.temperature).softmax(dim=1).double()  # (points, 3)


def _blank(model: TextNetwork) -> tuple[int, str]:
    """Return the neutral token and its name: the mask, which encoders are trained with, where there is one."""
    for name in ("[MASK]", "<mask>"):
        token = model.tokenizer.token_to_id(name)
        if token is not None:
            return token, name
    return model.network.padding, "the padding token"


def _stride(model: TextNetwork) -> int:
    """Return the tokens from the beginning of a chunk to that of the next, without special tokens."""
    cut = model.tokenizer.truncation
    assert cut is not None  # `TextNetwork` has set it
    return int(cut["max_length"] - model.tokenizer.num_special_tokens_to_add(is_pair=False) - cut["stride"])
