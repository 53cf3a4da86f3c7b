"""Model FLOPs utilisation: the share of a device's peak that the model's own arithmetic uses (PaLM, appendix B).

As there, a position's forward and backward pass counts 6 N, where N is the number of parameters in products (without
tables that are only looked up), and a layer's attention 12 H D S, where S is its span: the context for a global layer,
two blocks for a local one. Causal masks are not deducted, nothing is added for what a kernel computes twice, and
padding counts as positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch

    from emsync.model import EventTransformer

#: Dense bf16 peaks by the vendor's data sheets, TFLOP/s; the longest name that a device's own contains counts.
PEAK_TFLOPS: Final = {
    "A100": 312.0, "H100": 989.0, "H100 PCIe": 756.0, "H100 NVL": 835.0, "H200": 989.0, "H200 NVL": 835.0,
}  # fmt: skip


def flops_per_event(model: EventTransformer, context: int) -> float:
    """Floating-point operations of one position of a crop of `context`, forward and backward."""
    import torch

    config = model.config
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    if config.tied:
        looked_up.remove(id(model.head.weight))  # looked up, and multiplied
    multiplied = sum(p.numel() for p in model.parameters() if p.ndim == 2 and id(p) not in looked_up)
    if config.attention == "relative":
        multiplied -= model.positions.numel() + config.n_layers * config.context * config.head_width
    spans = [min(context, 2 * config.local_block) if config.is_local(i) else context for i in range(config.n_layers)]
    # Relative attention multiplies queries with distances besides keys: half as much again.
    attended = 18 if config.attention == "relative" else 12
    return 6.0 * multiplied + attended * config.width * float(sum(spans))


def peak_tflops(device: torch.device) -> float | None:
    """The peak of a GPU with a known name, in TFLOP/s of dense bf16; None for any other device."""
    import torch

    return peak_by_name(torch.cuda.get_device_name(device)) if device.type == "cuda" else None


def peak_by_name(name: str) -> float | None:
    """The peak of a GPU by the name its driver gives, such as "NVIDIA H100 80GB HBM3"."""
    known = [part for part in PEAK_TFLOPS if part in name]
    return PEAK_TFLOPS[max(known, key=len)] if known else None
