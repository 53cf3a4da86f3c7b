"""Rendering and muxing: times real time, and the most memory, for pieces of several lengths.

    python benchmarks/bench_audio.py [MINUTES ...]      # default: 1 10

Each measurement is a process of its own, so that its memory is that of one job. The song has five instruments and ten
notes a second; the film is small, so that it is the sound that costs. Speeds are by the processor's time, so that a
busy machine does not change them.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

RATE_HZ = 48_000
JOBS = ("render", "render, LUFS", "render, stems", "mux", "mux, under the film's sound")


def write_song(path: Path, minutes: float) -> None:
    from emsync import midi
    from emsync.score import Bars, Instrument, Score, TempoMap

    names = (
        ("Drums", 0, True),
        ("Piano", 0, False),
        ("Guitar", 25, False),
        ("Bass", 33, False),
        ("Strings", 48, False),
    )
    n = round(minutes * 600)
    start_s = np.arange(n) / 10
    random = np.random.default_rng(0)
    score = Score(
        tuple(Instrument(*name) for name in names), np.arange(n) % 5, random.integers(36, 72, n),
        random.integers(50, 110, n), start_s, start_s + 0.8, TempoMap.constant(120), Bars([0.0], [4], [4]),
    )  # fmt: skip
    midi.write(score, path)


def write_film(path: Path, minutes: float) -> None:
    """A film of one picture a second, with a tone that comes and goes every two seconds."""
    import av

    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        audio: Any = out.add_stream("aac", rate=RATE_HZ, layout="stereo")
        picture = np.full((48, 64, 3), 90, np.uint8)
        at = np.arange(RATE_HZ) / RATE_HZ
        for second in range(round(minutes * 60)):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = second, Fraction(1)
            out.mux(stream.encode(frame))
            tone = (0.3 * np.sin(2 * np.pi * 300 * at) * (second // 2 % 2)).astype(np.float32)
            piece = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
            piece.sample_rate, piece.time_base, piece.pts = RATE_HZ, Fraction(1, RATE_HZ), second * RATE_HZ
            out.mux(audio.encode(piece))
        out.mux(stream.encode(None))
        out.mux(audio.encode(None))


def do(job: str, folder: Path) -> None:
    """Do one job and print its seconds and its most memory as JSON."""
    from emsync.audio import render
    from emsync.ducking import Ducking
    from emsync.mux import mux

    song, film, wav = folder / "song.mid", folder / "film.mkv", folder / "song.wav"
    begun = time.process_time()
    if job.startswith("render"):
        lufs = -16.0 if "LUFS" in job else None
        render(song, wav, stems="stems" in job, loudness_lufs=lufs, overwrite=True)
    else:
        under = Ducking(voice="level") if "under" in job else None
        mux(film, wav, folder / "out.mkv", under=under, overwrite=True)
    spent = time.process_time() - begun
    print(json.dumps([spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def main() -> None:
    if sys.argv[1:2] == ["--job"]:
        do(sys.argv[2], Path(sys.argv[3]))
        return
    lengths = [float(word) for word in sys.argv[1:]] or [1.0, 10.0]
    rows: dict[str, list[str]] = {job: [] for job in JOBS}
    for minutes in lengths:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_song(folder / "song.mid", minutes)
            write_film(folder / "film.mkv", minutes)
            for job in JOBS:
                done = subprocess.run(
                    [sys.executable, __file__, "--job", job, name], check=True, capture_output=True, text=True
                )
                spent, memory = json.loads(done.stdout.splitlines()[-1])
                rows[job] += [f"{minutes * 60 / spent:.0f} ×", f"{memory:.0f} MB"]
    head = [f"{minutes:g} min: {what}" for minutes in lengths for what in ("speed", "memory")]
    print("| job | " + " | ".join(head) + " |\n|" + "---|" * (len(head) + 1))
    for job, cells in rows.items():
        print(f"| {job} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
