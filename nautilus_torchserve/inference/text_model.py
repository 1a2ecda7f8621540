"""Models of texts: their network and tokenizer, tokens, chunks, groups of equal length."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from model_defs.sentiment_transformer import OUTPUTS, SentimentTransformer, outputs, probabilities
from nautilus_torchserve.features.text import script_of
from nautilus_torchserve.inference import model_files
from nautilus_torchserve.inference.model import InferenceModel
from nautilus_torchserve.inference.model_files import BadArchive
from nautilus_torchserve.inference.tiles import TEXT_TILES, Tiles, load_network, probe
from nautilus_torchserve.wire.errors import BadText
from nautilus_torchserve.wire.news_windows import TextRequest, check_characters, check_texts, decode_texts

TOKENIZER = "tokenizer.json"
COLUMNS = (*OUTPUTS, "chunks", "truncated")
"""Columns of `TextNetwork.compute`."""
OVERLAP = 64
"""Tokens that two neighbouring chunks of a long text share, at most a quarter of a chunk."""
MAX_CHUNKS = 16
"""Most chunks of one text; the rest is not read, and the output ``truncated`` is 1."""
GROUP = 8
"""Texts are padded to a multiple of this many tokens, and computed with others of that length."""
MAX_BATCHED_TOKENS = 64
"""Most tokens of texts that are computed together: a batch of longer ones is no quicker."""
_PROBED = 8
"""Rows with which invariance is proved, at each length."""


@dataclass(frozen=True)
class Tokens:
    """Tokens of several texts."""

    chunks: tuple[tuple[Encoding, ...], ...]
    """Chunks of each text: one, or several of a long one."""
    truncated: tuple[bool, ...]
    """Whether the text has more tokens than its chunks hold."""


def concat(parts: Sequence[Tokens]) -> Tokens:
    """Concatenate the tokens of several requests."""
    if len(parts) == 1:
        return parts[0]
    return Tokens(
        tuple(chunks for tokens in parts for chunks in tokens.chunks),
        tuple(truncated for tokens in parts for truncated in tokens.truncated),
    )


@dataclass(frozen=True)
class TokenizedTexts:
    """One request's texts and their tokens."""

    texts: tuple[str, ...]
    """The texts as received."""
    tokens: Tokens
    """What the network sees of them."""
    open_inference: bool = False
    """Whether the request came as an Open Inference Protocol body; its answer takes that form too."""
    request_id: str | None = None
    """The protocol's optional ``id``, returned with the answer."""

    def __len__(self) -> int:
        return len(self.texts)


class TextNetwork:
    """A network with its tokenizer on a device, proved invariant.

    Parameters
    ----------
    folder : Path
        Holds description, weights, tokenizer and golden texts.
    device : torch.device
    activate : callable
        Network and tokens, int64 [chunks, tokens] -> its outputs for chunks, float32 [chunks, k].
    outputs : callable
        Means over the chunks of texts, float64 [n, k] -> first columns of `compute`, float64 [n, outputs].

    Raises
    ------
    BadArchive
        Description, tokenizer and network do not fit each other.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        activate: Callable[[Any, torch.Tensor], torch.Tensor] = probabilities,
        outputs: Callable[[torch.Tensor], torch.Tensor] = outputs,
    ) -> None:
        self._activate, self._outputs = activate, outputs
        self.description: dict[str, Any] = model_files.read_description(folder)
        self.network = cast(SentimentTransformer, load_network(folder, self.description, device))
        self.tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        longest: int = self.description["network"]["config"]["max_tokens"]
        self.tokenizer.encode_special_tokens = True  # "[PAD]" in a text is a word of its author's, not a special token
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(longest, stride=min(OVERLAP, longest // 4))
        self._scripts = frozenset(self.description.get("scripts", ()))
        self._unknown = self._find_unknown()
        self._longest, self._device = longest, device
        lengths = {min(length, longest) for length in range(GROUP, MAX_BATCHED_TOKENS + 1, GROUP)}
        with torch.inference_mode():
            self._try_longest()
            self._tiles = {length: self._prove(length) for length in sorted(lengths)}

    @property
    def tile_sizes(self) -> tuple[int, ...]:
        """Tile sizes that are used at every length."""
        return tuple(sorted(set.intersection(*(set(tiles.sizes) for tiles in self._tiles.values()))))

    def read(self, texts: Sequence[str]) -> Tokens:
        """Tokenize texts.

        Raises
        ------
        BadText
            A text is in another script than the model was trained on, or most of its words are unknown.
        """
        for number, text in enumerate(texts):
            script = script_of(text)
            if self._scripts and script is not None and script not in self._scripts:
                raise BadText(
                    f"expected text in {' or '.join(sorted(self._scripts))} script, which the model was trained on, "
                    f"got {script} in text {number}"
                )
        encodings = self.tokenizer.encode_batch(list(texts))
        for number, encoding in enumerate(encodings):
            self._check_known(number, texts[number], encoding)
        chunks = [(encoding, *encoding.overflowing) for encoding in encodings]
        return Tokens(tuple(parts[:MAX_CHUNKS] for parts in chunks), tuple(len(parts) > MAX_CHUNKS for parts in chunks))

    def compute(self, tokens: Tokens) -> NDArray[np.float32]:
        """Compute outputs, then ``chunks`` and ``truncated`` (`COLUMNS`), float32 [n, outputs + 2].

        A long text's are the mean of its chunks', weighted by their lengths.
        """
        chunks = [chunk for parts in tokens.chunks for chunk in parts]
        probability = self._probabilities(chunks).astype(np.float64)  # (chunks, k)
        lengths = np.array([len(chunk) for chunk in chunks], np.float64)
        counts = np.array([len(parts) for parts in tokens.chunks])
        starts = np.cumsum(counts) - counts
        total = np.add.reduceat(lengths, starts)
        mean = np.add.reduceat(probability * lengths[:, np.newaxis], starts) / total[:, np.newaxis]
        columns = self._outputs(torch.from_numpy(mean)).numpy()
        return np.column_stack([columns, counts, tokens.truncated]).astype(np.float32)

    def _probabilities(self, chunks: list[Encoding]) -> NDArray[np.float32]:
        """Return each chunk's probabilities, computed with the other chunks of its length."""
        groups: dict[int, list[int]] = defaultdict(list)
        for place, chunk in enumerate(chunks):
            groups[min(-(-len(chunk) // GROUP) * GROUP, self._longest)].append(place)
        computed: dict[int, NDArray[np.float32]] = {}
        with torch.inference_mode():
            for length, places in groups.items():
                rows = np.full((len(places), length), self.network.padding, np.int64)
                for row, place in zip(rows, places, strict=True):
                    row[: len(chunks[place])] = chunks[place].ids
                tiles = self._tiles.get(length, Tiles((1,)))
                outputs = tiles.run(self._forward, torch.from_numpy(rows).to(self._device)).cpu().numpy()
                computed.update(zip(places, outputs, strict=True))
        return np.stack([computed[place] for place in range(len(chunks))])

    def _forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self._activate(self.network, rows)

    def _find_unknown(self) -> int | None:
        """Return the token for unknown words; None of a tokenizer of bytes, which knows all."""
        name: str | None = self.description["unknown_token"]
        token = None if name is None else self.tokenizer.token_to_id(name)
        if name is not None and token is None:
            raise BadArchive(f"{TOKENIZER}: expected {model_files.DESCRIPTION}'s unknown token {name!r}, got none")
        return token

    def _try_longest(self) -> None:
        known, used = self.network.encoder.get_input_embeddings().num_embeddings, self.tokenizer.get_vocab_size()
        if used > known:
            raise BadArchive(f"{TOKENIZER}: expected at most the {known} tokens that the network knows, got {used}")
        try:
            self._forward(self._arbitrary(1, self._longest).to(self._device))
        except (IndexError, RuntimeError) as error:
            raise BadArchive(f"expected a network for {self._longest} tokens, got one for fewer: {error}") from error

    def _prove(self, length: int) -> Tiles:
        """Find the tiles for texts of this many tokens, with arbitrary ones, some of them padded."""
        rows = self._arbitrary(_PROBED, length)
        rows[::2, -(GROUP // 2) :] = self.network.padding
        return probe(self._forward, rows.to(self._device), *TEXT_TILES)

    def _arbitrary(self, count: int, length: int) -> torch.Tensor:
        """Return random tokens none of which is padding, int64 [count, length]."""
        generator = torch.Generator().manual_seed(length)
        size = self.tokenizer.get_vocab_size()
        rows = torch.randint(size, (count, length), generator=generator)
        return torch.where(rows == self.network.padding, (rows + 1) % size, rows)

    def _check_known(self, number: int, text: str, encoding: Encoding) -> None:
        words = len(encoding) - sum(encoding.special_tokens_mask)
        unknown = 0 if self._unknown is None else encoding.ids.count(self._unknown)
        if words == 0 or 2 * unknown > words:
            raise BadText(
                f"expected words that the model knows, got {unknown} unknown of {words} in text {number}: {text[:40]!r}"
            )


class TextModel(InferenceModel):
    """Texts to outputs. A subclass loads ``texts``, and explains."""

    inputs = "texts"
    texts: TextNetwork

    def decode(self, content: object, content_type: str | None) -> TokenizedTexts:
        return self._tokenize(decode_texts(content, content_type))

    def validate(self, inputs: Sequence[str]) -> TokenizedTexts:
        return self._tokenize(TextRequest(check_texts(list(inputs))))

    def golden_request(self, inputs: Mapping[str, NDArray[Any]]) -> TokenizedTexts:
        return self.validate(inputs["texts"].tolist())

    def compute(self, requests: Sequence[TokenizedTexts]) -> NDArray[np.float32]:
        return self.texts.compute(concat([request.tokens for request in requests]))

    def _tokenize(self, request: TextRequest) -> TokenizedTexts:
        check_characters(request.texts, self.max_characters)
        return TokenizedTexts(request.texts, self.texts.read(request.texts), request.open_inference, request.request_id)
