"""Text to be read: endless varied sentences from lists of frequent words (PyPI package wordfreq).

The words are in no sensible order, and need not be: the encoder hears half a second at a time.
"""

import re

import numpy as np
from wordfreq import top_n_list

# espeak-ng voice → wordfreq language. Swedish and Catalan are left for the test.
LANGUAGES = {
    "en-us": "en", "en": "en", "en-gb-x-rp": "en", "en-gb-scotland": "en", "de": "de",
    "fr": "fr", "es": "es", "es-419": "es", "it": "it", "pt-br": "pt", "pt": "pt", "nl": "nl",
    "pl": "pl", "ru": "ru", "tr": "tr", "cs": "cs", "fi": "fi", "hu": "hu", "ro": "ro", "el": "el",
    "da": "da", "nb": "nb", "uk": "uk", "id": "id", "hi": "hi", "ar": "ar", "cmn": "zh", "ja": "ja",
}
HELD_OUT_LANGUAGES = ("sv", "ca")

_words: dict[str, list[str]] = {}


def words(language: str) -> list[str]:
    if language not in _words:
        plain = re.compile(r"^[^\W\d_]{1,16}$", re.UNICODE)
        _words[language] = [w for w in top_n_list(language, 9000) if plain.match(w)]
    return _words[language]


def sentence(language: str, random: np.random.Generator, longest: int = 13) -> str:
    """3 to `longest` words, half of them frequent ones, with a comma now and then."""
    known = words(language)
    out = []
    for _ in range(int(random.integers(3, longest + 1))):
        top = 300 if random.random() < 0.35 else len(known)
        out.append(known[int(random.integers(top))])
        if random.random() < 0.09:
            out[-1] += ","
    joiner = "" if language in ("zh", "ja") else " "
    return joiner.join(out).rstrip(",").capitalize() + str(random.choice([".", ".", ".", "?", "!"]))
