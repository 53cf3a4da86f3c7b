"""Features of a film by several models, second by second: picture, faces, sound, speech, text on screen.

    senses = Senses.open(Models(image="openai/clip-vit-base-patch32", sound="MIT/ast-finetuned-audioset-10-10-0.4593"))
    features = senses.look("film.mp4")

After EMSYNC, Section III-A1: speech recognition, text on screen, expressions of faces, classes of sound, and what a
picture is about, each by a pretrained model; words go on to a classifier of sentiment. Features are what a model has in
its last layer, averaged over its places; those of pictures are CLIP's. A model that is not named is left out, and so is
a moment without what it needs: a face, sound above silence, or words.

- image: the frame at each moment.
- face: the largest face that the detector finds in it.
- sound: three seconds around the moment.
- speech: the words of ten seconds, from the subtitles beside the film (NAME.srt), or transcribed by a model.
- text: the text on screen, from NAME.text.srt beside the film, as programs for reading text from pictures write it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import vision
from emsync.affect_clip import BATCH, DEFAULT_MODEL, SHORTEST_PX, Clip
from emsync.errors import InputError, ModelError
from emsync.files import read_limited
from emsync.vision import Features, Floats, Picture, Progress

Samples = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

MODALITIES: Final = ("image", "face", "sound", "speech", "text")
#: Subtitles beside a film, by modality: the words of speech, and those on screen.
SUBTITLES: Final = {"speech": ".srt", "text": ".text.srt"}
#: Pictures are scaled to this while decoding if faces are looked for.
FACES_PX: Final = 720
#: A face is one that the detector is this sure of.
SURE: Final = 0.5
#: A second below this level is silent.
SILENT_DB: Final = -60.0
#: Sound is classified in pieces of this many seconds; speech is transcribed in pieces of `SPEECH_S`.
SOUND_S: Final = 3
SPEECH_S: Final = 10
#: A file of subtitles has at most this many bytes.
MAX_SUBTITLES: Final = 1 << 23
_CUE: Final = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})\s*-->\s*(\d+):(\d\d):(\d\d)[,.](\d{1,3})")


@dataclass(frozen=True)
class Models:
    """The models, each a folder or a name on the hub; None leaves its modality out.

    Attributes:
        image: CLIP.
        face: A classifier of faces' expressions. It needs `detector`.
        detector: A detector of objects with a class of faces.
        sound: A classifier of sounds.
        hearing: A recogniser of speech with a CTC head. Films with subtitles do not need it.
        words: A classifier of sentiment, for speech and for text.

    """

    image: str | None = DEFAULT_MODEL
    face: str | None = None
    detector: str | None = None
    sound: str | None = None
    hearing: str | None = None
    words: str | None = None

    def __post_init__(self) -> None:
        if (self.face is None) != (self.detector is None):
            raise InputError("faces need a model that finds them and one that reads them; give both, or neither")
        if self.hearing is not None and self.words is None:
            raise InputError("what is said needs a model that reads words; give one, or leave out the one that hears")
        if not any((self.image, self.face, self.sound, self.words)):
            raise InputError("no model is given, so nothing of the film can be seen; give one")

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities they give features for, in the order of `MODALITIES`."""
        given = {"image": self.image, "face": self.face, "sound": self.sound, "speech": self.words, "text": self.words}
        return tuple(name for name in MODALITIES if given[name])

    def to_dict(self) -> dict[str, str]:
        """The models that are given, by attribute; folders as absolute paths, so that they are found from anywhere."""
        return {k: str(Path(m).resolve()) if Path(m).is_dir() else m for k, m in asdict(self).items() if m is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, str]) -> Models:
        """The models in what `to_dict` gives. Raises `ModelError` for anything else."""
        try:
            return cls(**{"image": None, **values})
        except (InputError, TypeError) as error:
            raise ModelError(f"its models cannot be read ({error}); train it again") from error


@dataclass(frozen=True, eq=False)
class FilmFeatures:
    """Features of a film's M moments.

    times_s: (M,). rows: (M, D) by modality, zero where not known. known: (M,) by modality.
    """

    times_s: Floats
    rows: Mapping[str, Features]
    known: Mapping[str, BoolArray]

    def __post_init__(self) -> None:
        n = len(self.times_s)
        for name, row in self.rows.items():
            if row.ndim != 2 or len(row) != n or self.known[name].shape != (n,):
                raise ModelError(f"features of {name} of the shape {row.shape} do not fit {n} moments; read them again")
            if not np.isfinite(row).all():
                raise ModelError(f"the model for {name} gave numbers that are not finite; choose another")

    def only(self, *names: str) -> FilmFeatures:
        """The features of some modalities only."""
        return FilmFeatures(self.times_s, {n: self.rows[n] for n in names}, {n: self.known[n] for n in names})


# ---- sound and words ------------------------------------------------------------------------------------------------


def seconds_of_sound(video: str | os.PathLike[str], rate_hz: int) -> Iterator[Samples]:
    """The film's sound from its first frame on, mono, a second at a time, the last one filled up with silence."""
    import av

    from emsync.mix import film_sound
    from emsync.sidechain import RATE_HZ

    with av.open(f"file:{Path(video)}", container_options={"protocol_whitelist": "file"}) as container:
        picture = container.streams.best("video")
        first_s = 0.0 if picture is None else float((picture.start_time or 0) * (picture.time_base or 0))
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
        waiting = np.zeros(0, dtype=np.float32)
        for block in film_sound(container, first_s):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(block.mean(axis=1, dtype=np.float32)[None]), format="flt", layout="mono"
            )
            frame.sample_rate = RATE_HZ
            waiting = np.concatenate([waiting, *(part.to_ndarray().ravel() for part in resampler.resample(frame))])
            while len(waiting) >= rate_hz:
                yield waiting[:rate_hz]
                waiting = waiting[rate_hz:]
        waiting = np.concatenate([waiting, *(part.to_ndarray().ravel() for part in resampler.resample(None))])
        if len(waiting):
            yield np.pad(waiting, (0, max(rate_hz - len(waiting), 0)))[:rate_hz].astype(np.float32)


def is_silent(sound: Samples) -> bool:
    """Whether sound is below `SILENT_DB`."""
    return not len(sound) or 10 * float(np.log10(np.mean(np.square(sound, dtype=np.float64)) + 1e-12)) < SILENT_DB


def subtitles(path: Path) -> list[tuple[float, float, str]]:
    """(start, end, words) of each cue of an SRT file, in seconds. Raises `InputError` for a file without any."""
    try:
        text = read_limited(path, MAX_SUBTITLES, "file of subtitles").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text; save the subtitles as UTF-8") from error
    found = []
    for part in re.split(r"\r?\n\s*\r?\n", text):
        cue = _CUE.search(part)
        if cue is not None:
            h, m, s, ms, *end = (int(each) for each in cue.groups())
            words = re.sub(r"(?:<[^>]*>|\s)+", " ", part[cue.end() :]).strip()
            stop = end[0] * 3600 + end[1] * 60 + end[2] + end[3] / 1000
            found.append((h * 3600 + m * 60 + s + ms / 1000, stop, words))
    if not found:
        raise InputError(f"{path} has no subtitles (00:00:01,000 --> 00:00:03,000); give an SRT file, or remove it")
    return found


def words_at(cues: list[tuple[float, float, str]], times_s: Floats) -> list[str]:
    """The words of the cues that lie within half of `SPEECH_S` of each moment, in their order."""
    half = SPEECH_S / 2
    return [" ".join(w for a, b, w in cues if w and a <= t + half and b >= t - half) for t in times_s.tolist()]


# ---- the models -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Model:
    """A loaded model of transformers."""

    name: str
    processor: Any
    network: Any
    device: Any

    @classmethod
    def load(cls, name: str, auto_class: str, processor_class: str) -> _Model:
        return cls(name, *vision.load(name, auto_class, processor_class=processor_class))

    def last_layer(self, inputs: Mapping[str, Any]) -> Features:
        """(n, D) The last hidden states, averaged over their places, those of padding left out."""
        import torch

        with torch.inference_mode():
            given = {key: value.to(self.device) for key, value in inputs.items()}
            states = self.network(**given, output_hidden_states=True).hidden_states[-1].float()
            if states.ndim == 4:  # channels, height, width
                states = states.flatten(2).transpose(1, 2)
            mask = given.get("attention_mask")
            if mask is not None and mask.shape == states.shape[:2]:
                weight = mask[..., None].to(states.dtype)
                return np.asarray(((states * weight).sum(1) / weight.sum(1).clamp_min(1)).cpu().numpy(), np.float32)
            return np.asarray(states.mean(dim=1).cpu().numpy(), dtype=np.float32)

    @property
    def rate_hz(self) -> int:
        """The rate of the sound that it takes."""
        extractor = getattr(self.processor, "feature_extractor", self.processor)
        rate = getattr(extractor, "sampling_rate", None)
        if not isinstance(rate, int):
            raise ModelError(f"{self.name!r} does not take sound; give a model for sounds")
        return rate


class Senses:
    """Loaded models that look at films. Raises `ModelError` for a model that cannot be loaded or does not fit."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.clip = None if models.image is None else Clip.load(models.image)
        load = {
            "face": ("AutoModelForImageClassification", "AutoImageProcessor"),
            "detector": ("AutoModelForObjectDetection", "AutoImageProcessor"),
            "sound": ("AutoModelForAudioClassification", "AutoFeatureExtractor"),
            "hearing": ("AutoModelForCTC", "AutoProcessor"),
            "words": ("AutoModelForSequenceClassification", "AutoTokenizer"),
        }
        given = asdict(models)
        self._model = {part: _Model.load(given[part], *kind) for part, kind in load.items() if given[part] is not None}
        if "detector" in self._model:
            self._faces = self._face_classes(self._model["detector"])
        for part in ("sound", "hearing"):
            if part in self._model:
                _ = self._model[part].rate_hz  # said now, and not after the film

    @staticmethod
    def _face_classes(detector: _Model) -> set[int]:
        names = {int(k): str(name).lower() for k, name in detector.network.config.id2label.items()}
        faces = {k for k, name in names.items() if "face" in name} or (set(names) if len(names) == 1 else set())
        if not faces:
            raise ModelError(f"{detector.name!r} has no class of faces; give a detector that finds faces")
        return faces

    @property
    def modalities(self) -> tuple[str, ...]:
        """What features are of."""
        return self.models.modalities

    def look(self, video: str | os.PathLike[str], progress: Progress | None = None) -> FilmFeatures:
        """The features of a film. Raises `VideoError` for a file that cannot be decoded, `InputError` for subtitles."""
        path = Path(video)
        said = {name: self._subtitles(path, name) for name in self.modalities if name in SUBTITLES}
        times: list[float] = []
        found: dict[str, dict[int, Features]] = {name: {} for name in self.modalities}
        waiting: list[Picture] = []

        def see() -> None:
            if self.clip is not None and waiting:
                first = len(found["image"])
                found["image"].update(enumerate(self.clip.of_pictures(waiting), start=first))
            waiting.clear()

        shortest_px = FACES_PX if "face" in self._model else SHORTEST_PX
        for number, (time_s, picture) in enumerate(vision.pictures(path, shortest_px=shortest_px)):
            times.append(time_s)
            waiting.append(picture)
            if len(waiting) == BATCH:
                see()
            if "face" in self._model and (face := self._largest_face(picture)) is not None:
                found["face"][number] = self._seen(face)
        see()
        times_s = np.array(times)
        if progress is not None:
            progress(0.5)
        if "sound" in self._model:
            found["sound"] = self._sound_features(path, len(times))
        if said.get("speech") is None and "hearing" in self._model:
            said["speech"] = self._spoken(path)
        for name, cues in said.items():
            if cues is not None:
                found[name] = self._read(words_at(cues, times_s))
        if progress is not None:
            progress(1.0)
        return self._features(times_s, found)

    def _features(self, times_s: Floats, found: Mapping[str, Mapping[int, Features]]) -> FilmFeatures:
        """Features from rows by moment. A modality without any is left out."""
        rows, known = {}, {}
        for name, by_moment in found.items():
            if not by_moment:
                continue
            rows[name] = np.zeros((len(times_s), len(next(iter(by_moment.values())))), dtype=np.float32)
            known[name] = np.zeros(len(times_s), dtype=bool)
            for number, row in by_moment.items():
                rows[name][number], known[name][number] = row, True
        return FilmFeatures(times_s, rows, known)

    def _seen(self, face: Picture) -> Features:
        model = self._model["face"]
        with vision.quietly():
            inputs = model.processor(images=[face], return_tensors="pt")
        return np.asarray(model.last_layer({"pixel_values": inputs["pixel_values"]})[0])

    def _largest_face(self, picture: Picture) -> Picture | None:
        import torch

        model = self._model["detector"]
        height, width = picture.shape[:2]
        with vision.quietly(), torch.inference_mode():
            inputs = model.processor(images=[picture], return_tensors="pt")
            outputs = model.network(**{key: value.to(model.device) for key, value in inputs.items()})
            found = model.processor.post_process_object_detection(
                outputs, threshold=SURE, target_sizes=[(height, width)]
            )[0]
        best: Picture | None = None
        for box, label in zip(found["boxes"].tolist(), found["labels"].tolist(), strict=True):
            left, top, right, bottom = (round(each) for each in box)
            part = picture[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
            if label in self._faces and part.size and (best is None or part.size > best.size):
                best = part
        return best

    def _sound_features(self, path: Path, moments: int) -> dict[int, Features]:
        """Features of the sound around each moment that is not silent."""
        model = self._model["sound"]
        found: dict[int, Features] = {}
        blocks = seconds_of_sound(path, model.rate_hz)
        silence = np.zeros(model.rate_hz, dtype=np.float32)
        recent = [silence] * SOUND_S  # the moment's own second is in the middle
        for number in range(-(SOUND_S // 2), moments):
            recent = [*recent[1:], next(blocks, silence)]
            if number >= 0 and not is_silent(recent[SOUND_S // 2]):
                with vision.quietly():
                    inputs = model.processor(np.concatenate(recent), sampling_rate=model.rate_hz, return_tensors="pt")
                found[number] = model.last_layer(inputs)[0]
        return found

    def _spoken(self, path: Path) -> list[tuple[float, float, str]]:
        """What is said in each `SPEECH_S` seconds, as cues."""
        import torch

        model = self._model["hearing"]
        cues: list[tuple[float, float, str]] = []
        blocks = seconds_of_sound(path, model.rate_hz)
        while part := [block for _, block in zip(range(SPEECH_S), blocks, strict=False)]:
            at_s = float(SPEECH_S * len(cues))
            sound = np.concatenate(part)
            words = ""
            if not is_silent(sound):
                with vision.quietly(), torch.inference_mode():
                    inputs = model.processor(sound, sampling_rate=model.rate_hz, return_tensors="pt")
                    logits = model.network(inputs["input_values"].to(model.device)).logits
                    words = model.processor.batch_decode(logits.argmax(dim=-1))[0].strip().lower()
            cues.append((at_s, at_s + len(part), words))
        return cues

    def _read(self, texts: list[str]) -> dict[int, Features]:
        """Features of words; equal ones are read once."""
        model = self._model["words"]
        kept: dict[str, Features] = {}
        for text in texts:
            if text and text not in kept:
                with vision.quietly():
                    inputs = model.processor(text, return_tensors="pt", truncation=True)
                kept[text] = model.last_layer(inputs)[0]
        return {number: kept[text] for number, text in enumerate(texts) if text}

    def _subtitles(self, path: Path, name: str) -> list[tuple[float, float, str]] | None:
        beside = path.with_name(path.stem + SUBTITLES[name])
        return subtitles(beside) if beside.is_file() else None
