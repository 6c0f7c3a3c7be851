"""Undoes what people do to a word to slip it past a list. Pure.

A text becomes several *forms*, from as-typed to heavily undone; a list is matched against each
of them, because undoing also destroys words ("a55" is a part number more often than not) and
the raw text must always count as well. The forms, each built on the one before:

* raw: NFC and case folded;
* plain: NFKC (full width, bold, circled), without zero-width and bidirectional controls,
  variation selectors and stray combining marks;
* folded: accents dropped and look-alike letters of other scripts made Latin;
* joined: "n u d e", "n.u.d.e", "nu-de" and "裸 体" put together again;
* leet: 0 1 3 4 5 7 @ $ and others inside words read as letters, "1" once as i and once as l;
* loose: single letters with any signs or emoji between them ("n.u-d*e") put together;
* turned: upside-down letters read from the end;
* decoded: what base64, hexadecimal, escapes, rot13 and tag characters say
  (:mod:`moderation.stages.decode`), each in all the forms above.

``squeezed`` holds words with a letter three times or more in a row ("nuuuude"), each run made
one; compare them with terms whose own doubles are squeezed too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from moderation.stages.decode import decoded

_PAIRS = (
    # Cyrillic
    "аa бb вb гr еe ёe зz иu йu іi їi јj кk лn мm нh оo пn рp сc тt уy ўy фo хx цu чy шw щw ъb ыbl "
    "ьb эe юio яr ѕs ԁd ԛq ԝw һh үy ҝk қk ңh өo ѵv ѡw ӏl ɡg әe "
    # Greek
    "αa βb γy δd εe ζz ηn θo ικi ιi κk λl μu νv ξe οo πn ρp ςs σo τt υu φo χx ψw ωw ϲc ϳj "
    # Armenian, Cherokee, Hebrew and Lisu letters seen in the wild
    "աw եt հh յj ոn սu օo ցg զq ղn Ꭰd Ꭱr Ꭲi Ꭺa Ꭼe Ꮃw Ꮇm Ꮋh Ꮐg Ꮓz Ꮞ4 Ꮤw Ꮥs Ꮩv Ꮪs Ꮮl Ꮯc Ꮲp "
    "ꓐb ꓑp ꓓd ꓔt "
    "ꓖg ꓗk ꓙj ꓚc ꓜz ꓝf ꓟm ꓠn ꓡl ꓢs ꓣr ꓦv ꓧh ꓪw ꓫx ꓬy ꓮa ꓰe ꓲi ꓳo ꓴu "
    # Latin letters that NFKD does not take apart, small capitals and phonetic signs
    "ıi łl øo đd ħh ŧt ƒf ɑa ɒa ɐa ɓb ʙb ƈc ᴄc ɕc ɖd ɗd ᴅd ɘe ɛe ǝe ᴇe ꜰf ɠg ɢg ɦh ɥh ʜh ɨi ɩi ɪi "
    "ʝj ᴊj "
    "ƙk ᴋk ʟl ɭl ɫl ɯm ɱm ᴍm ɲn ŋn ɴn ɵo ᴏo ɔo ƥp ᴘp ʠq ɹr ɾr ʀr ꜱs ʂs ƭt ʈt ᴛt ʉu ᴜu ʋv ᴠv ʌv "
    "ᴡw ʍw ʏy ɣy ƴy ᴢz ʐz ƶz ᴀa ßss æae œoe þp ðd"
)
_LOOKALIKES: dict[int, str] = {ord(pair[0]): pair[1:] for pair in _PAIRS.split()}
# Letters in boxes and discs, and regional indicators: NFKC leaves them alone.
for _first in (0x1F130, 0x1F150, 0x1F170, 0x1F1E6):
    _LOOKALIKES.update({_first + i: chr(ord("a") + i) for i in range(26)})

_LEET = str.maketrans("0345789@$+€¢£µ", "oeastbgasteclu")
_LEET_I = {**_LEET, **str.maketrans("1!|", "iii")}
_LEET_L = {**_LEET, **str.maketrans("1!|", "lll")}
_LEET_WORD = re.compile(r"[\w@$+€¢£µ!|]+")
_LEET_SIGN = re.compile(r"[0-9@$+€¢£µ!|]")

_HAN = "\u3040-\u30ff\u3400-\u9fff"
_SPACED = re.compile(r"(?<!\w)\w(?:([ ._\-*/|,~+·•])\w)(?:\1\w)+(?!\w)")
_LOOSE = re.compile(
    r"(?<!\w)\w(?:[^\w\s]{1,3}\s?|\s[^\w\s]{1,2}\s?)\w(?:(?:[^\w\s]{1,3}\s?|\s{1,2}(?:[^\w\s]{1,2}\s?)?)\w)+(?!\w)"
)
_ARTICLE = re.compile(r"(?<!\w)(?<!\b\w )[ai](?= \w \w(?!\w))")
_BETWEEN = re.compile(r"[\W_]+")
_FLIPPED = str.maketrans("ɐɔǝɟƃɥᴉıɾʞʃɯɹʇʌʍʎ", "acefghiijklmrtvwy")
_FLIP_SIGN = re.compile("[ɐɔǝɟƃɥᴉɾʞʃɯɹʇʌʍʎ]")
_FLIP_WHOLE = str.maketrans("bdnpqu", "qpudbn")
_INSIDE = re.compile(r"(?<=[^\W\d_])[._\-*'`´~·•|](?=[^\W\d_])")
_BETWEEN_HAN = re.compile(rf"(?<=[{_HAN}])[\s._\-*/|,~+·•]+(?=[{_HAN}])")
_SEPARATORS = re.compile(r"[ ._\-*/|,~+·•]")
_RUN = re.compile(r"([^\W\d_])\1{2,}")
_REPEAT = re.compile(r"(.)\1+")
_WORD = re.compile(r"\w+")
_ALPHABETIC = re.compile(r"[\u0041-\u024f\u0370-\u052f\u1e00-\u1fff]")


@dataclass(frozen=True, slots=True)
class Forms:
    """A text in every form worth matching.

    ``variants`` are distinct, the raw one first; ``squeezed`` are single words.
    """

    variants: tuple[str, ...]
    squeezed: tuple[str, ...] = ()


def forms(text: str, *, hidden: bool = True) -> Forms:
    """Every form of a text; for plain ASCII words there is only one. Linear in its length.

    ``hidden=False`` leaves codes (base64 and the like) undecoded.
    """
    raw = unicodedata.normalize("NFC", text).casefold()
    clean = plain(raw)
    folded = fold(clean)
    joined = join_letters(folded)
    variants = dict.fromkeys((raw, clean, folded, joined))
    if _ARTICLE.search(folded):  # "a n u d e": a word of one letter, and then a spaced one
        apart = join_letters(_ARTICLE.sub(r"\g<0>\n", folded))
        variants[apart] = None
    if clean is not folded:  # letters of other scripts, spaced out, must not be made Latin
        variants[join_letters(clean)] = None
    for source in (folded, joined):
        for table in (_LEET_I, _LEET_L):
            variants[_unleet(source, table)] = None
    loose = _LOOSE.sub(lambda found: _BETWEEN.sub("", found.group()), clean)
    if loose != clean:
        variants[fold(loose)] = None
    if _FLIP_SIGN.search(raw):
        variants[raw.translate(_FLIPPED | _FLIP_WHOLE)[::-1]] = None
    if hidden:
        for piece in decoded(text):
            for variant in forms(piece, hidden=False).variants:
                variants[variant] = None
    words = {w for v in tuple(variants) for w in _WORD.findall(v) if _RUN.search(w)}
    return Forms(tuple(variants), tuple(sorted({squeeze(word) for word in words})))


def plain(text: str) -> str:
    """NFKC, case folded, without what cannot be seen.

    Combining marks survive where a script needs them (Thai, Hindi, Arabic, Japanese); after a
    Latin, Greek or Cyrillic letter a mark that NFKC could not compose is decoration.
    """
    if text.isascii():
        return text.casefold()
    kept: list[str] = []
    for char in unicodedata.normalize("NFKC", text).casefold():
        kind = unicodedata.category(char)
        if kind == "Cf" or "\ufe00" <= char <= "\ufe0f" or char in "\u115f\u1160\u3164\u034f":
            continue
        if kind in ("Mn", "Me") and (not kept or _ALPHABETIC.match(kept[-1])):
            continue
        kept.append(char)
    return unicodedata.normalize("NFC", "".join(kept))


def fold(text: str) -> str:
    """Accents dropped from Latin and Greek letters, look-alikes of other scripts made Latin.

    Expects :func:`plain` text. Makes nonsense of Russian and Greek words, which is why the
    unfolded form is matched as well.
    """
    if text.isascii():
        return text
    chars: list[str] = []
    for char in text:
        if _ALPHABETIC.match(char):
            char = unicodedata.normalize("NFD", char)[0]
        chars.append(char)
    return "".join(chars).translate(_LOOKALIKES)


def join_letters(text: str) -> str:
    """Single letters set apart by one repeated sign, and signs inside a word, put together."""
    text = _SPACED.sub(lambda found: _SEPARATORS.sub("", found.group()), text)
    return _BETWEEN_HAN.sub("", _INSIDE.sub("", text))


def squeeze(word: str) -> str:
    """Every run of one letter made a single letter: ``nuuddee`` to ``nude``."""
    return _REPEAT.sub(r"\1", word)


def _unleet(text: str, table: Mapping[int, int | str]) -> str:
    """Digits and signs read as letters, in words that hold at least one letter."""

    if not _LEET_SIGN.search(text):
        return text

    def word(found: re.Match[str]) -> str:
        token = found.group()
        return token.translate(table) if any(map(str.isalpha, token)) else token

    return _LEET_WORD.sub(word, text)
