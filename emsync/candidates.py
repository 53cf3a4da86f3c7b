"""Choosing among takes: a piece is composed a stretch at a time, several candidates at once, and the best is kept.

A *take* is a stretch of some bars. All candidates of a take go on from the same music, each with its own decoder and
thread; a `Critic` says how real each of them seems, and how near it is to the mood and to the form that was planned.
The next take goes on from the best, with its cache (`Decoder.hold`), so nothing is computed twice.

Conventions: takes begin on bar lines, at the sections of the form and in between.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.critic import CRITIC, Critic, Opinion
from emsync.decoder import Decoder
from emsync.errors import InputError
from emsync.guide import Source
from emsync.recipe import Recipe
from emsync.rows import Answer, Rows, kept
from emsync.writer import Piece, Writer

FloatArray = npt.NDArray[np.floating]

#: About how long a take is, in seconds.
TAKE_S: Final = 8.0
#: What counts beside how real a take seems, in its log odds: the squared distance from the mood that was asked for, and
#: the share of a return that is missing.
MOOD_WEIGHT: Final = 2.0
RETURN_WEIGHT: Final = 2.0
#: How often progress is reported, in seconds.
PROGRESS_S: Final = 0.1


def candidates_of(recipe: Recipe, decoder: Decoder) -> int:
    """How many candidates each take has.

    Raises `InputError` if several are requested and the model has no critic.
    """
    if recipe.candidates > 1 and decoder.critic is None:
        raise InputError(
            f"candidates is {recipe.candidates}, and the model has no {CRITIC} to choose by; give 1, or fit one with: "
            "emsync fit-critic ARCHIVE --model DIR"
        )
    return recipe.candidates


def take_starts(writer: Writer) -> list[float]:
    """Where takes after the first begin, in steps: at each section, and in equal parts of about `TAKE_S` within."""
    end = writer.grammar.end_step * v.STEP_S
    edges = [s.start_s for s in writer.sections.plan.sections] or [0.0]
    edges = [0.0, *edges[1:], end]
    starts: list[float] = []
    for first, last in pairwise(edges):
        parts = max(1, round((last - first) / TAKE_S))
        starts += [(first + (last - first) * i / parts) / v.STEP_S for i in range(parts)]
    return starts[1:]


@dataclass
class Candidate:
    """A candidate that is being composed.

    Attributes:
        writer: The piece with this candidate at its end.
        begin: The place of the take's first event.
        returning: What returns in it (`Sections.returning`).
        nats: What its events cost the model, without guidance.
        state: (width,) the sum of the hidden states that predicted them.

    """

    writer: Writer
    begin: int
    returning: tuple[Source, float] | None
    nats: list[float] = field(default_factory=list)
    state: FloatArray | None = None

    def write(self, logits: FloatArray, plain: FloatArray, state: FloatArray | None, mixed: FloatArray | None) -> None:
        """Sample the next event.

        Args:
            logits: (vocabulary,) the model's, guided.
            plain: (vocabulary,) without guidance.
            state: (width,) the hidden state behind `plain`, if the decoder gives it.
            mixed: (width,) the one behind the guided row.

        """
        self.writer.write(logits, mixed)
        x = plain.astype(np.float64)
        top = x.max()
        self.nats.append(float(top + np.log(np.exp(x - top).sum()) - x[self.writer.ids[-1]]))
        if state is not None:
            self.state = state.astype(np.float64) if self.state is None else self.state + state

    def opinion(self) -> Opinion:
        """What a critic reads of it, including the BAR that the next take begins with."""
        state = None if self.state is None else self.state / max(len(self.nats), 1)
        writer = self.writer
        # The BAR that begins a take was sampled by the take before it.
        nats = self.nats if self.begin == 0 else [np.nan, *self.nats]
        known = np.nan_to_num(np.array(nats), nan=float(np.mean(self.nats)))
        first = len(writer.ids) - len(known)
        return Opinion.of(writer.ids, writer.velocities, first, known, state)


def compose_in_takes(
    decoder: Decoder,
    writer: Writer,
    recipe: Recipe,
    *,
    seeds: tuple[int, ...],
    progress: Callable[[float], None] | None = None,
) -> Piece:
    """Compose a piece take by take.

    The first candidate of the first take is what would be composed without any others. Each candidate is decoded by
    itself, on a thread of its own, so the piece does not depend on how many cores there are.

    Args:
        decoder: What runs the model; it has a critic.
        writer: The piece before its first event.
        recipe: `Recipe.candidates` at a time.
        seeds: The randomness of the candidates, except for the first one, which keeps the writer's own.
        progress: Called with the share that is done.

    """
    critic, count = decoder.critic, candidates_of(recipe, decoder)
    assert critic is not None
    starts, number = take_starts(writer), 0
    decoders = [decoder, *(decoder.twin() for _ in range(count - 1))]
    with _Threads(min(count, cores())) as threads:
        while not writer.done:
            until = next((start for start in starts if start > _line(writer)), None)
            rngs = [writer.rng, *(np.random.default_rng([*seeds, number, k]) for k in range(1, count))]
            takes = [Candidate(writer.fork(rng), len(writer.ids) - 1, writer.sections.returning) for rng in rngs]
            threads.write(decoders, takes, until, progress, begun=number > 0)
            worth = [merit(take, critic) for take in takes]
            best = int(np.argmax(worth))
            writer = takes[best].writer
            if not writer.done:
                _go_on_from(best, decoders)
            number += 1
    if progress:
        progress(1.0)
    return writer.piece()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def merit(take: Candidate, critic: Critic) -> float:
    """How good a take is: how real it seems, minus penalties for a missed mood and a missed return."""
    opinion = take.opinion()
    worth = critic.realness(opinion)
    writer = take.writer
    asked = _asked_mood(writer, take.begin)
    if asked is not None:
        distance = critic.felt(opinion) - asked
        worth -= MOOD_WEIGHT * float(np.nansum(distance**2))
    if take.returning is not None:
        source, weight = take.returning
        worth -= RETURN_WEIGHT * max(0.0, weight - returned(writer.ids, take.begin, source))
    return worth


def returned(ids: list[int], begin: int, source: Source) -> float:
    """The share of a returning passage's notes that are played in the bars of a take; 1 if it has none there."""
    stop = len(ids) - int(v.KIND[ids[-1]] == v.K_BAR)  # that BAR is of the next take
    played = Source.of_events(ids[begin:stop], bars=len(source.bars))
    ons = [{(p, e) for p, e in bar if v.KIND[e] == v.K_ON} for bar in played.bars]
    wanted = [{(p, e) for p, e in bar if v.KIND[e] == v.K_ON} for bar in source.bars]
    total = sum(len(bar) for bar, _ in zip(wanted, ons, strict=False))
    return sum(len(a & b) for a, b in zip(wanted, ons, strict=False)) / total if total else 1.0


def _asked_mood(writer: Writer, begin: int) -> FloatArray | None:
    """The mean of the requested valence and arousal (2,) over a take; None if neither is given."""
    moods = writer.requested_mood(np.array(writer.steps[begin:]) * v.STEP_S)
    if not writer.recipe.mood_strength or np.isnan(moods).all():
        return None
    return np.array([column.mean() if not np.isnan(column).any() else np.nan for column in moods.T])


def _line(writer: Writer) -> float:
    """The step up to which a take counts as begun: half a bar beyond the clock."""
    return writer.grammar.step + 2 * writer.grammar.beat_steps


class _Threads:
    """Threads that write the candidates of a take at the same time. NumPy and the model's runtime let them."""

    def __init__(self, count: int) -> None:
        self._pool, self._stopped = ThreadPoolExecutor(count, thread_name_prefix="candidate"), threading.Event()
        self._told = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown()

    def write(
        self, decoders: Sequence[Decoder], takes: Sequence[Candidate], until: float | None,
        progress: Callable[[float], None] | None, *, begun: bool,
    ) -> None:  # fmt: skip
        """Write each take with its decoder, to the bar line nearest to `until`, or to the end of the piece.

        begun: whether the decoders hold all but the latest event; they hold nothing before the first take.
        """
        working = {
            self._pool.submit(_write, decoder, take, until, self._stopped, begun=begun)
            for decoder, take in zip(decoders, takes, strict=True)
        }
        while working:
            done, working = wait(working, timeout=PROGRESS_S, return_when=FIRST_EXCEPTION)
            for each in done:
                each.result()
            if progress:
                self._told = max(self._told, sum(take.writer.share for take in takes) / len(takes))
                progress(self._told)


def _write(decoder: Decoder, take: Candidate, until: float | None, stopped: threading.Event, *, begun: bool) -> None:
    """Write one take; see `_Threads.write`. `stopped`: set when the take is of no use any more."""
    writer = take.writer
    rows = Rows.of([writer], writer.recipe.mood_strength, hears=decoder.hears_controls)
    plain = rows.plain_places()[0]
    answer = _next(rows, decoder) if begun else rows.window(decoder, 1)  # START
    while not stopped.is_set():
        states = decoder.states
        own, mixed = (None, None) if states is None else (states[plain], states[0])
        take.write(answer.logits[0], answer.plain[0], own, mixed)
        if _has_ended(writer, until):
            return
        answer = _next(rows, decoder)
        writer.write_velocity(answer.velocity_logits[0])


def _go_on_from(best: int, decoders: Sequence[Decoder]) -> None:
    """Let all decoders hold what the best one holds."""
    every = np.arange(decoders[best].n_rows)
    held = decoders[best].hold(every)
    for place, decoder in enumerate(decoders):
        if place != best:
            decoder.resume(held, every)


def _next(rows: Rows, decoder: Decoder) -> Answer:
    """Append the latest event; in a full window, go on from its later half."""
    if decoder.length < decoder.context:
        return rows.step(decoder)
    return rows.window(decoder, kept(rows.writers, decoder.context // 2, alone=True))


def _has_ended(writer: Writer, until: float | None) -> bool:
    """Whether the piece has ended, or has reached the BAR that the next take begins with."""
    if writer.done or until is None:
        return writer.done
    return v.KIND[writer.ids[-1]] == v.K_BAR and _line(writer) >= until
