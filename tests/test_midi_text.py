"""Names and markers in any encoding."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from emsync import midi, midi_text
from tests.midi_files import NOTE, dump, smf


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"Piano", "Piano"),
        ("Flûte, 笛, Флейта".encode(), "Flûte, 笛, Флейта"),
        # Byte order marks.
        ("\ufeffPiano".encode(), "Piano"),
        (b"\xff\xfeB\0a\0s\0s\0", "Bass"),
        (b"\xfe\xff\0B\0a\0s\0s", "Bass"),
        (b"\xff\xfeB\0a\0s\0s", "Bas\ufffd"),
        # Japanese.
        ("ピアノ".encode("cp932"), "ピアノ"),
        ("ピアノ Piano 1".encode("cp932"), "ピアノ Piano 1"),
        ("MIDI音源".encode("cp932"), "MIDI音源"),
        ("主旋律".encode("cp932"), "主旋律"),
        ("鼓".encode("cp932"), "鼓"),
        ("さくら さくら".encode("cp932"), "さくら さくら"),
        ("ﾄﾞﾗﾑ".encode("cp932"), "ﾄﾞﾗﾑ"),
        ("エレキ・ギター".encode("cp932"), "エレキ・ギター"),
        ("ピアノ".encode("iso2022_jp"), "ピアノ"),
        # Western, in Windows-1252 and Latin-1.
        ("Flûte".encode("latin-1"), "Flûte"),
        ("Große Trommel".encode("latin-1"), "Große Trommel"),
        ("Violín 1º".encode("latin-1"), "Violín 1º"),
        ("Ténor éclaté".encode("latin-1"), "Ténor éclaté"),
        ("Clé de fa".encode("latin-1"), "Clé de fa"),
        ("créé".encode("latin-1"), "créé"),
        ("Überleitung".encode("latin-1"), "Überleitung"),
        ("Ça va".encode("latin-1"), "Ça va"),
        ("Don’t – “Solo”…".encode("cp1252"), "Don’t – “Solo”…"),
        ("© 1998 Ñandú".encode("latin-1"), "© 1998 Ñandú"),
        ("São Paulo, coração".encode("latin-1"), "São Paulo, coração"),
        (b"100 \x81", "100"),
        # Control characters.
        (b"\0 Lead \t\r\n", "Lead"),
        (b"one\r\ntwo\tthree", "one two three"),
        (b"\x1b[31mred\x07\x08\x7f", "[31mred"),
        ("a\u0085b\u2028c\x9b".encode(), "a b c"),
        (b"", ""),
        (b"\xff\xfe", ""),
    ],
)
def test_decode(data: bytes, text: str) -> None:
    assert midi_text.decode(data) == text


@given(st.binary(max_size=40))
def test_any_bytes_become_printable_text(data: bytes) -> None:
    text = midi_text.decode(data)
    assert not any(each < " " or "\x7f" <= each <= "\x9f" for each in text)
    assert text == text.strip(" ")
    assert text.encode() is not None  # no surrogates


@pytest.mark.slow
@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Cs")), max_size=30))
def test_utf_8_is_kept(text: str) -> None:
    assert midi_text.decode(text.encode()) == text.strip(" \ufeff")


def test_names_and_markers_of_a_file() -> None:
    name = b"\x00\xff\x03\x06" + "ピアノ".encode("cp932")
    marker = b"\x00\xff\x06\x07\x1b]0;Cut"
    score = midi.from_bytes(smf(name + marker + dump(NOTE)))
    assert score.instruments[0].name == "ピアノ"
    assert score.markers[0].text == "]0;Cut"
