"""The global anchor of a film by a vision-language model (NarraScore, Section 3.4).

    anchor = anchor_of_film("film.mp4", "HuggingFaceTB/SmolVLM2-500M-Video-Instruct")

The model sees frames from the whole film, each after its time, and an instruction that asks for sound, not for sights,
in four lines: genre, instruments, atmosphere, pacing. Any image-text model of transformers can be used. The likeliest
words are taken, so the same model writes the same anchor.
"""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from emsync import vision
from emsync.anchor import LONGEST, Anchor
from emsync.errors import ModelError
from emsync.vision import Picture

#: Our wording; the paper gives the four dimensions and the purpose.
INSTRUCTION: Final = (
    "These are frames of one film in order. Imagine the music that carries the whole film. Do not name objects, "
    "people, places or camera work; describe only sound. Answer in four short lines that begin with Genre:, "
    "Instruments:, Atmosphere: and Pacing:."
)
#: So many frames are shown, evenly spread over the film.
FRAMES: Final = 16
SHORTEST_PX: Final = 256
LONGEST_ANSWER: Final = 160


def anchor_of_film(video: str | os.PathLike[str], model: str, *, frames: int = FRAMES) -> Anchor:
    """The anchor that a model writes for a film.

    Raises `VideoError` for a film that cannot be decoded, and `ModelError` for a model that cannot be loaded or that
    does not answer in these lines.
    """
    processor, network, device = vision.load(model, "AutoModelForImageTextToText", dtype="auto")
    shown = key_frames(video, frames)
    import torch

    with vision.quietly(), torch.inference_mode():
        inputs = processor(
            text=[_prompt(processor, [time_s for time_s, _ in shown])],
            images=[picture for _, picture in shown],
            return_tensors="pt",
        ).to(device, network.dtype)
        made = network.generate(**inputs, max_new_tokens=LONGEST_ANSWER, do_sample=False)
        answer = processor.batch_decode(made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]
    return parsed(answer, model)


def key_frames(video: str | os.PathLike[str], n: int) -> list[tuple[float, Picture]]:
    """At most `n` frames of a film with their times, evenly spread; twice as many at most are in memory."""
    held: list[tuple[float, Picture]] = []
    every = 1
    for number, moment in enumerate(vision.pictures(video, shortest_px=SHORTEST_PX)):
        if number % every == 0:
            held.append(moment)
        if len(held) == 2 * n:
            held, every = held[::2], every * 2
    if len(held) <= n:
        return held
    return [held[round(i * (len(held) - 1) / max(n - 1, 1))] for i in range(n)]


def _prompt(processor: Any, times_s: list[float]) -> str:
    times = [f"Time: {int(time_s)}s" for time_s in times_s]
    if getattr(processor, "chat_template", None):
        content: list[dict[str, str]] = []
        for time in times:
            content += [{"type": "text", "text": time}, {"type": "image"}]
        content.append({"type": "text", "text": INSTRUCTION})
        messages = [{"role": "user", "content": content}]
        return str(processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    mark = getattr(processor, "image_token", "<image>")
    return "\n".join([*(f"{time} {mark}" for time in times), INSTRUCTION])


def parsed(answer: str, model: str) -> Anchor:
    """The anchor of an answer. Raises `ModelError` if it has fewer than three of the four lines."""
    lines: dict[str, str] = {}
    for item in fields(Anchor):
        found = re.search(rf"(?im)^\W*{item.name}\b[^:\n]*:\W*(\S[^\n]*)", answer)
        if found:
            lines[item.name] = found.group(1).strip(" *.")[:LONGEST]
    if len(lines) < 3:
        raise ModelError(
            f"the model {Path(model).name!r} does not answer in the lines that were asked for; choose a larger one, or "
            "write the anchor by hand"
        )
    return Anchor(**lines)
