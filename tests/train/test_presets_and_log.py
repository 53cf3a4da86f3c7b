"""Presets, and the log of a run."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from emsync.errors import InputError, ModelError, OutputError
from emsync.training import train
from emsync.training.objective import rate_at
from emsync.training.train import Preset, Progress, plot_log, read_log


def test_the_presets_say_what_the_paper_says() -> None:
    paper = Preset.read("paper")
    assert (paper.train.batch, paper.train.rate, paper.train.optimizer) == (64, 2e-4, "adam")
    rates = [
        paper.train.rate * rate_at(share, step, paper.train) for share, step in ((0, 0), (0.49, 9), (0.5, 9), (1, 9))
    ]
    assert rates == pytest.approx([2e-4, 2e-4, 5e-5, 5e-5])
    assert (paper.model.context, paper.model.lanes) == (1216 + 2, ("boundary",))
    assert (paper.model.unknown_offsets, paper.train.velocity_weight) == ("positions", 0.0)
    drawn = asdict(paper.crops)
    assert {name for name, x in drawn.items() if isinstance(x, float) and x} == {
        "drop_chord",
        "drop_end",
        "late_end",
        "drop_meter",
        "drop_tempo",
        "drop_copy",
        "drop_mood_lanes",
        "drop_around",
        "drop_lane",
    }  # all but the first concern lanes that it does not have
    for name in train.PRESETS:
        preset = Preset.read(name)
        assert (preset.train.chord_weight, preset.train.clip) == (10.0, 1.0)
        assert (preset.crops.transpose, preset.crops.at_bar) == (3, 0.0 if name == "paper" else 0.5)
        # `small` is what ships: docs/decisions/0014-trained-further-still.md says why it leaves out fewer.
        assert preset.crops.drop_chord == (0.1 if name in ("small", "mood-adapter") else 0.2)
        assert preset.crops.context == (256 if name == "mood-adapter" else preset.model.context)
    adapter = Preset.read("mood-adapter")
    assert adapter.model == replace(Preset.read("small").model, adapter_layers=6)  # beside the model that ships
    assert adapter.train.train_only == "adapter"


def test_a_preset_of_one_s_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        "[model]\nn_layers = 3\ncontext = 128\n[crops]\ncontext = 64\n[train]\nbatch = 5\n", encoding="utf-8"
    )
    preset = Preset.read(path)
    assert (preset.model.n_layers, preset.crops.context, preset.train.batch) == (3, 64, 5)
    path.write_text("")
    assert Preset.read(path).model.width == 512


def test_presets_and_runs_with_the_old_name_of_a_key_are_read() -> None:
    assert Preset.from_dict({"crops": {"drop_metre": 0.25}}).crops.drop_meter == 0.25
    assert Preset.from_dict({}).crops.drop_meter == 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[crops]\ndrop_metre = 0.1\ndrop_meter = 0.2\n", r"\[crops\] has both drop_metre and drop_meter.*remove"),
        ("[modle]\n", r"unknown section \[modle\]; there are \[model\], \[crops\] and \[train\]"),
        ("[model]\nlayers = 3\n", r"unknown key 'layers' in \[model\]; known are .*n_layers"),
        ("[train]\nbatches = 3\n", r"unknown key 'batches' in \[train\]; known are batch,"),
        ("[model]\nn_layers = 'three'\n", "n_layers is 'three'"),
        ("[train]\nbatch = 0\n", "batch is 0; give a whole number of at least 1"),
        ("[train]\nbatch = 2.5\n", r"batch is 2\.5; give a whole number"),
        ("[train]\nbatch = '4'\n", "batch is '4'; give a whole number"),
        ("[train]\nrate = 0.0\n", r"rate is 0\.0; it must be above 0"),
        ("[train]\nrate = inf\n", "rate is inf; it must be above 0, and finite"),
        ("[train]\nmatrix_rate = nan\n", "matrix_rate is nan"),
        ("[train]\nclip = -1.0\n", r"clip is -1\.0"),
        ("[train]\nrate = 'fast'\n", r"\[train\] has a value of the wrong kind"),
        ("[train]\nvelocity_weight = -0.5\n", r"velocity_weight is -0\.5; it must be 0 or more"),
        ("[train]\nlate_from = 0.0\n", r"late_from is 0\.0; a share is above 0"),
        ("[model]\nunknown_offsets = 'positions'\n", "goes with relative attention and the boundary lane alone"),
        ("[train]\ndecay = 1.5\n", r"decay is 1\.5; a share is between 0 and 1"),
        ("[train]\nwarmup_steps = -1\n", "warmup_steps is -1"),
        ("[train]\noptimizer = 'sgd'\n", "optimizer is 'sgd'; choose muon or adam"),
        ("[crops]\nat_bar = 2.0\n", r"at_bar is 2\.0; a share is between 0 and 1"),
        ("[model]\ncontext = 64\n[crops]\ncontext = 65\n", "crops of 65 do not fit the model's context of 64"),
        ("[model\n", "is not TOML .*; correct it, or start from a preset"),
    ],
)
def test_refuses_a_preset(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises((InputError, ModelError), match=message):
        Preset.read(path)


def test_refuses_an_unknown_preset(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"huge is neither a preset \(paper, base, small, tiny, mood-adapter\) nor a TOML file"
    ):
        Preset.read("huge")
    (tmp_path / "music.mid").write_bytes(b"MThd\xff\xfe")
    with pytest.raises(InputError, match=r"music\.mid is not TOML"):
        Preset.read(tmp_path / "music.mid")


def write_log(folder: Path, steps: list[int], tail: str = "") -> None:
    lines = [
        json.dumps(asdict(Progress(step=s, tokens=s * 100, loss=9 - s / 10, valid={"bits_per_event": 8.0})))
        for s in steps
    ]
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n" + tail)


def test_the_log_plots(tmp_path: Path) -> None:
    write_log(tmp_path, list(range(1, 9)))
    plot_log(tmp_path, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert sorted(os.listdir(tmp_path)) == ["log.jsonl", "loss.png"]


def test_what_a_resumed_run_did_again_replaces_what_it_did_before(tmp_path: Path) -> None:
    write_log(tmp_path, [1, 3, 5, 7, 4, 6], tail='{"step": 8, "tok')
    assert [report["step"] for report in read_log(tmp_path)] == [1, 3, 4, 6]


def test_refuses_to_plot_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"log\.jsonl cannot be read .*; give the folder of a training run"):
        plot_log(tmp_path, tmp_path / "loss.png")
    write_log(tmp_path, [])
    with pytest.raises(InputError, match="holds no report yet"):
        plot_log(tmp_path, tmp_path / "loss.png")
    write_log(tmp_path, [1])
    with pytest.raises(OutputError, match="is not a folder"):
        plot_log(tmp_path, tmp_path / "nowhere" / "loss.png")
    assert os.listdir(tmp_path) == ["log.jsonl"]
