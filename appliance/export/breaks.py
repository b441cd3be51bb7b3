"""Where a sentence may be broken: after punctuation, before a conjunction, not inside a name. Costs, smaller is better."""

from __future__ import annotations

from typing import Final

from appliance.export.units import Unit

SENTENCE_END: Final = tuple(".?!…。！？؟।")
CLAUSE_END: Final = (*",;:—–、，；：،؛", " -")
CLOSING: Final = "\"'”’»)]}」』）】》〉"
# Conjunctions and relative words of the commoner languages: a line likes to begin with them.
_OPENERS: Final = """
and but or so because although though while when if that which who where than then as
und aber oder weil obwohl während wenn dass denn sondern damit der die das als ob
et mais ou donc car parce que qui quand si lorsque puisque
y e pero o u porque que cuando si aunque mientras
ed ma o perché quando se mentre che
en maar omdat toen als dat
и а но или что чтобы потому когда если который хотя
й але або що щоб тому коли якщо який
"""
# Articles, prepositions and auxiliaries: a line does not like to end with them.
_CLINGING: Final = """
a an the of to in on at by for with from into is are was were be my your his her our their not no very mr mrs ms dr
ein eine einen einem einer eines der die das den dem des im am zu von mit für auf in an bei nach herr frau
le la les un une des du de à au aux en dans sur pour avec par ne
el los las una unos de del al en por para con sin
il lo gli i di da con su per
het een van op met voor
в на с к у о от из за по до для не
"""
OPENERS: Final = frozenset(_OPENERS.split())
CLINGING: Final = frozenset(_CLINGING.split())


def break_cost(left: Unit, right: Unit) -> float:
    """From 0, the end of a sentence, to 6, the middle of a name."""
    end = left.text.rstrip(CLOSING)
    if end.endswith(SENTENCE_END) and not _is_abbreviation(end):
        return 0.0
    if end.endswith(CLAUSE_END):
        return 1.0
    cost = 3.0 - min(1.5, max(0.0, right.start - left.end) * 3)  # people pause where a clause ends
    if right.text.lower() in OPENERS:
        cost = min(cost, 1.5)
    elif left.text.lower().rstrip(".") in CLINGING:
        cost += 2.0
    return 6.0 if _is_inside_name(left.text, right.text) else cost


def _is_abbreviation(text: str) -> bool:
    """`Dr.`, `J.`: a full stop that ends no sentence."""
    return text.endswith(".") and (
        text[:-1].lower() in ("mr", "mrs", "ms", "dr", "prof", "st", "nr", "no") or (len(text) == 2 and text[0].isupper())
    )


def _is_inside_name(left: str, right: str) -> bool:
    """Two capitalised words in a row; in German many nouns look like that, which costs little."""
    return left[:1].isupper() and right[:1].isupper() and (len(left) > 1 or left != "I") and left[-1:] not in CLAUSE_END
