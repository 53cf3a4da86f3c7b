"""Names and markers of MIDI files, which come in any encoding: bytes to text that is safe to show."""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import Final

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_KANA: Final = re.compile("[\u3040-\u30ff]")
# Hiragana, katakana, ideographs, their punctuation, full-width and half-width forms, and the symbols of JIS row 1.
_JAPANESE: Final = "\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef\u2010-\u2026\u2190-\u2193\u25a0-\u266f"
_ONLY_JAPANESE: Final = re.compile(f"[\x00-\x7f{_JAPANESE}]*")
_WORD: Final = re.compile(f"[A-Za-z]*[{_JAPANESE}]+[A-Za-z]*")
_HALF_WIDTH: Final = re.compile("[\uff61-\uff9f]+")


def decode(data: bytes) -> str:
    """The text of a name or marker, without control characters and padding.

    The encoding is the first that fits: the one of a byte order mark, ISO-2022-JP if it switches to Japanese, UTF-8,
    Shift-JIS if the result looks Japanese, Windows-1252, Latin-1.
    """
    return clean(_decode(data))


def clean(text: str) -> str:
    """Text without control characters: line breaks and tabs become spaces, others go, and so do spaces around it."""
    spaced = re.sub(r"[\t\n\v\f\r\x85\u2028\u2029]+", " ", text)
    return "".join(each for each in spaced if unicodedata.category(each) not in ("Cc", "Cs")).strip(" \ufeff")


def _decode(data: bytes) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    if b"\x1b$" in data:
        try:
            return data.decode("iso2022_jp")
        except UnicodeDecodeError:
            pass
    for encoding in ("utf-8", "cp932", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding != "cp932" or _looks_japanese(text):
            return text
    return data.decode("latin-1")


def _looks_japanese(text: str) -> bool:
    """Whether text decoded as Shift-JIS was that, and not Latin letters with accents.

    An accented letter becomes one ideograph or one half-width katakana among Latin letters ("Fl棈e"), so such a word
    is no evidence; kana, and two or more Japanese characters in a row, are.
    """
    if not _ONLY_JAPANESE.fullmatch(text):
        return False
    if _KANA.search(text):
        return True
    words = [match.group() for match in _WORD.finditer(text)]
    letters = [each for each in words if each[0].isascii() or each[-1].isascii()]
    if letters:
        return any(len(re.findall(f"[{_JAPANESE}]", each)) > 1 and not _HALF_WIDTH.search(each) for each in letters)
    return bool(words) and not all(len(each) == 1 and _HALF_WIDTH.fullmatch(each) for each in words)
