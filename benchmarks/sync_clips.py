"""Whether sound and picture agree in real films: a click under one of their pictures, in each container.

    python benchmarks/sync_clips.py FILM ...

For each film a sound with a click at the time of one of its pictures is muxed in its place. Printed, for the film that
comes out: how many pictures have the same pixels, how far any of them is from its time in the film that went in, and
how far the click is from its picture, in milliseconds.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
import soundfile

from emsync.errors import InputError
from emsync.film import best_stream
from emsync.mux import CONTAINERS, mux

RATE_HZ = 44100


def pictures(path: Path) -> list[tuple[float, bytes]]:
    """Each picture: its time on the film's own clock, and a digest of its pixels."""
    found = []
    with av.open(str(path)) as film:
        stream = best_stream(film)
        for frame in film.decode(stream):
            pixels = frame.reformat(width=96, height=54, format="gray").to_ndarray()
            found.append((float(frame.pts * frame.time_base), hashlib.sha256(pixels.tobytes()).digest()))
    return found


def loudest_s(path: Path, least: float) -> float:
    """When the first sample of at least that size sounds, on the film's own clock."""
    resampler = av.AudioResampler(format="fltp", layout="mono")
    with av.open(str(path)) as film:
        for decoded in film.decode(audio=0):
            for frame in resampler.resample(decoded):
                loud = np.flatnonzero(np.abs(frame.to_ndarray()[0]) > least)
                if len(loud):
                    return float(frame.pts * frame.time_base) + int(loud[0]) / frame.sample_rate
    return float("nan")


def main(films: list[Path]) -> None:
    for film in films:
        before = pictures(film)
        place = min(range(len(before)), key=lambda i: abs(before[i][0] - before[0][0] - 2.0))
        moment_s = before[place][0] - before[0][0]
        for ending in sorted(CONTAINERS):
            with tempfile.TemporaryDirectory() as folder:
                sound = np.zeros((round((moment_s + 2) * RATE_HZ), 2))
                sound[round(moment_s * RATE_HZ) :][:80] = 0.9
                soundfile.write(Path(folder, "click.wav"), sound, RATE_HZ)
                try:
                    made = mux(film, Path(folder, "click.wav"), Path(folder, f"out{ending}"))
                except InputError as error:
                    print(f"{film.name} {ending}: {error}")
                    continue
                after = pictures(made)
                pairs = list(zip(before, after, strict=True))
                same = sum(one[1] == other[1] for one, other in pairs)
                moved_s = max(abs(new - after[0][0] - (old - before[0][0])) for (old, _), (new, _) in pairs)
                off_s = loudest_s(made, 0.3) - after[place][0]
                print(
                    f"{film.name} {ending}: {same} of {len(pairs)} pictures the same, {1000 * moved_s:.1f} ms off; "
                    f"click {1000 * off_s:+.1f} ms from its picture",
                    flush=True,
                )


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
