"""What a GPU's run is made of, on a CPU: crops from processes, utilisation, samples."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emsync.model import EventTransformer
from emsync.score import Bars, Instrument, Score, TempoMap
from emsync.training import samples, train
from emsync.training.batches import from_processes, prefetch, tensors
from emsync.training.crops import Crops
from emsync.training.dataset import Dataset
from emsync.training.presets import Preset
from emsync.training.utilisation import flops_per_event, peak_by_name, peak_tflops
from tests.models import CONFIGS, model_folder, random_model, toy_archive, toy_preset


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same precision for every run, whatever a trial of the machine's speed would say."""
    monkeypatch.setattr(train, "bf16_pays", lambda device: False)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Dataset.of(dict(toy_archive(3).arrays))


def options(**choices: Any) -> train.RunOptions:
    return train.RunOptions(compile_model=False, device="cpu", **choices)


# Batches


def test_processes_draw_the_batches_that_a_thread_draws(data: Dataset) -> None:
    crops = Crops(data, toy_preset().crops, seed=1)

    def make(step: int) -> Any:
        return crops.batch(step, 2)

    drawn, threaded = from_processes(make, 5, 1), prefetch(make, 5)
    for _ in range(6):
        batch, expected = tensors(next(drawn), "cpu"), tensors(next(threaded), "cpu")
        assert batch.keys() == expected.keys() == {name for name, x in asdict(make(5)).items() if x is not None}
        assert all(torch.equal(batch[name].nan_to_num(-9), expected[name].nan_to_num(-9)) for name in batch)
    drawn.close()
    threaded.close()


def test_an_error_in_a_process_reaches_the_training() -> None:
    def make(step: int) -> Any:
        raise ValueError(f"no crop {step}")

    with pytest.raises(ValueError, match="no crop 4"):
        next(from_processes(make, 4, 1))


@pytest.mark.slow
@pytest.mark.trains
def test_a_run_fed_by_a_process_is_the_run_fed_by_a_thread(data: Dataset, tmp_path: Path) -> None:
    ended = [
        train.fit(
            toy_preset(),
            data,
            None,
            tmp_path / str(n),
            options(steps=3, processes=n),
        ).loss
        for n in (0, 1)
    ]
    assert ended[0] == ended[1]


# Utilisation


@pytest.mark.slow
def test_flops_are_counted_as_palm_counts_them() -> None:
    paper = Preset.read("paper").model
    with torch.device("meta"):
        model = EventTransformer(paper)
    n = 11 * 12 * 512**2 + 512 * (paper.vocabulary_size + 16)  # the blocks' matrices and the two heads
    n += (2 + 1) * 64 + 2 * 64 * 512 + 64 * 256  # the small networks of mood and of the boundary lane
    assert flops_per_event(model, 1216) == pytest.approx(6 * n + 11 * 18 * 512 * 1216, rel=1e-3)


def test_local_layers_are_counted_as_local_and_tied_tables_as_multiplied() -> None:
    local, tied = CONFIGS["local"], CONFIGS["rotary"]
    every = replace(local, local_block=0)
    saved = flops_per_event(random_model(every), 48) - flops_per_event(random_model(local), 48)
    assert saved == 2 * 12 * local.width * (48 - 2 * local.local_block)  # two of three layers are local
    assert flops_per_event(random_model(tied), 48) == flops_per_event(random_model(replace(tied, tied=False)), 48)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.0), ("NVIDIA H100 PCIe", 756.0), ("NVIDIA H200", 989.0),
        ("NVIDIA A100-SXM4-80GB", 312.0), ("NVIDIA GeForce GTX 1080", None),
    ],
)  # fmt: skip
def test_peaks_are_known_by_name(name: str, peak: float | None) -> None:
    assert peak_by_name(name) == peak
    assert peak_tflops(torch.device("cpu")) is None


@pytest.mark.slow
@pytest.mark.trains
def test_the_share_of_the_peak_is_logged_where_the_peak_is_known(data: Dataset, tmp_path: Path) -> None:
    def ended(name: str, **choices: Any) -> train.Progress:
        return train.fit(
            toy_preset(),
            data,
            None,
            tmp_path / name,
            options(steps=2, **choices),
        )

    assert ended("unknown").mfu is None
    known = ended("known", peak_tflops=2.0)
    flops = flops_per_event(EventTransformer(toy_preset().model), toy_preset().crops.context)
    assert known.mfu == pytest.approx(known.tokens_per_s * flops / 2e12)
    assert train.read_log(tmp_path / "known")[-1]["mfu"] == known.mfu
    assert 0 <= known.waited <= 1


# Samples


def test_a_sample_s_numbers() -> None:
    """Two bars of two seconds: three piano notes, of which one off the grid, and a drum."""
    score = Score(
        [Instrument("Piano", 0, False), Instrument("Drums", 0, True)],
        instrument=[0, 0, 0, 1],
        pitch=[60, 64, 67, 36],
        velocity=[80, 80, 80, 80],
        start_s=[0.0, 0.625, 2.05, 2.5],
        end_s=[1.0, 1.125, 2.55, 2.6],
        tempo=TempoMap.constant(120.0),
        bars=Bars([0.0, 2.0], [4, 4], [4, 4]),
    )
    found = samples.statistics(score, 4.0)
    assert found == pytest.approx({"notes_per_s": 1.0, "polyphony": 0.5, "on_grid": 0.75})
    alone = replace_bars(score)
    assert set(samples.statistics(alone, 4.0)) == {"notes_per_s", "polyphony"}


def replace_bars(score: Score) -> Score:
    return Score(
        score.instruments, score.instrument, score.pitch, score.velocity, score.start_s, score.end_s, score.tempo,
        Bars([0.0], [4], [4]),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.trains
def test_a_model_is_sampled_and_its_numbers_reach_the_log(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = samples.sample_statistics(model_folder(tmp_path / "model"), seed=1, length_s=1.0)
    assert {"notes_per_s", "polyphony"} <= set(found)
    assert all(np.isfinite(value) and value >= 0 for value in found.values())
    sampled: list[Path] = []

    def sample(folder: Path, *, seed: int) -> dict[str, float]:
        sampled.append(folder)
        return {"notes_per_s": float(seed)}

    monkeypatch.setattr(samples, "sample_statistics", sample)
    out = tmp_path / "run"
    ended = train.fit(toy_preset(saves=2), data, None, out, options(steps=4, samples=True))
    assert sampled == [out / "model"] * 2
    assert ended.sample == {"notes_per_s": 4.0}
    train.fit(toy_preset(), data, None, tmp_path / "plain", options(steps=2))
    assert len(sampled) == 2  # not on a CPU, unless asked for
