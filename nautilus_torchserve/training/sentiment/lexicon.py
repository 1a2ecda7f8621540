"""A word list that reads sentiment: the simple thing that a trained model has to beat.

The list was put together for this project. The best known one, Loughran and McDonald's (2011), is free for
research only and is not in here. Three rules make it fairer than counting: a negation turns the words that follow it,
a movement of a burden (costs, debt, losses) counts the other way round, and words are recognised in their inflections.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.training.sentiment.news_corpus import CLASSES


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GOOD = _words(
    """
    able accelerate acclaim accretive achieve advance advantage approval approve attractive award beat benefit best
    better boom boost breakthrough brisk bullish buoyant buyback cheer clear clinch comfortable confident cure
    delight dividend ease effective efficient encourage enthusiastic exceed excellent exclusive expand favorable
    favourable gain generous glad good great green grow growth happy healthy high hire improve improvement
    innovative jump leap lift long love lucrative milestone moon optimism optimistic outperform outstrip overtake
    pleased popular positive premium profit profitable progress promising prosper raise rally rebound record recover
    recovery relief renew resilient resolve reward robust save secure settle solid stable strength strengthen strong
    succeed success successful superior surge surpass tailwind thrive top triumph turnaround upbeat upgrade upside
    upturn victory vindicate welcome win winner
    """
)
BAD = _words(
    """
    abandon accident accuse adverse afraid allege antitrust arrest attack bad bankrupt bankruptcy bearish blame
    bleak block boycott breach bribe burden catastrophe caution cease close closure collapse complaint concern
    contaminate crash crime crisis criticise curb damage danger dead default deficit delay delist deny deteriorate
    deterioration difficult dilute dilution disappoint disappointment discount dismal dispute disruption distress
    doubt downbeat downgrade downside downturn drag dump embezzle erode error evacuate exploit fail failure fault
    fear fine fire flaw fraud freeze furlough glut guilty hack halt harm hawkish headwind hurt idle illegal impair
    impairment inadequate insolvency insolvent investigate investigation jeopardise lag lawsuit layoff liquidate
    liquidation lose loss mislead miss misstate outage overhang oversupply panic penalty pessimistic plague poor
    probe problem protest punish quit recall recession red reject resign restate risk sanction scandal scrap sell
    sell-off selloff setback severe shortage shortfall shutdown slack slowdown sluggish soft stagnate steal stolen
    stoppage strike struggle sue suffer suspend suspension terminate theft threat threaten tough trouble uncertain
    underperform unpaid unprofitable violate violation warn warning weak weaken weakness worry worse worst
    write-down writedown writeoff wrong
    """
)
UP = _words(
    """
    add ascend climb double higher increase more rise risen rocket rose skyrocket soar spike triple up widen
    """
)
DOWN = _words(
    """
    contract cut decline decrease dip dive down drop erase fall fallen fell halve less low lower narrow plummet
    plunge reduce retreat sank shed shrank shrink shrunk sink slid slide slip slow slump sunk tank tumble
    """
)
BURDENS = _words(
    """
    backlog bankruptcy churn claim complaint cost debt default deficit delinquency emission expense fee impairment
    inflation interest jobless leverage loss outage provision rent shortage spread tariff tax unemployment yield
    """
)
NEGATIONS = _words("not no never without neither nor hardly cannot unlikely fail lack avoid nothing none")
_WORD = re.compile(r"[a-z]+(?:['\N{RIGHT SINGLE QUOTATION MARK}-][a-z]+)*")
_ENDINGS = ("", "s", "es", "d", "ed", "ing", "ly", "er", "ers", "ment", "n")
_NEGATED = 4
"""Words that a negation reaches."""
_NEAR = 5
"""Words between a movement and the burden that moves."""
_LEAST_STEM = 3


def lexicon_predictions(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return the class that the words of each text add up to, as its place in `CLASSES` [n]."""
    return np.array([int(np.sign(lexicon_score(text))) + CLASSES.index("neutral") for text in texts], np.int64)


def lexicon_score(text: str) -> int:
    """Return the number of good words less bad ones, with negations and burdens turned round."""
    words = [_stems(word) for word in _WORD.findall(text.lower())]
    return sum(_polarity(words, place) for place in range(len(words)))


def _polarity(words: Sequence[frozenset[str]], place: int) -> int:
    """Return what one word adds to the score: -1, 0 or 1."""
    word = words[place]
    moved = bool(word & UP) - bool(word & DOWN)
    if moved:
        near = words[max(place - _NEAR, 0) : place + _NEAR + 1]
        value = -moved if any(stems & BURDENS for stems in near) else moved
    elif word & BURDENS:
        value = 0 if _moves(words, place) else -int(bool(word & BAD))
    else:
        value = bool(word & GOOD) - bool(word & BAD)
    before = words[max(place - _NEGATED, 0) : place]
    return -value if any(stems & NEGATIONS for stems in before) else value


def _moves(words: Sequence[frozenset[str]], place: int) -> bool:
    """Return whether a burden's movement is given beside it, and outweighs the burden itself."""
    return any(stems & (UP | DOWN) for stems in words[max(place - _NEAR, 0) : place + _NEAR + 1])


def _stems(word: str) -> frozenset[str]:
    """Return the stems a word may be inflected from, and itself: ``slipped`` of ``slip``, ``rising`` of ``rise``."""
    if word.endswith(("n't", "n\N{RIGHT SINGLE QUOTATION MARK}t")):
        return frozenset(("not",))
    stems = {word}
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if (ending and stem == word) or len(stem) < _LEAST_STEM:
            continue
        stems |= {stem, stem + "e"}
        if stem[-1] == stem[-2]:
            stems.add(stem[:-1])
        if stem[-1] == "i":
            stems.add(stem[:-1] + "y")
    return frozenset(stems)
