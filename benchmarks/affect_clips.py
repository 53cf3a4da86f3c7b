"""Read the mood of every clip of a folder, print the tables of docs/affect.md, and draw one clip.

    python benchmarks/affect_clips.py FOLDER [--clip bbb_trailer.webm -o docs/pictures/mood-film.png]

The clips and the demo film are analysed. Prints Markdown: each clip's mean mood with and without its sound, and
what its terms are on average, by which the constants of `emsync.affect_terms.TERMS` were chosen (each film weighs one).
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from emsync import affect, affect_terms, demo_film, plot
from emsync.film import Stills
from emsync.mood import nearest_emotion
from emsync.video import Scene, analyze

KINDS = (".mp4", ".webm", ".mkv", ".mov")


def mood_row(name: str, scene: Scene) -> str:
    curve = affect.builtin_mood(scene)
    muted = affect.builtin_mood(replace(scene, has_audio=False, loudness_db=np.full_like(scene.loudness_db, np.nan)))
    valence, arousal = curve.mean
    return (
        f"| {name} | {valence:+.2f} | {curve.valence.min():+.2f} to {curve.valence.max():+.2f} "
        f"| {arousal:+.2f} | {curve.arousal.min():+.2f} to {curve.arousal.max():+.2f} "
        f"| {nearest_emotion(valence, arousal)} | {muted.mean[0]:+.2f}, {muted.mean[1]:+.2f} |"
    )


def term_rows(scenes: dict[str, Scene]) -> list[str]:
    found = {name: affect_terms.terms(scene) for name, scene in scenes.items()}
    lines = ["| term | " + " | ".join(scenes) + " | mean | deviation | used |", "|---" * (len(scenes) + 4) + "|"]
    for term in affect_terms.TERMS:
        rows = [f[term.name] for f in found.values() if term.name in f]
        mean = np.mean([row.mean() for row in rows])
        deviation = np.sqrt(np.mean([np.square(row - mean).mean() for row in rows]))
        cells = [f"{f[term.name].mean():.3g}" if term.name in f else "–" for f in found.values()]
        used = f"{term.mean:g} ± {term.deviation:g}"
        lines.append(f"| {term.name} | " + " | ".join([*cells, f"{mean:.3g}", f"{deviation:.2g}", used]) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clip", default="bbb_trailer.webm", help="which clip to draw")
    parser.add_argument("-o", "--output", type=Path, help="where to draw it (PNG)")
    args = parser.parse_args()
    scenes = {}
    with tempfile.TemporaryDirectory() as folder:
        demo = Path(folder) / "demo.mp4"
        demo_film.make(demo)
        for path in [*sorted(p for p in args.folder.iterdir() if p.suffix in KINDS), demo]:
            stills = Stills()
            scene = scenes[path.stem] = analyze(path, stills=stills)
            if args.output is not None and path.name == args.clip:
                curve = affect.builtin_mood(scene)
                plot.save_film(scene, curve, stills, args.output, reader=affect.DEFAULT_READER)
    print("| clip | valence | from, to | arousal | from, to | nearest | muted |")
    print("|---" * 7 + "|")
    for name, scene in scenes.items():
        print(mood_row(name, scene))
    print("", *term_rows(scenes), sep="\n")


if __name__ == "__main__":
    main()
