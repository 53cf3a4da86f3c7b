"""Measure whether the music follows the requested mood (corners, ramps and steps), and what that costs.

    python benchmarks/mood_adherence.py valid.npz [--setting "mode=off"] [--setting "mood_strength=3"] ... \
        [--corners 12] [--moving 3] [--vgmidi VGMIDI_DIR] [--bits] [-o docs/pictures/mood-adherence-mode.png]

Prints the tables of docs/mood-adherence.md as Markdown, and draws the requested and measured curves of the last setting
(`-o`), and the keys of its ramps and steps of valence beside the curves (`--keys`). Every setting composes with the
same seeds. With VGMIDI, other judges listen as well (`other_judges`). The cost in bits per note (`--bits`) needs torch.
The model must not have been trained on the songs of the archive.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from guided_bits import STRENGTHS, guided_bits
from sampling import recipe_of
from vgmidi import USED, fit, halves, read_vgmidi

from emsync.controls import key_of
from emsync.decoder import Decoder, open_decoder
from emsync.keys import Key
from emsync.music_mood.regressor import AXES, Regressor
from emsync.recipe import Recipe
from emsync.score import Score
from emsync.training.corpus.archive import Archive, pack, read_archive
from emsync.training.evaluation.mood_adherence import (
    TEMPO_QPM,
    Judged,
    MoodAdherence,
    Task,
    adherence,
    judge_piece,
    judges_scale,
    perform,
    tasks,
)
from emsync.training.evaluation.report_page import table
from emsync.training.mood.agreement import pearson
from emsync.training.mood.curves import judge
from emsync.vocabulary import DRUMS

#: Crops for the cost in bits are drawn from so many songs.
CROPPED_SONGS = 400
#: What the judge hears of key and harmony.
HARMONY: Final = tuple(name for name in USED if name.startswith(("mode", "key", "triad", "chroma")))
#: The window in which a piece's own key is looked for.
KEY_WINDOW_S: Final = 8.0

Pieces = list[tuple[Task, Score]]


def composed(decoder: Decoder, recipe: Recipe, asked: Sequence[Task], duration_s: float, together: int) -> Pieces:
    """A piece for each task, `together` at a time. Only the model and the key count: tempo and loudness are fixed."""
    pieces: Pieces = []
    for batch, first in enumerate(range(0, len(asked), together)):
        part = asked[first : first + together]
        seed = int(np.random.SeedSequence([recipe.seed, batch]).generate_state(1)[0])
        settings = recipe_with(recipe, seed)
        pieces += zip(part, perform(decoder, part, duration_s, settings), strict=True)
    return pieces


def recipe_with(recipe: Recipe, seed: int) -> Recipe:
    """The recipe at the tempo of all pieces, without finishing."""
    return Recipe.from_dict(recipe.to_dict() | {"seed": seed, "tempo_qpm": TEMPO_QPM, "finish": "off"})


def other_judges(folder: Path) -> dict[str, tuple[Regressor, float, float]]:
    """Judges fitted on other features than the shipped one, and how well each hears what people say of other pieces.

    All are fitted on the judge's half of VGMIDI. The two numbers are the correlations (valence, arousal) with the
    ratings of the other half, second by second: the most that a judge could find in music that follows people's
    ratings.
    """
    labelled, own = halves(read_vgmidi(folder))
    named = {
        "the judge": judge(),
        "without key and triads": fit(own, names=[name for name in USED if name not in HARMONY]),
        "key and triads alone": fit(own, names=HARMONY),
    }
    found = {}
    for name, regressor in named.items():
        read = np.concatenate([regressor.apply(piece.features)[piece.rows()] for piece in labelled])
        said = np.concatenate([piece.target for piece in labelled])
        found[name] = (regressor, *(pearson(read[:, k], said[:, k]) for k in range(2)))
    return found


def rows_of(label: str, judged: Sequence[Judged]) -> list[list[str | float]]:
    """A row for each axis."""
    rows: list[list[str | float]] = []
    for axis, name in enumerate(AXES):
        o = adherence(judged, axis)
        rows.append(
            [label, name, o.pearson, o.within, o.separation, o.corner_auc, o.crosstalk, o.shuffled_pearson,
             o.shuffled_within]
        )  # fmt: skip
    return rows


def listened(label: str, pieces: Pieces, songs: Archive, vgmidi: Path | None) -> list[Judged]:
    """Print the judges' tables of pieces; returns those of the shipped judge."""
    judges = {"the judge": (judge(), np.nan, np.nan)} if vgmidi is None else other_judges(vgmidi)
    head = ["", "axis", "Pearson", "within ramps and steps", "high − low corners", "AUC of corners",
            "with the other axis", "Pearson, shuffled", "within, shuffled"]  # fmt: skip
    rows: list[list[str | float]] = []
    first: list[Judged] = []
    for name, (regressor, *ceilings) in judges.items():
        scale = judges_scale(songs, regressor)
        judged = [judge_piece(score, task, scale, regressor) for task, score in pieces]
        own = rows_of(name, judged)
        rows += own if vgmidi is None else [[*row, ceilings[axis]] for axis, row in enumerate(own)]
        first = first or judged
    print(f"\n{label or 'as users get it'}: {len(pieces)} pieces\n")
    print("\n".join(table(head if vgmidi is None else [*head, "Pearson with people"], rows)), flush=True)
    return first


def local_keys(score: Score) -> list[tuple[float, Key | None]]:
    """The key that fits each window of `KEY_WINDOW_S` seconds best, at its middle."""
    pitched = score.instrument != DRUMS
    found = []
    for middle_s in np.arange(KEY_WINDOW_S / 2, max(score.duration_s - KEY_WINDOW_S / 2, KEY_WINDOW_S / 2 + 0.5), 1.0):
        held = np.minimum(score.end_s, middle_s + KEY_WINDOW_S / 2) - np.maximum(
            score.start_s, middle_s - KEY_WINDOW_S / 2
        )
        weights = np.bincount(
            score.pitch[pitched] % 12, weights=np.clip(held[pitched], 0, None), minlength=12
        )  # fmt: skip
        is_minor, tonic = divmod(int(key_of(weights)), 12)
        found.append((float(middle_s), Key(tonic, bool(is_minor)) if weights.any() else None))
    return found


def draw_keys(pieces: Pieces, path: Path) -> None:
    """The keys of ramps and steps of valence: the valence asked for, and the key found in each window (PNG)."""
    from matplotlib.figure import Figure

    moving = [(t, s) for t, s in pieces if t.kind != "corner" and np.ptp(t.curve.valence) > 0][:8]
    figure = Figure(figsize=(15, 1.2 + 2.4 * (len(moving) + 1) // 2), layout="constrained")
    for place, (task, score) in enumerate(moving):
        axes = figure.add_subplot((len(moving) + 1) // 2, 2, place + 1, ylim=(-1.05, 1.05), xlim=(0, score.duration_s))
        axes.plot(task.curve.times_s, task.curve.valence, "k--", lw=1, label="requested valence")
        for middle_s, key in local_keys(score):
            if key is not None:
                colour = "tab:blue" if key.is_minor else "tab:orange"
                axes.axvspan(middle_s - 0.5, middle_s + 0.5, color=colour, alpha=0.35, lw=0)
        for at in score.keys:
            axes.axvline(at.time_s, color="k", lw=1.5)
            axes.text(at.time_s + 0.3, 0.8, str(Key(at.tonic, at.is_minor)), fontsize=8)
        axes.set_title(f"{task.name}; found in {KEY_WINDOW_S:g} s: minor (blue), major (orange)", fontsize=9)
    figure.savefig(path, dpi=80)


def bits(songs: Archive, model_folder: Path | None, crops: int) -> None:
    """Print what mood costs in bits per note of real songs."""
    from emsync import checkpoint
    from emsync.training.crops import CropConfig, Crops
    from emsync.training.dataset import Dataset

    first = [songs[i] for i in range(min(CROPPED_SONGS, len(songs)))]
    model = checkpoint.load(checkpoint.embedded_folder() if model_folder is None else model_folder)
    data = Dataset.of(dict(pack(first).arrays))
    drawn = Crops(data, CropConfig(context=model.config.context, near_chord=0.0), seed=1, augment=False)
    found = guided_bits(model, [drawn.batch(i, 4) for i in range(crops // 4)], STRENGTHS)
    print(f"\nBits per note of {crops} crops of real songs, conditioned on cuts, end and this mood:\n")
    print("\n".join(table(["mood", "bits per note"], [[name, value] for name, value in found.items()])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--setting", action="append", help="changes of the recipe, as in benchmarks/sampling.py")
    parser.add_argument("--corners", type=int, default=12, help="pieces for each corner")
    parser.add_argument("--moving", type=int, default=3, help="pieces for each ramp and step")
    parser.add_argument("--corner-duration", type=float, default=24.0)
    parser.add_argument("--duration", type=float, default=40.0, help="of ramps and steps")
    parser.add_argument("--together", type=int, default=24, help="pieces composed at a time")
    parser.add_argument("--vgmidi", type=Path, help="let other judges, fitted on this folder, listen as well")
    parser.add_argument("--bits", type=int, default=0, metavar="CROPS", help="also the cost in bits of so many crops")
    parser.add_argument("-o", "--output", type=Path, help="draw the curves of the last setting here")
    parser.add_argument("--keys", type=Path, help="draw its keys here")
    options = parser.parse_args()

    songs = read_archive(options.archive)
    corners = [task for task in tasks(options.corner_duration) if task.kind == "corner"]
    moving = [task for task in tasks(options.duration) if task.kind != "corner"]
    for setting in options.setting or [""]:
        recipe = recipe_of(setting)
        decoder = open_decoder(options.model, backend=options.backend)
        pieces = composed(decoder, recipe, corners * options.corners, options.corner_duration, options.together)
        pieces += composed(decoder, recipe, moving * options.moving, options.duration, options.together)
        judged = listened(setting, pieces, songs, options.vgmidi)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        MoodAdherence.of(judged, recipe.mood_strength).plot(options.output)
    if options.keys:
        draw_keys(pieces, options.keys)
    if options.bits:
        bits(songs, options.model, options.bits)


if __name__ == "__main__":
    main()
