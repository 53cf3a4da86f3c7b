"""Which events may come next: a grammar that makes invalid music impossible, and puts chords on boundaries.

    grammar = Grammar(Recipe(), end_step=1250, boundaries=[500], beat_steps=64)
    while not grammar.finished:
        event = choose(grammar.allowed())
        grammar.accept(event)

Conventions: the clock counts steps of 8 ms (`vocabulary.STEP_S`). A *moment* is all events between two TIMESHIFTs. The
events of a moment follow the tokenizer's order (OFF, BAR, CHORD, ON; drums, bass, guitar, piano, strings; then pitch).

The rules
1. A piece begins with BAR. PAD, START and the instrument counts never come again.
2. OFF comes only for a sounding note that began before this moment, ON only for a note that does not sound.
3. No TIMESHIFT passes a boundary: CHORD comes on it. Shortly before a boundary no other CHORD comes, since Algorithm 1
   would count that one as meeting it.
4. At least three notes of piano or guitar follow CHORD in the same moment, and they are held for two beats (as far as
   the piece lasts). No family plays more than `MAX_SOUNDING` notes, so that pitches are left for chords. There is no
   long chord without CHORD, as in the training songs: of the other notes of piano or guitar that begin together, no
   three are held for longer than `tables.UNMARKED_QUARTERS`. The model chooses which of them end.
5. A note ends after at most `tables.MAX_NOTE_BEATS` beats, one of strings after `tables.MAX_STRINGS_BEATS`. Nothing
   passes the end, where every note ends and END comes.
6. A BAR comes no sooner after another than its length allows at the fastest tempo, and keeps near the running tempo.
   Once three bars have begun, the tempo is known and no bar is missed: a BAR comes where the running tempo puts it, or
   a little before, or exactly there if the tempo is given. A hit may begin a bar anywhere.
7. With a given tempo, notes, bars and chords may be kept on the sixteenths of their bar (`Recipe.grid`), with triplets
   also on thirds of its eighths, or where a hit needs one. With `Recipe.loose_ends` notes may end on any 24th part of a
   beat, from the third on: time may go there if a note may end there, and only OFFs come there, at least one.

With `Recipe.finish`
8. Something sounds within the first beat.
9. On the last downbeat that leaves two beats, or on a hit after it, all notes end and a last CHORD comes, in the key of
   the last bars, and with the bass if it played. It is held to the end, and nothing follows it.
10. A pitch that was held, or struck again within half a beat, for `finishing.MAX_STAY_BEATS` rests for a bar.
11. A kick, snare or tom that struck for a bar on every sixteenth keeps to eighths for as long.

`Grammar` asks one class for each rule (`rules`, `grid`, `finishing`), which share a `State` and the tables of `tables`.
"""

from __future__ import annotations

from emsync.grammar.finishing import ROLL_DRUMS
from emsync.grammar.fixed import FixedGrammar
from emsync.grammar.grammar import Grammar
from emsync.grammar.tables import MARGIN, MAX_SOUNDING, SIXTEENTHS

__all__ = ["MARGIN", "MAX_SOUNDING", "ROLL_DRUMS", "SIXTEENTHS", "FixedGrammar", "Grammar"]
