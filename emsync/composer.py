"""Composing: the paper's Algorithm 1, in batches, with a key-value cache, under the grammar.

A cursor in time follows the TIMESHIFTs. After every event the lanes are computed (`Conditions.at`), the model gives a
distribution, the grammar forbids what cannot follow, and one event is sampled. A CHORD within a second of a boundary
meets it. The music may be longer than the model's window: when the window is full, composing goes on from its later
half, as the crops of training begin in the middle of a song.

With `Recipe.candidates` above 1, a piece is composed take by take instead, and the best of several takes is kept
(`candidates`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from emsync.candidates import candidates_of, compose_in_takes
from emsync.conditions import Conditions
from emsync.decoder import Decoder
from emsync.hits import follow, land
from emsync.recipe import Recipe
from emsync.rows import Rows, kept
from emsync.score import KeySignature, Score
from emsync.sections import Plan
from emsync.tempo_plan import TempoPlan, beat_of
from emsync.tokenizer.events import decode
from emsync.writer import Piece, Writer

if TYPE_CHECKING:
    from emsync.rewriter import Rewriter

FloatArray = npt.NDArray[np.floating]

#: When no more than this share of the pieces in the batch are unfinished, the finished ones are taken out.
KEPT_ROWS: Final = 0.75


def compose(
    decoder: Decoder,
    conditions: Sequence[Conditions],
    recipe: Recipe | None = None,
    *,
    plans: Sequence[Plan] | None = None,
    tempo_plans: Sequence[TempoPlan | None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[Piece]:
    """Compose one piece for each of `conditions`, all at once.

    The same recipe, conditions and model give the same events, on ONNX Runtime and on torch. A piece depends on its
    place in the batch, but not on the other pieces, with two exceptions: whether there are others decides how a full
    window goes on, and once some pieces have ended, products of fewer rows may be rounded differently.

    Args:
        decoder: What runs the model.
        conditions: One for each piece. Each must say where the piece ends (`end_s`).
        recipe: The composing choices. The tempo is moved to the nearest one that the grid can hold (`beat_of`).
        plans: The form of each piece; by default none has one.
        tempo_plans: The tempo of each piece (`tempo_plan.plan_for`), for the boundaries of its conditions. Its events
            are then in nominal time.
        progress: Called with the share that is done, from 0 to 1.

    """
    recipe = recipe or Recipe()
    plans = [Plan()] * len(conditions) if plans is None else plans
    tempo_plans = [None] * len(conditions) if tempo_plans is None else tempo_plans
    writers = [
        Writer(c, recipe, np.random.default_rng([recipe.seed, row]), decoder.mixture, plan, tempo_plan)
        for row, (c, plan, tempo_plan) in enumerate(zip(conditions, plans, tempo_plans, strict=True))
    ]
    if not writers:
        return []
    if candidates_of(recipe, decoder) > 1:
        return _in_takes(decoder, writers, recipe, progress)
    write_all(decoder, writers, recipe.mood_strength, progress)
    return [w.piece() for w in writers]


def write_all(
    decoder: Decoder, writers: Sequence[Writer], strength: float, progress: Callable[[float], None] | None = None
) -> None:
    """Let the model write pieces to their ends, all at once. They may have begun, all with as many events.

    strength: as `Recipe.mood_strength`. The other arguments are those of `compose`.
    """
    batch = Rows.of(list(writers), strength, hears=decoder.hears_controls)
    answer = batch.window(decoder, kept(writers, decoder.context // 2, alone=len(writers) == 1))
    rows = list(range(len(writers)))  # of the decoder's latest answer, those of the pieces that go on
    n_steps = 0
    while batch.writers:
        states = decoder.states
        for row, writer in enumerate(batch.writers):
            writer.write(answer.logits[row], None if states is None else states[rows[row]])
        if decoder.length >= decoder.context:
            keep = kept(batch.writers, decoder.context // 2, alone=len(writers) == 1)
            answer = batch.window(decoder, keep)
        else:
            answer = batch.step(decoder)
        for row, writer in enumerate(batch.writers):
            writer.write_velocity(answer.velocity_logits[row])
        left = [row for row, writer in enumerate(batch.writers) if not writer.done]
        if len(left) <= KEPT_ROWS * len(batch.writers):
            batch, answer = batch.only(left, decoder), answer.only(left)
            rows = left
        else:
            rows = list(range(len(batch.writers)))
        n_steps += 1
        if progress and n_steps % 16 == 0:
            progress(min((w.share for w in batch.writers), default=1.0))
    if progress:
        progress(1.0)


def foreseen(
    decoder: Decoder, writers: Sequence[Rewriter], strength: float, following: Sequence[tuple[int, int]]
) -> npt.NDArray[np.float64]:
    """How well each of several beginnings predicts what follows: (n,) mean log probability per event, in nats.

    following: (event, velocity level or 0) of what follows; at least one. The writers take it.
    """
    batch, total = Rows.of(list(writers), strength, hears=decoder.hears_controls), np.zeros(len(writers))
    answer = batch.window(decoder, kept(writers, decoder.context // 2, alone=False))
    for event, level in following:
        x = answer.logits.astype(np.float64)
        x -= x.max(axis=1, keepdims=True)
        total += x[:, event] - np.log(np.exp(x).sum(axis=1))
        for writer in writers:
            writer.keep(event, level)
        answer = batch.step(decoder)
    return total / len(following)


def _in_takes(
    decoder: Decoder, writers: Sequence[Writer], recipe: Recipe, progress: Callable[[float], None] | None
) -> list[Piece]:
    """The pieces one after another, each of them take by take."""
    pieces = []
    for number, writer in enumerate(writers):

        def report(share: float, number: int = number) -> None:
            if progress:
                progress((number + share) / len(writers))

        pieces.append(compose_in_takes(decoder, writer, recipe, seeds=(recipe.seed, number), progress=report))
    return pieces


def written(piece: Piece) -> Score:
    """The notes and keys of a piece, in the time of its events."""
    signatures = tuple(KeySignature(time_s, key.tonic, key.is_minor) for time_s, key in piece.keys)
    return replace(decode(piece.events.ids, piece.events.velocities), keys=signatures)


def score_of(piece: Piece, duration_s: float, *, bend: bool = False) -> Score:
    """The notes of a piece for a film of `duration_s`, in the film's time if its tempo was planned for it.

    If it was not, `bend` says whether the tempo bends towards the boundaries that were met.
    """
    score = written(piece)
    # Drum hits and bars have no end of their own, and may pass the film's.
    if piece.tempo_plan is None:
        score = score.until(duration_s)
        return land(score, piece.targets_s, piece.boundaries_s) if bend else score
    return follow(score.until(float(piece.tempo_plan.to_nominal(duration_s))), piece.tempo_plan, duration_s)


__all__ = ["KEPT_ROWS", "Piece", "Writer", "beat_of", "compose", "foreseen", "score_of", "write_all", "written"]
