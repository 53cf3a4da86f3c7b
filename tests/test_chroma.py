"""The melody of a score as chroma, exactly."""

from __future__ import annotations

import numpy as np
import pytest

from emsync.chroma import chroma
from emsync.errors import InputError
from tests.songs import score


def classes(rows: np.ndarray) -> list[int]:
    assert (rows.sum(axis=1) == 1).all()
    assert ((rows == 0) | (rows == 1)).all()
    return rows.argmax(axis=1).tolist()


def test_a_frame_is_centred_on_its_time() -> None:
    # Frames at 0, 0.5, 1.0 ... s, each half a second wide: the note that changes at 1.25 s changes between two frames.
    song = score([(3, 69, 0.0, 1.25), (3, 71, 1.25, 2.5)])
    assert classes(chroma(song, rate_hz=2.0)) == [9, 9, 9, 11, 11]
    # One that changes within a frame belongs to the pitch that sounds longer there.
    song = score([(3, 71, 0.0, 0.9), (3, 69, 0.9, 2.5)])
    assert classes(chroma(song, "strings", rate_hz=2.0)) == [11, 11, 9, 9, 9]


def test_silence_keeps_the_pitch_before_it() -> None:
    song = score([(3, 62, 1.0, 1.5), (3, 64, 3.0, 3.5)], duration_s=5.0)
    assert classes(chroma(song, rate_hz=2.0)) == [2, 2, 2, 2, 2, 2, 4, 4, 4, 4]


def test_the_lead_is_the_top_line_of_the_highest_family() -> None:
    song = score([(3, 72, 0.0, 2.0), (3, 76, 1.0, 2.0), (1, 60, 0.0, 2.0), (1, 67, 0.0, 2.0), (2, 33, 0.0, 2.0)])
    assert classes(chroma(song, rate_hz=2.0)) == [0, 0, 4, 4]
    assert classes(chroma(song, "bass", rate_hz=2.0)) == [9, 9, 9, 9]
    # All pitched notes, weighed by how long they sound and how loud they are: C sounds twice.
    assert classes(chroma(song, "mix", rate_hz=2.0)) == [0, 0, 0, 0]


def test_drums_are_no_melody() -> None:
    with pytest.raises(InputError, match="no pitched notes"):
        chroma(score([(0, 36, 0.0, 1.0)]), rate_hz=2.0)
    with pytest.raises(InputError, match="no pitched notes"):
        chroma(score([]), rate_hz=2.0)
    song = score([(0, 36, 0.0, 1.0), (1, 60, 0.0, 1.0)])
    with pytest.raises(InputError, match="no bass plays in this score; take the melody from piano, lead or mix"):
        chroma(song, "bass", rate_hz=2.0)
    with pytest.raises(InputError, match="no melody 'drums'; give one of lead, mix, piano"):
        chroma(song, "drums", rate_hz=2.0)


def test_the_length_is_what_was_asked_for() -> None:
    assert len(chroma(score([(1, 60, 0.0, 1.0)]), rate_hz=7.8125, duration_s=30.0)) == 235
