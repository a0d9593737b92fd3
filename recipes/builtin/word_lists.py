"""The words that the edits of a sentence look for, and those that take their place."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# First words that are not names.
ARTICLES: Final = frozenset(_words("the a an this that these those there it we you two three some all no my our its"))
AUXILIARIES: Final = frozenset(
    _words("is are was were am can could will would should may might must has have had does did do")
)
MODALS: Final = ("may", "might", "must", "will", "should", "can", "used to")
QUANTIFIERS: Final = ("all", "some", "most", "many", "few", "no", "several", "both", "every", "a few", "none of the")
NUMBERS: Final = _words("one two three four five six seven eight nine ten eleven twelve twenty thirty fifty hundred")
# Each word may take the place of another one in its row.
ROWS: Final = tuple(
    _words(row)
    for row in (
        "he she they",
        "his her their",
        "him her them",
        "man woman boy girl child person",
        "men women boys girls children people",
        "always often sometimes rarely never usually",
        "more less",
        "before after during",
        "in on under behind near outside",
        "inside outside",
        "into from",
        "with without",
        "because although so but",
        "and or",
        "today yesterday tomorrow",
        "morning afternoon evening night",
        "monday tuesday wednesday thursday friday saturday sunday",
        "january february april june july august september october november december",
        "red blue green black white yellow brown pink orange purple gray",
        "first second third last",
        "is was",
        "are were",
        "only also",
        "everyone someone nobody",
        "everything something nothing",
        "everybody somebody nobody",
        "least most",
        "up down",
        "left right",
        "above below",
        "north south east west",
        "father mother brother sister son daughter friend",
        "million billion thousand",
        "hours minutes days weeks years",
    )
)
IN_ROW: Final = {word: tuple(other for other in row if other != word) for row in ROWS for word in row}
PREPOSITIONS: Final = frozenset(
    _words(
        "in on at with from by for near under over behind during after before into through along across against among "
        "beside inside outside around without while because as when since until despite although if so which who"
    )
)
CLAUSE_STARTS: Final = frozenset(
    _words("and but while because when as which who that although if since until so , ; : -")
)
EXCHANGED_AROUND: Final = frozenset(("than", "before", "after", "and", "because"))
FRAMES: Final = (
    ("It", "is", "not", "true", "that"),
    ("It", "is", "possible", "that"),
    ("Some", "people", "say", "that"),
    ("He", "said", "that"),
    ("Nobody", "knows", "whether"),
    ("It", "is", "a", "fact", "that"),
)
# Words that WordNet has as nouns or verbs too, though a sentence hardly means those.
SKIPPED: Final = frozenset(
    _words(
        "is are was were am be been has have had does did do can will may might must should would could not the and "
        "for but with from that this these those there they them his her him she you your our its who what which when "
        "where how why all some any many few more most less least than then very just only also too into over under "
        "about"
    )
)
# First words of example sentences.
SENTENCE_STARTS: Final = frozenset(
    _words(
        "he she they it we you i the his her their my our your this these that there most many some all no in on after"
    )
)
