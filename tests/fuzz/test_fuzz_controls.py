"""Fuzzing of the readers of controls, anchors and critics."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest

from emsync import checkpoint, critic
from emsync.anchor import Anchor
from emsync.control_files import read_controls
from tests.fuzz.harness import Target, fuzz
from tests.fuzz.test_fuzz_corpus import in_file


def controls() -> list[bytes]:
    drawn = {
        "intensity": {"times_s": [0, 4, 8], "values": [-20, None, 3.5], "strength": 0.5, "easing": "in-out"},
        "key": {"times_s": [0, 6], "values": ["D minor", None]},
        "melody": {"times_s": [0, 1, 2], "values": ["C", "rest", "G"]},
    }
    return [
        json.dumps({"controls": drawn}).encode(),
        json.dumps({"density": {"times_s": [0, 9], "values": [2, 30.5]}}).encode(),
    ]


def tables() -> list[bytes]:
    return [b"time_s,intensity,density\n0,-20,4\n2.5,,12\n8,3,\n", b"time_s;density\n00:00:01.5;4,5\n00:00:04;9\n"]


def anchors() -> list[bytes]:
    return [json.dumps({"genre": "film score", "instruments": "strings", "pacing": "slow"}).encode()]


def critics() -> list[bytes]:
    return [(checkpoint.embedded_folder() / critic.CRITIC).read_bytes()]


def read_critic(path: Path) -> object:
    with mock.patch("emsync.critic.weights_hash", return_value=KNOWN):  # beside weights that fit
        return critic.Critic.read(path.parent)


KNOWN = json.loads(critics()[0])["weights_sha256"]
TARGETS = [
    Target("controls", controls, in_file("c.json", read_controls)),
    Target("control tables", tables, in_file("c.csv", read_controls)),
    Target("anchors", anchors, in_file("a.json", Anchor.read)),
    Target("critics", critics, in_file(critic.CRITIC, read_critic)),
]


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_fuzz(target: Target) -> None:
    counts = fuzz(target, inputs=150)
    assert counts.read > 2
