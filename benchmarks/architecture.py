"""Changes of the network that are grafted onto trained weights, on equal steps: the table of decision 45.

    python benchmarks/architecture.py RUN/data RUN/valid [--model DIR] [--steps 160] [--crops 48] [--seeds 1] \
        [--only NAME ...] -o FOLDER

The first two are the folders of songs that a training run makes (`emsync train -o RUN`). Every arm continues from the
same weights, with the same crops in the same order; its rates fall linearly to 0. What an arm adds gives zero at first.
Bits per note of fixed validation crops, and the time of a step in units of the base's. The results are kept in
FOLDER/results.json: an arm that is there is not run again.

The arms are those of the modded-nanogpt records (https://github.com/KellerJordan/modded-nanogpt) that fit a network of
this size: value embeddings, skips from the embedding and between layers, a soft cap on logits, several events predicted
at once, cautious weight decay, and weights held at one rate and averaged.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emsync import checkpoint
from emsync.attention import block_attention
from emsync.model import EventTransformer
from emsync.training import objective
from emsync.training.crops import Crops
from emsync.training.dataset import Dataset
from emsync.training.evaluation.report_page import table
from emsync.training.presets import Preset
from emsync.training.run_folder import Progress
from emsync.training.run_options import RunOptions
from emsync.training.train import VALID_SEED, Run, validate

#: Parameters of tables and gates are stored in these units, so that AdamW at the rate of the rest moves them enough.
UNIT: Final = 16.0


@dataclass(frozen=True)
class Arm:
    """What an arm changes.

    - values: the layers with a table of value embeddings ("all", "ends": the first two and the last two).
    - skips: the embedded event is added before every layer, and what leaves the first half enters the second, mirrored.
    - cap: logits become cap tanh(logits / cap); 0 for none.
    - ahead: the weight of predicting the event after the next one, which falls to 0 at two thirds of the run.
    - decay: Muon's weight decay. cautious: only where it has the update's sign.
    - averaged: rates stay, and the weights of the last half are averaged.
    """

    name: str
    values: str = ""
    skips: bool = False
    cap: float = 0.0
    ahead: float = 0.0
    decay: float = 0.01
    cautious: bool = False
    averaged: bool = False


ARMS: Final = (
    Arm("base"),
    Arm("value embeddings, all layers", values="all"),
    Arm("value embeddings, four layers", values="ends"),
    Arm("skips from the embedding and between layers", skips=True),
    Arm("skips and soft cap 30", skips=True, cap=30.0),
    Arm("two events at once", ahead=0.5),
    Arm("weight decay 0.3", decay=0.3),
    Arm("cautious weight decay 0.3", decay=0.3, cautious=True),
    Arm("held rate, averaged weights", averaged=True),
)


class Grown(EventTransformer):
    """The network with an arm's additions."""

    def __init__(self, whole: EventTransformer, arm: Arm) -> None:
        super().__init__(whole.config)
        self.load_state_dict(whole.state_dict())
        c, n = self.config, self.config.n_layers
        chosen = {"": (), "all": tuple(range(n)), "ends": tuple(sorted({0, 1, n - 2, n - 1}))}[arm.values]
        self.arm, self.valued = arm, chosen
        self.value_tables = nn.ModuleList(nn.Embedding(c.vocabulary_size, c.width) for _ in chosen)
        for each in self.value_tables:
            nn.init.zeros_(each.weight)
        self.from_embedding = nn.Parameter(torch.zeros(n, c.width)) if arm.skips else None
        self.across = nn.Parameter(torch.zeros(n // 2, c.width)) if arm.skips else None

    def _attended(self, layer: int, x: Tensor, positions: Tensor, ids: Tensor) -> Tensor:
        attention = self.blocks[layer].attention
        if layer not in self.valued:
            return attention(x, positions)
        c = self.config
        q, k, value = attention.project(x, positions)
        added = UNIT * self.value_tables[self.valued.index(layer)](ids)  # (B, T, width)
        value = value + added.to(x.dtype).view(*x.shape[:2], c.n_heads, c.head_width).transpose(1, 2)
        if attention.local:
            return attention.merge(block_attention(q, k, value, c.local_block))
        return attention.merge(F.scaled_dot_product_attention(q, k, value, is_causal=True))

    def with_states(
        self, ids: Tensor, velocities: Tensor, lanes: Tensor, mood: Tensor, around: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `EventTransformer.with_states`."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        x, _ = self.embed(ids, velocities, lanes, mood, positions)
        first, kept, n = x, [], self.config.n_layers
        known = ids.clamp(max=self.config.vocabulary_size - 1)
        for layer, block in enumerate(self.blocks):
            if self.from_embedding is not None:
                x = x + UNIT * self.from_embedding[layer] * first
                if layer >= n - n // 2:
                    x = x + UNIT * self.across[layer - (n - n // 2)] * kept[n - 1 - layer]
            x = x + self._attended(layer, block.attention_norm(x), positions, known)
            x = x + block.feed(block.feed_norm(x))
            kept.append(x)
        states = self.norm(x)
        logits, velocity_logits = self.read_out(states, lanes)
        if self.arm.cap:
            logits = self.arm.cap * torch.tanh(logits / self.arm.cap)
        return logits, velocity_logits, states


class Trial(Run):
    """A run of one arm."""

    def __init__(self, arm: Arm, *args: Any) -> None:
        self.arm, self.total, self.n_averaged = arm, {}, 0
        super().__init__(*args)
        self.ahead = torch.zeros(())

    def _initial(self, folder: Any, preset: Preset) -> EventTransformer:
        return Grown(super()._initial(folder, preset), self.arm).train()

    def _compute(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        if not self.arm.ahead:
            return super()._compute(batch)
        with self._context():
            logits, velocity_logits = self.prepared(*objective.inputs(batch))
            loss, bits = objective.losses(lambda *_: (logits, velocity_logits), batch, self.config.velocity_weight)
            later = F.cross_entropy(
                logits[:, :-1].float().flatten(0, 1), batch["targets"][:, 1:].flatten(), reduction="none"
            )
            weights = batch["weights"][:, 1:].flatten()
            later = (later * weights).sum() / weights.sum().clamp(min=1)
            return loss + self.ahead * later, bits

    def _step(self, batch: dict[str, Tensor]) -> None:
        share = self.progress.share
        self.ahead = torch.tensor(self.arm.ahead * max(0.0, 1 - 1.5 * share))
        matrices = self.optimizers[0].param_groups[0]["params"] if self.arm.cautious else []
        before = [p.detach().clone() for p in matrices]
        if self.arm.cautious:
            self.optimizers[0].param_groups[0]["weight_decay"] = 0.0
        super()._step(batch)
        rate = self.optimizers[0].param_groups[0]["lr"]
        with torch.no_grad():
            for p, old in zip(matrices, before, strict=True):
                p.sub_(rate * self.arm.decay * old * (((old - p) * old) > 0))
            if self.arm.averaged and share >= 0.5:
                self.n_averaged += 1
                for name, p in self.model.named_parameters():
                    self.total[name] = self.total.get(name, 0) + p.double()

    def ended(self) -> EventTransformer:
        """The network that the arm ends with."""
        if self.n_averaged:
            with torch.no_grad():
                for name, p in self.model.named_parameters():
                    p.copy_(self.total[name] / self.n_averaged)
        return self.model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("valid", type=Path)
    parser.add_argument("--model", type=Path, default=checkpoint.embedded_folder())
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--crops", type=int, default=48)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--rates", type=float, nargs=2, default=(2e-3, 4e-4), help="of Muon and of AdamW")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("-o", "--output", type=Path, required=True)
    a = parser.parse_args()
    a.output.mkdir(parents=True, exist_ok=True)
    file = a.output / "results.json"
    results = json.loads(file.read_text()) if file.is_file() else {}
    data, valid = Dataset.open(a.train), Dataset.open(a.valid)
    small = Preset.read("small")
    still = Crops(valid, small.crops, seed=VALID_SEED, augment=False, controls=False)
    batches = [still.batch(i, 4) for i in range(math.ceil(a.crops / 4))]
    for seed in a.seeds:
        for arm in ARMS:
            key = f"{arm.name}, seed {seed}"
            if key in results or (a.only and arm.name not in a.only):
                continue
            config = replace(
                small.train, batch=a.batch, matrix_rate=a.rates[0], rate=a.rates[1], warmup_steps=10, seed=seed,
                decay=0.0 if arm.averaged else 1.0, weight_decay=arm.decay, saves=1, validations=1,
            )  # fmt: skip
            options = RunOptions(steps=a.steps, initial=a.model, device="cpu", save_every_s=math.inf)
            run = Trial(arm, replace(small, train=config), data, None, a.output / "run", options, Progress(), None)
            run._save = lambda: None  # type: ignore[method-assign]
            since, cpu = time.monotonic(), time.process_time()
            run.go()
            spent = time.monotonic() - since, time.process_time() - cpu
            model = run.ended().eval()
            found = validate(model, batches, torch.device("cpu"), run._context)
            results[key] = {
                "arm": arm.name, "seed": seed, "bits": found["bits_per_note"],
                "velocity": found["velocity_bits_per_note"], "parameters": model.n_parameters,
                "seconds": spent[0], "cpu_seconds": spent[1], "bf16": run.bf16,
            }  # fmt: skip
            file.write_text(json.dumps(results, indent=1) + "\n")
            print(key, {k: round(x, 4) if isinstance(x, float) else x for k, x in results[key].items()}, flush=True)
    rows = []
    for arm in ARMS:
        mine = [x for x in results.values() if x["arm"] == arm.name]
        if mine:
            cost = [x["cpu_seconds"] / results[f"base, seed {x['seed']}"]["cpu_seconds"] for x in mine]
            gain = [results[f"base, seed {x['seed']}"]["bits"] - x["bits"] for x in mine]
            rows.append([
                arm.name, f"{mine[0]['parameters']:,}", len(mine), sum(x["bits"] for x in mine) / len(mine),
                sum(gain) / len(gain), min(gain), max(gain), sum(cost) / len(cost),
            ])  # fmt: skip
    head = ["arm", "parameters", "seeds", "bits a note", "gain", "smallest", "largest", "time of a step"]
    print("\n".join(table(head, rows)))


if __name__ == "__main__":
    main()
