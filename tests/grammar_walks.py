"""Walks through the grammar: ways of choosing the next event, and a checker that knows events by their names only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from emsync import vocabulary as v
from emsync.grammar import Grammar
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
        compass=True,
    )
    return Limits(recipe, end_step, beat_steps)


def begin(asked: Limits, targets: np.ndarray | None = None) -> Grammar:
    return Grammar(asked.recipe, asked.end_step, targets, beat_steps=asked.beat_steps)


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
    liked = [np.array([name in (v.NAMES[i], v.KINDS[v.KIND[i]]) for i in range(len(v.KIND))]) for name in names]

    def choose(live: np.ndarray, rng: np.random.Generator) -> int:
        for mine in liked:
            found = live[mine[live]]
            if len(found):
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


_PLACE_OF_FAMILY = {"DRUMS": 0, "BASS": 1, "GUITAR": 2, "PIANO": 3, "STRINGS": 4}


def place(name: str) -> tuple[int, int, float]:
    """The place of an event within its moment."""
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


def shifts(grammar: Grammar) -> set[int]:
    """The TIMESHIFTs that are allowed, in steps."""
    return {int(v.VALUE[i]) for i in np.flatnonzero(grammar.allowed()) if v.KIND[i] == v.K_TIMESHIFT}


def take(grammar: Grammar, *names: str) -> None:
    for name in names:
        assert grammar.allowed()[v.ID_OF[name]], name
        grammar.accept(v.ID_OF[name])


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
