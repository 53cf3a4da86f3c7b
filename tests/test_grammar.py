"""The grammar: whatever is chosen among what it allows is music, by rules that are checked here from scratch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emsync import vocabulary as v
from emsync.errors import InputError
from emsync.grammar import MAX_SOUNDING, Grammar
from emsync.recipe import Recipe
from tests.fakes import plain_recipe

Choose = Callable[[np.ndarray, np.random.Generator], int]

SECOND = 125  # steps
BEAT = 60


@dataclass(frozen=True)
class Limits:
    """What bounds a piece: its recipe, its end and its tempo, in steps."""

    recipe: Recipe
    end_step: int
    beat_steps: float | None


def limits(
    end_step: int, *, land: bool = True, beat_steps: float | None = None, grid: bool = False, triplets: bool = False,
    loose_ends: bool = True, finish: bool = False,
) -> Limits:  # fmt: skip
    recipe = plain_recipe(
        hits="exact" if land else "free",
        grid="free" if not grid else "triplets" if triplets else "sixteenths",
        loose_ends=loose_ends,
        finish="on" if finish else "off",
    )
    return Limits(recipe, end_step, beat_steps)


def begin(asked: Limits, targets: np.ndarray | None = None) -> Grammar:
    return Grammar(asked.recipe, asked.end_step, targets, beat_steps=asked.beat_steps)


# ---- choosing ------------------------------------------------------------------------------------------------------


def uniformly(live: np.ndarray, rng: np.random.Generator) -> int:
    return int(rng.choice(live))


def by_kind(live: np.ndarray, rng: np.random.Generator) -> int:
    """First a kind, then an event: bars, chords and OFFs come as often as ONs."""
    kinds = v.KIND[live]
    return int(rng.choice(live[kinds == rng.choice(np.unique(kinds))]))


def highest(live: np.ndarray, rng: np.random.Generator) -> int:
    return int(live[-1])


def lowest(live: np.ndarray, rng: np.random.Generator) -> int:
    return int(live[0])


def preferring(*names: str) -> Choose:
    """The first of these that is allowed (a kind, or an event); else any event that is none of the kinds."""

    def choose(live: np.ndarray, rng: np.random.Generator) -> int:
        for name in names:
            found = [i for i in live.tolist() if name in (v.NAMES[i], v.KINDS[v.KIND[i]])]
            if found:
                return int(found[int(rng.integers(len(found)))])
        return uniformly(live, rng)

    return choose


def crowding(live: np.ndarray, rng: np.random.Generator) -> int:
    """Every note that may sound does, none is closed before it must be, and time goes in long steps."""
    for kind in (v.K_ON, v.K_TIMESHIFT, v.K_CHORD, v.K_BAR, v.K_OFF):
        found = live[v.KIND[live] == kind]
        if len(found):
            return int(found[-1 if kind == v.K_TIMESHIFT else 0])
    return int(live[0])


POLICIES: dict[str, Choose] = {
    "uniformly": uniformly,
    "by kind": by_kind,
    "highest": highest,
    "lowest": lowest,
    "shortest steps": preferring("TIMESHIFT_8", "CHORD"),
    "longest steps": preferring("TIMESHIFT_1000", "ON"),
    "ON": preferring("ON"),
    "crowding": crowding,
    "CHORD": preferring("CHORD", "TIMESHIFT_8", "TIMESHIFT"),
    "BAR": preferring("BAR", "TIMESHIFT"),
    "END": preferring("END", "OFF", "TIMESHIFT"),
}


def walk(grammar: Grammar, choose: Choose, seed: int = 0) -> list[int]:
    """Choose until the piece has ended; fails on a dead end, and on a piece that never ends."""
    rng = np.random.default_rng(seed)
    ids: list[int] = []
    while not grammar.finished:
        allowed = grammar.allowed()
        assert allowed.shape == (v.SIZE,)
        live = np.flatnonzero(allowed)
        assert len(live), f"nothing may follow {[v.NAMES[i] for i in ids[-8:]]} at step {grammar.step}"
        ids.append(choose(live, rng))
        grammar.accept(ids[-1])
        assert len(ids) < 2000 + 60 * grammar.end_step, "a runaway"
    grammar.check()
    return ids


# ---- a checker that knows events by their names only ----------------------------------------------------------------

_PLACE_OF_FAMILY = {"DRUMS": 0, "BASS": 1, "GUITAR": 2, "PIANO": 3, "STRINGS": 4}


def place(name: str) -> tuple[int, int, float]:
    """Where an event stands within its moment."""
    kind, _, rest = name.partition("_")
    if kind in ("OFF", "ON"):
        family, _, pitch = rest.partition("_")
        return (0 if kind == "OFF" else 3, _PLACE_OF_FAMILY[family], int(pitch))
    return ({"BAR": 1, "CHORD": 2, "END": 4}[kind], 0, 0)


class Naive:
    """Plays a sequence event by event and asserts every rule of the grammar, in plain loops."""

    def __init__(self, end: int, targets: list[int], land: bool) -> None:
        self.end = end
        self.targets = [t for t in targets if t < end - 25] if land else []
        self.clock = 0
        self.moment: list[str] = []
        self.sounding: dict[str, int] = {}
        self.release: dict[str, int] = {}  # earliest OFF of chord notes
        self.bars: list[tuple[int, float]] = []
        self.beat = 62.5
        self.chords: list[int] = []
        self.landed: list[int] = []
        self.lengths: list[int] = []
        self.together: dict[tuple[int, str], tuple[float, set[str]]] = {}  # without CHORD: until when, and what sounds

    def play(self, ids: list[int]) -> None:
        names = [v.NAMES[i] for i in ids]
        assert names[0].startswith("BAR_")
        assert names[-1] == "END"
        assert names.count("END") == 1
        for name in names:
            kind = name.partition("_")[0]
            assert kind in ("TIMESHIFT", "OFF", "BAR", "CHORD", "ON", "END"), name
            if kind == "TIMESHIFT":
                self.check_chord_of_moment()
                self.clock += int(name.removeprefix("TIMESHIFT_")) // 8
                assert self.clock <= self.end, "a TIMESHIFT passes the end"
                assert all(t >= self.clock for t in self.targets), "a TIMESHIFT passes a boundary without its chord"
                if len(self.bars) >= 3:
                    bar = self.bars[-1][0] + round(self.bars[-1][1] * self.beat)
                    assert self.clock <= bar or bar >= self.end - 25, "a TIMESHIFT passes a bar"
                self.moment = []
                continue
            assert not self.moment or place(self.moment[-1]) < place(name), f"{name} stands behind {self.moment[-1]}"
            getattr(self, f"take_{kind.lower()}")(name)
            self.moment.append(name)
        self.check_chord_of_moment()

    def take_on(self, name: str) -> None:
        note = name.removeprefix("ON_")
        assert self.end - self.clock > 25, "a note begins in the last 0.2 s"
        if note.startswith("DRUMS"):
            return
        assert note not in self.sounding, f"{note} sounds already"
        self.sounding[note] = self.clock
        if "CHORD" in self.moment and note.startswith(("PIANO", "GUITAR")):
            self.release[note] = min(self.clock + int(np.ceil(2 * self.beat)), self.end)
        elif note.startswith(("PIANO", "GUITAR")):
            key = self.clock, note.partition("_")[0]
            self.together.setdefault(key, (self.clock + 1.75 * self.beat, set()))[1].add(note)

    def take_off(self, name: str) -> None:
        note = name.removeprefix("OFF_")
        assert note in self.sounding, f"{note} does not sound"
        begun = self.sounding.pop(note)
        for _, notes in self.together.values():
            notes.discard(note)
        assert begun < self.clock, f"{note} has no length"
        assert self.release.pop(note, 0) <= self.clock, f"{note} of a chord is not held for two beats"
        self.lengths.append(self.clock - begun)

    def take_bar(self, name: str) -> None:
        quarters = float(name.removeprefix("BAR_"))
        assert quarters >= 1
        if self.bars:
            at, written = self.bars[-1]
            beat = (self.clock - at) / written
            passed = (self.clock - at) / self.beat
            hit = self.clock in self.targets
            young = len(self.bars) < 3
            in_range = 25 <= beat <= 187.5
            steady = in_range and abs(beat / self.beat - 1) <= 0.12
            missed = passed > written and abs(passed - round(passed)) <= 0.12
            forced = not young and self.clock == at + round(written * self.beat)  # a step may leave the range of tempi
            assert steady or missed or forced or (young and in_range) or (hit and not young and passed >= 0.5), (
                f"a bar after {passed} beats"
            )
            if steady or (young and in_range):
                self.beat = beat
        self.bars.append((self.clock, quarters))

    def take_chord(self, name: str) -> None:
        early = [t for t in self.targets if t - self.clock < SECOND]
        assert self.clock in self.targets or not early, f"a chord uses {early} up too early"
        self.landed += [t for t in self.targets if t == self.clock]
        self.targets = [t for t in self.targets if abs(t - self.clock) >= SECOND]
        self.chords.append(self.clock)

    def take_end(self, name: str) -> None:
        assert not self.sounding, f"{sorted(self.sounding)} still sound"
        assert not self.targets, f"no chord stood at {self.targets}"
        assert self.end - SECOND <= self.clock <= self.end

    def check_chord_of_moment(self) -> None:
        for until, notes in self.together.values():
            assert self.clock < np.floor(until) or len(notes) < 3, f"{sorted(notes)} are a long chord without CHORD"
        if "CHORD" in self.moment:
            notes = self.moment[self.moment.index("CHORD") :]
            count = {family: sum(n.startswith(f"ON_{family}") for n in notes) for family in ("PIANO", "GUITAR")}
            assert max(count.values()) >= 3, f"a chord of {count}"


def steps(max_value: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, max_value), max_size=6, unique=True).map(sorted)


def composed(
    end: int, targets: list[int], choose: Choose, seed: int = 0, *, land: bool = True, finish: bool = False
) -> tuple[list[int], Naive]:
    """A walk under the grammar, played by the checker."""
    ids = walk(begin(limits(end, land=land, finish=finish), np.array(targets, dtype=np.int64)), choose, seed)
    naive = Naive(end, targets, land)
    naive.play(ids)
    return ids, naive


# ---- walks ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    end=st.integers(1, 500),
    targets=steps(500),
    policy=st.sampled_from(sorted(POLICIES)),
    seed=st.integers(0, 2**32),
    land=st.booleans(),
    finish=st.booleans(),
)
@example(end=SECOND, targets=[], policy="uniformly", seed=0, land=True, finish=False)
@example(end=1, targets=[0], policy="highest", seed=0, land=True, finish=True)
def test_every_walk_is_music(end: int, targets: list[int], policy: str, seed: int, land: bool, finish: bool) -> None:
    composed(end, targets, POLICIES[policy], seed, land=land, finish=finish)


@pytest.mark.parametrize("finish", [False, True], ids=["plain", "finished"])
@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize(
    "targets",
    [
        pytest.param([], id="none"),
        pytest.param([0], id="at 0 s"),
        pytest.param([62], id="at 0.5 s"),
        pytest.param([400, 401], id="8 ms apart"),
        pytest.param([300, 425, 550], id="1 s apart"),
        pytest.param([300, 424], id="just under 1 s apart"),
        pytest.param([773], id="the last place but one"),
        pytest.param([774], id="the last place"),
        pytest.param([775, 799], id="too near the end"),
        pytest.param([800, 2000], id="at and past the end"),
    ],
)
def test_targets_anywhere(policy: str, targets: list[int], finish: bool) -> None:
    _, naive = composed(800, targets, POLICIES[policy], finish=finish)
    expected: list[int] = []
    for target in targets:
        if target < 800 - 25 and (not expected or target - expected[-1] >= SECOND):
            expected.append(target)
    assert naive.landed == expected


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("end", [1, 2, 24, 25, 26, 27, 50, 51, 52, SECOND])
def test_short_pieces_end(policy: str, end: int) -> None:
    for seed in range(2):
        ids, _ = composed(end, [10, 30, 60], POLICIES[policy], seed)
        assert ids[-1] == v.END


def test_a_crowd_of_notes_leaves_room_for_every_chord() -> None:
    """Boundaries a second apart, all notes sounding as long as they may: once, that left no pitch for a chord."""
    end = 24 * SECOND
    targets = list(range(SECOND, end - 30, SECOND))
    for policy in ("crowding", "ON"):
        ids, naive = composed(end, targets, POLICIES[policy])
        assert naive.landed == targets
        assert len(ids) > 500


def test_chords_at_every_moment_leave_room_for_themselves() -> None:
    slow = preferring("CHORD", "ON", "TIMESHIFT_8")
    _, naive = composed(300, [200], slow)
    assert len(naive.chords) >= 3
    assert naive.landed == [200]


def test_without_landing_boundaries_ask_for_nothing() -> None:
    no_chords = preferring("TIMESHIFT")
    _, naive = composed(800, [200, 400], no_chords, land=False)
    assert naive.chords == []


def test_chord_events_before_a_due_boundary_are_kept_away() -> None:
    grammar = begin(limits(2000), np.array([500]))
    grammar.accept(v.ID_OF["BAR_4"])
    for _ in range(3):
        assert grammar.allowed()[v.CHORD]
        grammar.accept(v.SHIFT_BASE + SECOND)
    assert grammar.step == 500 - SECOND
    assert grammar.allowed()[v.CHORD], "a whole second before, it uses nothing up"
    grammar.accept(v.SHIFT_BASE + 1)
    assert not grammar.allowed()[v.CHORD]
    longest = np.flatnonzero(grammar.allowed() & (v.KIND == v.K_TIMESHIFT))[-1]
    assert grammar.step + v.VALUE[longest] == 500
    grammar.accept(int(longest))
    assert grammar.due() == 500
    kinds = set(v.KIND[grammar.allowed()].tolist())
    assert v.K_CHORD in kinds
    assert kinds <= {v.K_CHORD, v.K_BAR, v.K_OFF}
    grammar.accept(v.CHORD)
    assert grammar.due() is None
    assert grammar.chords == [500]


def test_a_chord_asks_for_three_notes_of_one_family_and_holds_them() -> None:
    grammar = begin(limits(2000), np.array([0]))
    for name in ("BAR_4", "CHORD"):
        grammar.accept(v.ID_OF[name])
    assert not grammar.allowed()[[v.ID_OF["TIMESHIFT_8"], v.ID_OF["ON_STRINGS_60"], v.END]].any()
    assert grammar.allowed()[[v.ID_OF["ON_DRUMS_36"], v.ID_OF["ON_BASS_40"], v.ID_OF["ON_GUITAR_40"]]].all()
    # The two highest pitches leave no room for two more above them.
    pitches = [v.VALUE[i] for i in np.flatnonzero(grammar.allowed()) if v.FAMILY[i] == v.PIANO]
    assert max(pitches) == v.PITCH_RANGE[v.PIANO][1] - 2
    for name in ("ON_GUITAR_40", "ON_GUITAR_44", "ON_PIANO_60", "ON_PIANO_64"):
        grammar.accept(v.ID_OF[name])
        assert not grammar.allowed()[v.ID_OF["TIMESHIFT_8"]], "two of guitar and two of piano are no chord"
    grammar.accept(v.ID_OF["ON_PIANO_67"])
    assert grammar.allowed()[v.ID_OF["TIMESHIFT_8"]]
    grammar.accept(v.ID_OF["TIMESHIFT_1000"])
    offs = [v.ID_OF["OFF_PIANO_60"], v.ID_OF["OFF_GUITAR_40"]]
    assert not grammar.allowed()[offs].any(), "two beats are a second, and the grammar holds a little longer"
    grammar.accept(v.ID_OF["TIMESHIFT_104"])
    assert grammar.allowed()[offs].all()


def test_pitches_that_sound_are_not_counted_on_for_a_chord() -> None:
    """All guitar notes and all piano notes but the four lowest sound: only those can make the chord, in order."""
    grammar = begin(limits(2000), np.array([SECOND]))
    grammar.accept(v.ID_OF["BAR_4"])
    grammar.accept(v.ID_OF["TIMESHIFT_504"])  # notes without CHORD do not sound together for two beats
    for family in (v.GUITAR, v.PIANO):
        low, high = v.PITCH_RANGE[family]
        for pitch in range(low + (4 if family == v.PIANO else 0), high + 1):
            grammar.accept(int(v.ON_BASE[family]) + pitch)
    grammar.accept(v.ID_OF["TIMESHIFT_496"])
    grammar.accept(v.CHORD)
    for expected in ({21, 22}, {22, 23}, {23, 24}):
        live = np.flatnonzero(grammar.allowed())
        pitched = live[v.FAMILY[live] == v.PIANO]
        assert set(v.VALUE[pitched].tolist()) == expected
        assert not (v.FAMILY[live] == v.GUITAR).any()
        grammar.accept(int(pitched[0]))


def test_no_long_chord_without_chord() -> None:
    """Of four notes of piano two end before they have lasted two beats, whichever the model likes, and no strings'."""
    grammar = begin(limits(2000))
    names = ["BAR_4", "ON_BASS_40", "ON_PIANO_60", "ON_PIANO_64", "ON_PIANO_67", "ON_PIANO_71"]
    for name in [*names, "ON_STRINGS_60", "ON_STRINGS_64", "ON_STRINGS_67"]:
        grammar.accept(v.ID_OF[name])
    shifts = np.flatnonzero(grammar.allowed() & (v.KIND == v.K_TIMESHIFT))
    assert v.VALUE[shifts].max() == int(1.75 * 62.5)
    grammar.accept(int(shifts.max()))
    allowed = np.flatnonzero(grammar.allowed())
    assert (v.KIND[allowed] == v.K_OFF).all()
    piano = [v.NAMES[i] for i in allowed if v.FAMILY[i] == v.PIANO]
    assert piano == ["OFF_PIANO_60", "OFF_PIANO_64", "OFF_PIANO_67"]  # not the last one first: another must follow
    grammar.accept(v.ID_OF["OFF_PIANO_64"])
    left = np.flatnonzero(grammar.allowed())
    assert [v.NAMES[i] for i in left] == ["OFF_PIANO_67", "OFF_PIANO_71"]
    grammar.accept(v.ID_OF["OFF_PIANO_71"])
    assert grammar.allowed()[[v.ID_OF["TIMESHIFT_1000"], v.ID_OF["OFF_STRINGS_60"]]].all()


def test_a_chord_without_chord_at_the_end_of_the_longest_and_slowest_bar() -> None:
    beat = 184
    grammar = begin(limits(8000, beat_steps=beat, grid=True))
    take(grammar, "BAR_8")
    at = 8 * beat - beat // 4  # the last sixteenth
    while grammar.step < at:
        grammar.accept(v.SHIFT_BASE + min(at - grammar.step, v.MAX_SHIFT_STEPS))
    take(grammar, "ON_PIANO_60", "ON_PIANO_64", "ON_PIANO_67")
    while grammar.step < at + 2 * beat:
        allowed = np.flatnonzero(grammar.allowed())
        shifts = allowed[v.KIND[allowed] == v.K_TIMESHIFT]
        grammar.accept(int(shifts[-1] if len(shifts) else allowed[0]))
    assert len(grammar.sounding) <= 2


def test_notes_end_after_four_beats() -> None:
    """Without a second bar a beat is half a second: notes that nobody closes are closed after two."""

    def notes_once(live: np.ndarray, rng: np.random.Generator) -> int:
        if v.ID_OF["ON_BASS_40"] in live:
            return v.ID_OF["ON_BASS_40"]
        return preferring("TIMESHIFT_1000", "TIMESHIFT", "CHORD")(live, rng)

    for targets in ([], [700]):
        _, naive = composed(3000, targets, notes_once)
        assert 250 <= max(naive.lengths) <= 251


@pytest.mark.parametrize("policy", ["ON", "crowding", "uniformly"])
def test_no_family_plays_more_notes_than_its_players_can(policy: str) -> None:
    ids, _ = composed(1500, [], POLICIES[policy])
    sounding = dict.fromkeys(MAX_SOUNDING, 0)
    most = dict(sounding)
    for i in ids:
        if v.FAMILY[i] in sounding:
            sounding[v.FAMILY[i]] += 1 if v.KIND[i] == v.K_ON else -1
            most[v.FAMILY[i]] = max(most[v.FAMILY[i]], sounding[v.FAMILY[i]])
    assert all(most[family] <= MAX_SOUNDING[family] for family in most)
    assert policy != "ON" or most[v.BASS] == MAX_SOUNDING[v.BASS]


def test_bars_tell_the_tempo_and_keep_to_it() -> None:
    grammar = begin(limits(5000))

    def move(steps: int) -> None:
        while steps:
            grammar.accept(v.SHIFT_BASE + min(steps, SECOND))
            steps -= min(steps, SECOND)

    def bar_may_come_after(steps: int) -> bool:
        other = begin(limits(5000))
        state = other.state
        state.step, state.bars, state.beat_steps = grammar.step, list(grammar.bars), grammar.beat_steps
        other.accept(v.SHIFT_BASE + 1)
        state.step = grammar.step + steps
        return bool(other.allowed()[v.ID_OF["BAR_4"]])

    grammar.accept(v.ID_OF["BAR_4"])
    assert [bar_may_come_after(s) for s in (99, 100, 750)] == [False, True, True]
    # Missed: on any later beat (of half a second, for want of a tempo), however late.
    assert [bar_may_come_after(s) for s in (781, 812, 844, 2500, 2531)] == [False, True, False, True, False]
    for _ in range(3):
        move(200)
        grammar.accept(v.ID_OF["BAR_4"])
    assert grammar.beat_steps == 50
    assert [bar_may_come_after(s) for s in (100, 175, 177, 200)] == [False, False, True, True]
    # None is missed any more: time stops where the next one belongs until it stands there.
    assert grammar.next_bar() == 800
    move(10)
    grammar.accept(v.ID_OF["ON_BASS_40"])
    move(140)
    longest = np.flatnonzero(grammar.allowed() & (v.KIND == v.K_TIMESHIFT))[-1]
    assert v.VALUE[longest] == 50
    move(50)
    assert set(v.KIND[grammar.allowed()].tolist()) == {v.K_BAR, v.K_OFF}
    grammar.accept(v.ID_OF["BAR_4"])
    # One that comes a little early quickens the tempo.
    move(190)
    grammar.accept(v.ID_OF["BAR_3"])
    assert grammar.beat_steps == 47.5
    assert grammar.next_bar() == 990 + 142


def test_a_hit_begins_a_bar_and_leaves_the_tempo_alone() -> None:
    """A bar cut short by a hit once quartered the beat, and with it how long the chord was held."""
    grammar = begin(limits(5000), np.array([860]))
    for _ in range(4):
        grammar.accept(v.ID_OF["BAR_4"])
        for _ in range(2):
            grammar.accept(v.SHIFT_BASE + 100)
    grammar.accept(v.ID_OF["BAR_4"])
    grammar.accept(v.SHIFT_BASE + 60)
    assert grammar.step == 860
    grammar.accept(v.ID_OF["BAR_4"])
    assert grammar.beat_steps == 50
    for name in ("CHORD", "ON_PIANO_60", "ON_PIANO_64", "ON_PIANO_67", "TIMESHIFT_792"):
        assert grammar.allowed()[v.ID_OF[name]], name
        grammar.accept(v.ID_OF[name])
    assert not grammar.allowed()[v.ID_OF["OFF_PIANO_60"]], "99 of 100 steps"


def test_pieces_do_not_know_of_one_another() -> None:
    alone = [walk(begin(limits(300), np.array([100])), by_kind, seed) for seed in (1, 2)]
    grammars = [begin(limits(300), np.array([100])) for _ in range(2)]
    rngs = [np.random.default_rng(seed) for seed in (1, 2)]
    together: list[list[int]] = [[], []]
    while not all(grammar.finished for grammar in grammars):
        for grammar, rng, ids in zip(grammars, rngs, together, strict=True):
            if not grammar.finished:
                ids.append(by_kind(np.flatnonzero(grammar.allowed()), rng))
                grammar.accept(ids[-1])
    assert together == alone


def test_behind_the_end_there_is_only_padding() -> None:
    grammar = begin(limits(10))
    walk(grammar, lowest)
    assert np.flatnonzero(grammar.allowed()).tolist() == [v.PAD]


@pytest.mark.parametrize("finish", [False, True])
def test_asking_does_not_change_the_answer(finish: bool) -> None:
    grammar = begin(limits(800, finish=finish), np.array([200]))
    rng = np.random.default_rng(0)
    while not grammar.finished:
        once = grammar.allowed()
        once[:] ^= grammar.allowed()
        assert not once.any()
        grammar.accept(by_kind(np.flatnonzero(grammar.allowed()), rng))


def test_a_piece_needs_a_length() -> None:
    with pytest.raises(InputError, match=r"0 s is too short; give at least 0\.008 s"):
        begin(limits(0))


def test_what_begins_late_may_end_early() -> None:
    """END comes up to a second before the end, once nothing sounds and nothing is due."""
    grammar = begin(limits(500))
    grammar.accept(v.ID_OF["BAR_4"])
    for _ in range(3):
        assert not grammar.allowed()[v.END]
        grammar.accept(v.SHIFT_BASE + SECOND)
    assert grammar.step == 500 - SECOND
    assert grammar.allowed()[v.END]
    grammar.accept(v.ID_OF["ON_BASS_40"])
    assert not grammar.allowed()[v.END]


@pytest.mark.parametrize("policy", ["uniformly", "by kind", "ON", "BAR", "longest steps"])
def test_a_tempo_that_is_given_is_kept(policy: str) -> None:
    """Bars of whole beats from the first on, but where a hit begins one; the grammar never loses count."""
    for targets in ([], [700, 1330]):
        grammar = begin(limits(2500, beat_steps=60), np.array(targets, dtype=np.int64))
        walk(grammar, POLICIES[policy], 3)
        assert grammar.beat_steps == 60
        assert set(targets) <= set(grammar.chords)
        for (at, half), (following, _) in itertools.pairwise(grammar.bars):
            assert following - at == half * 30 or following in targets


@pytest.mark.parametrize("beat", [24.9, 188, float("nan")])
def test_an_impossible_tempo_is_refused(beat: float) -> None:
    with pytest.raises(InputError, match="is not between 40 and 300 quarter notes per minute"):
        begin(limits(100, beat_steps=beat))


@pytest.mark.parametrize("policy", ["uniformly", "by kind", "shortest steps", "longest steps", "BAR"])
def test_on_the_grid_every_event_stands_on_a_sixteenth_of_its_bar(policy: str) -> None:
    for targets in ([], [240, 720, 1200]):
        grammar = begin(limits(1650, beat_steps=60, grid=True), np.array(targets, dtype=np.int64))
        ids = walk(grammar, POLICIES[policy], 5)
        steps = np.cumsum(v.SHIFT_STEPS[ids])
        assert (steps[v.KIND[ids] == v.K_ON] % 15 == 0).all()
        assert set(targets) <= set(grammar.chords)
        assert steps[-1] <= 1650


def test_a_boundary_off_the_grid_is_met_all_the_same() -> None:
    grammar = begin(limits(1650, beat_steps=60, grid=True), np.array([247]))
    walk(grammar, POLICIES["longest steps"], 5)
    assert 247 in grammar.chords


def moments(ids: list[int]) -> Iterator[tuple[int, list[str], int, int]]:
    """Step, events by name, and step of the last bar line before and after them, of each moment in turn."""
    step, bar = 0, 0
    names = [v.NAMES[i] for i in ids]
    ends = [i for i, name in enumerate(names) if name.startswith("TIMESHIFT_")]
    for begin, end in itertools.pairwise([-1, *ends, len(names)]):
        here = names[begin + 1 : end]
        before, bar = bar, step if any(name.startswith("BAR_") for name in here) else bar
        yield step, here, before, bar
        step += int(names[end].removeprefix("TIMESHIFT_")) // 8 if end < len(names) else 0


@settings(max_examples=60)
@given(
    end=st.integers(1, 1600),
    targets=steps(1600),
    beat=st.integers(7, 46).map(lambda sixteenth: 4 * sixteenth),
    policy=st.sampled_from(sorted(POLICIES)),
    seed=st.integers(0, 2**32),
    finish=st.booleans(),
    triplets=st.booleans(),
)
@example(end=1600, targets=[247], beat=60, policy="by kind", seed=0, finish=False, triplets=False)
@example(end=171, targets=[15], beat=28, policy="BAR", seed=0, finish=True, triplets=False)
@example(end=1597, targets=[247, 900], beat=60, policy="shortest steps", seed=0, finish=True, triplets=False)
def test_with_loose_ends_only_offs_leave_the_grid(
    end: int, targets: list[int], beat: int, policy: str, seed: int, finish: bool, triplets: bool
) -> None:
    """All else is on a sixteenth of its bar or a triplet, where those are wanted, on a hit, or where the piece closes,
    which a bar that begins on a hit may leave off the grid; and no moment off the grid is without an OFF.
    """
    asked = limits(end, beat_steps=beat, grid=True, finish=finish, triplets=triplets)
    grammar = begin(asked, np.array(targets, dtype=np.int64))
    ids = walk(grammar, POLICIES[policy], seed)
    asked = [*targets, end, *(grammar.chords[-1:] if grammar.closed else [])]
    sounding: set[str] = set()
    landed = []
    for step, names, before, bar in moments(ids):
        for name in names:
            kind, _, note = name.partition("_")
            if kind == "ON" and not note.startswith("DRUMS"):
                assert note not in sounding
                sounding.add(note)
            elif kind == "OFF":
                sounding.remove(note)
        landed += [step] if "CHORD" in names else []
        if step in asked or (step - before) * 4 % beat == 0:
            continue
        if triplets and abs((step - before) - round((step - before) * 6 / beat) * beat / 6) <= 0.5:
            continue
        assert bar == before, f"a bar at {step}"
        kinds = [name.partition("_")[0] for name in names]
        assert set(kinds) <= {"OFF", "END"}, names
        assert kinds[0] == "OFF", names
    assert not sounding
    met = [t for t in targets if t < end - 25]
    assert all(any(abs(t - at) < SECOND for at in landed) for t in met)
    assert not met or met[0] in landed


def ends_off_the_grid(policy: str, *, loose_ends: bool) -> tuple[int, int]:
    """How many OFFs are off the sixteenths, and how many of those off the 24th parts of a beat."""
    asked = limits(1620, beat_steps=BEAT, grid=True, loose_ends=loose_ends)
    clock = [step for step, names, _, _ in moments(walk(begin(asked), POLICIES[policy], 7)) for name in names
             if name.startswith("OFF_") and step < 1620]  # fmt: skip
    ticks = {round(tick * 2.5 + lean) for tick in range(660) for lean in (-0.1, 0.1)}
    return sum(step % 15 != 0 for step in clock), sum(step not in ticks for step in clock)


@pytest.mark.parametrize("policy", ["uniformly", "by kind", "shortest steps"])
def test_loose_ends_are_on_the_ticks_that_songs_are_written_in(policy: str) -> None:
    loose, between = ends_off_the_grid(policy, loose_ends=True)
    assert loose > 10
    assert between == 0
    assert ends_off_the_grid(policy, loose_ends=False) == (0, 0)


def test_notes_begin_on_triplets_where_those_are_wanted() -> None:
    def onsets(triplets: bool, loose_ends: bool) -> set[int]:
        asked = limits(1620, beat_steps=BEAT, grid=True, triplets=triplets, loose_ends=loose_ends)
        walks = [moments(walk(begin(asked), POLICIES["uniformly"], seed)) for seed in range(3)]
        begun = [(step - bar) % BEAT for of in walks for step, names, _, bar in of if any("ON_" in n for n in names)]
        return set(begun)

    sixteenths, thirds = {0, 15, 30, 45}, {10, 20, 40, 50}
    for loose_ends in (True, False):
        assert onsets(False, loose_ends) <= sixteenths
        assert onsets(True, loose_ends) == sixteenths | thirds


def test_what_leaves_the_grid_is_told() -> None:
    assert len(begin(limits(2000, beat_steps=BEAT, grid=True)).off_grid()) == 0, "before the first bar"
    for asked in (limits(2000, beat_steps=BEAT), limits(2000, beat_steps=BEAT, grid=True, loose_ends=False)):
        grammar = begin(asked)
        take(grammar, "BAR_4")
        assert len(grammar.off_grid()) == 0
    grammar = begin(limits(2000, beat_steps=BEAT, grid=True), np.array([52]))
    take(grammar, "BAR_4")
    told = {int(v.VALUE[i]) for i in grammar.off_grid()}
    assert told == {s for s in range(1, 126) if s % 15} - {52}, "a chord may come on the hit at 52"
    grammar = begin(limits(2000, beat_steps=BEAT, grid=True, loose_ends=False, triplets=True))
    take(grammar, "BAR_4")
    assert {10, 20} <= {int(v.VALUE[i]) for i in grammar.off_grid()}, "triplets are off the sixteenths"


def shifts(grammar: Grammar) -> set[int]:
    """The TIMESHIFTs that are allowed, in steps."""
    return {int(v.VALUE[i]) for i in np.flatnonzero(grammar.allowed()) if v.KIND[i] == v.K_TIMESHIFT}


def take(grammar: Grammar, *names: str) -> None:
    for name in names:
        assert grammar.allowed()[v.ID_OF[name]], name
        grammar.accept(v.ID_OF[name])


def test_time_leaves_the_grid_only_for_what_may_be_closed_there() -> None:
    grammar = begin(limits(2000, beat_steps=BEAT, grid=True))
    take(grammar, "BAR_4")
    on_grid = set(range(15, 126, 15))
    assert shifts(grammar) == on_grid, "nothing sounds"
    take(grammar, "CHORD", "ON_PIANO_60", "ON_PIANO_64", "ON_PIANO_67")
    assert shifts(grammar) == on_grid, "a chord is held for two beats, and this is less"
    take(grammar, "TIMESHIFT_720")
    assert shifts(grammar) == {s for s in range(36, 126) if s % 15 in (0, 2, 3, 5, 7, 8, 10, 12, 13)} | {15, 30}, (
        "126 steps are two beats and a twentieth: 36 from here, the chord may be closed"
    )
    take(grammar, "ON_BASS_40")
    assert min(shifts(grammar)) == 7, "the bass may be closed from its third tick on"
    take(grammar, "TIMESHIFT_56")
    assert np.flatnonzero(grammar.allowed()).tolist() == [v.ID_OF["OFF_BASS_40"]]
    take(grammar, "OFF_BASS_40")
    assert set(v.KIND[grammar.allowed()].tolist()) == {v.K_TIMESHIFT}
    assert min(shifts(grammar)) == 8, "back to the grid, as the chord is still held"
    take(grammar, "TIMESHIFT_64")
    assert grammar.allowed()[v.ID_OF["ON_BASS_40"]]


@pytest.mark.parametrize("policy", ["uniformly", "by kind", "shortest steps"])
def test_on_the_grid_no_note_is_a_click(policy: str) -> None:
    end, shortest = 1500, 3 * BEAT // 24
    lengths: list[int] = []
    for seed in range(3):
        ids, steps, _ = finished(end, [400, 1100], POLICIES[policy], seed)
        begun: dict[int, int] = {}
        for event, step in zip(ids, steps.tolist(), strict=True):
            if v.KIND[event] == v.K_ON and v.FAMILY[event] != v.DRUMS:
                begun[event] = step
            elif v.KIND[event] == v.K_OFF and step < end:
                lengths.append(step - begun[int(v.PARTNER[event])])
    assert min(lengths) == shortest == 7


# ---- finishing -----------------------------------------------------------------------------------------------------


def finished(
    end: int, targets: list[int], choose: Choose, seed: int = 0, *, finish: bool = True, loose_ends: bool = True
) -> tuple[list[int], np.ndarray, Grammar]:
    """A walk with a given tempo on the grid: its events, when each comes (steps), and the grammar it went through."""
    asked = limits(end, beat_steps=BEAT, grid=True, finish=finish, loose_ends=loose_ends)
    grammar = begin(asked, np.array(targets, dtype=np.int64))
    ids = walk(grammar, choose, seed)
    return ids, np.cumsum(v.SHIFT_STEPS[ids]), grammar


def only(*names: str) -> Choose:
    """The first of these events that is allowed; else time goes on, as far as it can; else what must be."""
    wanted = [v.ID_OF[name] for name in names]

    def choose(live: np.ndarray, rng: np.random.Generator) -> int:
        there = set(live.tolist())
        found = [i for i in wanted if i in there] or live[v.KIND[live] == v.K_TIMESHIFT].tolist()[-1:]
        return int((found or live.tolist())[0])

    return choose


@settings(max_examples=25)
@given(
    end=st.integers(600, 2000),
    targets=steps(2000),
    policy=st.sampled_from(sorted(POLICIES)),
    seed=st.integers(0, 2**32),
)
def test_a_finished_piece_begins_and_ends(end: int, targets: list[int], policy: str, seed: int) -> None:
    ids, clock, grammar = finished(end, targets, POLICIES[policy], seed)
    kinds = v.KIND[ids]
    assert clock[kinds == v.K_ON][0] <= BEAT
    assert grammar.closed
    last = clock[kinds == v.K_CHORD][-1]
    assert last == clock[kinds == v.K_ON][-1], "the last chord is what begins last"
    assert last in targets or end - last >= 2.1 * BEAT
    pitched = [i for i, at in zip(ids, clock, strict=True) if at == last and v.KIND[i] == v.K_ON and v.FAMILY[i] > 0]
    assert len(pitched) >= 3
    for on in pitched:
        (off,) = [at for i, at in zip(ids, clock, strict=True) if i == v.PARTNER[on] and at > last]
        assert off == end, "the last chord is held to the end"


def test_the_last_chord_stands_on_the_last_downbeat_with_room_for_it() -> None:
    bars = preferring("BAR_4", "ON_PIANO_6", "TIMESHIFT_480")
    for left, at in ((126, 1440), (125, 1200), (239, 1440), (365, 1440), (366, 1680)):
        _, _, grammar = finished(1440 + left, [], bars)
        assert grammar.chords[-1] == at, left


def test_a_hit_behind_the_last_downbeat_is_the_end() -> None:
    for hit in (1440, 1500, 1590):
        _, _, grammar = finished(1620, [hit], preferring("BAR_4", "ON_PIANO", "TIMESHIFT_480"))
        assert grammar.chords[-1] == hit
    # One that comes long before is not: the chord on the last downbeat follows it.
    _, _, grammar = finished(1620, [1200], preferring("BAR_4", "ON_PIANO", "TIMESHIFT_480"))
    assert grammar.chords[-2:] == [1200, 1440]


def test_the_last_chord_is_in_the_key_and_brings_the_bass() -> None:
    """G major is played until then; what is chosen at random for the last chord is of it, without semitones."""
    scale = {7, 9, 11, 0, 2, 4, 6}
    piano = [v.ID_OF[f"ON_PIANO_{p}"] for p in range(55, 79) if p % 12 in scale]
    for seed in range(8):
        grammar = begin(limits(1620, beat_steps=BEAT, grid=True, finish=True))

        def choose(live: np.ndarray, rng: np.random.Generator, grammar: Grammar = grammar) -> int:
            if grammar.closed:
                return uniformly(live, rng)
            tune = preferring("BAR_4", "ON_BASS_43", "OFF_PIANO", "TIMESHIFT_240", "TIMESHIFT")
            found = live[np.isin(live, piano)]
            return int(rng.choice(found)) if len(found) and rng.random() < 0.5 else tune(live, rng)

        ids = walk(grammar, choose, seed)
        last = len(ids) - ids[::-1].index(v.CHORD)
        tones = [i for i in ids[last:] if v.KIND[i] == v.K_ON and v.FAMILY[i] != v.DRUMS]
        classes = {int(v.VALUE[i]) % 12 for i in tones}
        assert v.BASS in v.FAMILY[tones]
        assert classes <= scale
        assert not any((c + 1) % 12 in classes for c in classes)


def test_what_still_sounds_makes_way_for_the_last_chord() -> None:
    """Closed before it, at once; and right behind it where a bar of another length brings it unforeseen."""
    long_notes = preferring("BAR_4", "ON_STRINGS_60", "ON_BASS_40", "TIMESHIFT_480", "TIMESHIFT")
    ids, clock, _ = finished(1620, [], long_notes)
    off = clock[np.array(ids) == v.ID_OF["OFF_STRINGS_60"]]
    assert 1440 in off
    for odd in ("BAR_6.5", "BAR_7", "BAR_5"):
        ids, clock, grammar = finished(
            1620, [], preferring(odd, "BAR_3", "ON_BASS_40", "ON_STRINGS_60", "TIMESHIFT_480")
        )
        last = grammar.chords[-1]
        old = {i for i, at in zip(ids, clock, strict=True) if at < last and v.KIND[i] == v.K_ON} - {
            i for i, at in zip(ids, clock, strict=True) if at == last
        }
        offs = [at for i, at in zip(ids, clock, strict=True) if v.KIND[i] == v.K_OFF and v.PARTNER[i] in old]
        assert max(offs) <= last + 1, odd


def test_something_sounds_within_the_first_beat() -> None:
    wait = preferring("BAR_4", "TIMESHIFT_1000", "TIMESHIFT")
    ids, clock, _ = finished(1620, [], wait)
    assert clock[v.KIND[ids] == v.K_ON][0] == BEAT
    ids, clock, _ = finished(1620, [], wait, finish=False)
    assert v.K_ON not in v.KIND[ids]


def longest_run(ids: list[int], clock: np.ndarray, name: str, gap: int) -> int:
    """Steps from the first to the last of a run of one event with no more than `gap` steps between two."""
    at = clock[np.array(ids) == v.ID_OF[name]]
    runs = np.split(at, np.flatnonzero(np.diff(at) > gap) + 1)
    return max(int(run[-1] - run[0]) for run in runs)


@pytest.mark.parametrize(("family", "beats"), [("BASS", 20), ("STRINGS", 32), ("PIANO", 32), ("GUITAR", 32)])
@pytest.mark.parametrize("loose_ends", [False, True])
def test_a_drone_rests_for_a_bar(family: str, beats: int, loose_ends: bool) -> None:
    """Held for as long as may be; or, with loose ends, struck on every sixteenth and closed before the next."""
    on = f"ON_{family}_50"
    drone = only("BAR_4", on, *(("TIMESHIFT_104", "TIMESHIFT_16") if loose_ends else ()))
    for finish, most in ((False, 100), (True, beats)):
        ids, clock, _ = finished(6000, [], drone, finish=finish, loose_ends=loose_ends)
        run = longest_run(ids, clock, on, 4 * BEAT - loose_ends)  # struck anew whenever it was closed
        assert run >= ((beats - 4) if finish else 90) * BEAT
        assert run <= most * BEAT
    at = clock[np.array(ids) == v.ID_OF[on]]
    assert np.diff(at).max() >= (4 if loose_ends else 8) * BEAT, "its last note, and a bar of rest"


def test_a_pitch_that_leaves_now_and_then_is_no_drone() -> None:
    """Two beats of every four, for a minute and a half: nothing is changed."""
    pulse = [v.ID_OF["ON_BASS_40"], v.SHIFT_BASE + 120, v.ID_OF["OFF_BASS_40"], v.SHIFT_BASE + 120]
    grammar = begin(limits(12000, beat_steps=BEAT, finish=True))
    grammar.accept(v.ID_OF["BAR_4"])
    for _ in range(40):
        for event in pulse:
            assert grammar.allowed()[event], v.NAMES[event]
            grammar.accept(event)
        assert grammar.allowed()[v.ID_OF["BAR_4"]]
        grammar.accept(v.ID_OF["BAR_4"])


def drumming(drum: str, every: int, *, finish: bool) -> np.ndarray:
    """When a drum is heard that strikes every so many steps, wherever it may."""
    grammar = begin(limits(6000, beat_steps=BEAT, finish=finish))
    at = []
    while grammar.step < 5000:
        if grammar.step == grammar.next_bar() or not grammar.bars:
            grammar.accept(v.ID_OF["BAR_4"])
        if grammar.allowed()[v.ID_OF[drum]]:
            at.append(grammar.step)
            grammar.accept(v.ID_OF[drum])
        grammar.accept(v.SHIFT_BASE + every)
    return np.array(at)


@pytest.mark.parametrize("drum", ["ON_DRUMS_38", "ON_DRUMS_47"])
def test_a_roll_thins_out_after_a_bar(drum: str) -> None:
    assert set(np.diff(drumming(drum, 15, finish=False))) == {15}
    at = drumming(drum, 15, finish=True)
    gaps = np.diff(at)
    assert (gaps[at[1:] <= 4 * BEAT] == 15).all(), "a bar is left alone"
    assert (gaps[(at[1:] > 4 * BEAT) & (at[1:] <= 8 * BEAT)] == 30).all(), "and then eighths for as long"
    assert (gaps[(at[1:] > 8 * BEAT + 30) & (at[1:] < 12 * BEAT)] == 15).all()


def test_eighths_and_hi_hats_are_no_roll() -> None:
    for drum, every in (("ON_DRUMS_38", 30), ("ON_DRUMS_42", 15)):
        assert (drumming(drum, every, finish=True) == drumming(drum, every, finish=False)).all()
