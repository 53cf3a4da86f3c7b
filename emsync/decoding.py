"""What the composer needs of a model, whatever runs it; `emsync.decoder` opens one.

Conventions: those of `emsync.decoder`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from emsync.critic import Critic
from emsync.mixture import Mixture
from emsync.networks import FloatArray, IntArray, Span


@dataclass(frozen=True, eq=False)
class Held:
    """Some rows of a decoder, at one place.

    Attributes:
        length: How many positions they hold.
        mood: (B, 2) their moods.
        spans: The cache of each kind of layers.

    """

    length: int
    mood: FloatArray
    spans: tuple[Span, ...]


class Decoder(Protocol):
    """What the composer needs of a model: two verbs, and a choice of rows."""

    @property
    def context(self) -> int:
        """Positions the model can hold."""

    @property
    def length(self) -> int:
        """Positions held now."""

    @property
    def n_rows(self) -> int:
        """Rows held now."""

    @property
    def knows_mood(self) -> bool:
        """Whether it was trained with the piece's mood."""

    @property
    def hears_controls(self) -> bool:
        """Whether it has lanes for controls."""

    @property
    def reads_curve(self) -> bool:
        """Whether it has a mood adapter, which reads the mood curve around each event."""

    @property
    def backend(self) -> str:
        """What runs it: "onnx" or "torch"."""

    @property
    def mixture(self) -> Mixture | None:
        """What the model's predictions are mixed with the piece's own repeats by."""

    @property
    def critic(self) -> Critic | None:
        """What chooses among takes."""

    @property
    def states(self) -> FloatArray | None:
        """The hidden states (B, width) that the latest logits were read from; None if it does not give them."""

    def prefill(
        self, ids: IntArray, previous_velocity: IntArray, lanes: FloatArray, mood: FloatArray,
        around: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray]:  # fmt: skip
        """Start over with T positions; see `CachedDecoder.prefill`."""

    def step(
        self, ids: IntArray, previous_velocity: IntArray, lanes: FloatArray, around: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Append one position; see `CachedDecoder.step`."""

    def select(self, rows: IntArray) -> None:
        """Keep, reorder or duplicate rows; see `CachedDecoder.select`."""

    def hold(self, rows: IntArray) -> Held:
        """What is in the cache of some rows, to go on from later; see `CachedDecoder.hold`."""

    def resume(self, held: Held, rows: IntArray) -> None:
        """Go on where rows were held; see `CachedDecoder.resume`."""

    def twin(self) -> Decoder:
        """Another decoder of the same model, for another thread; see `CachedDecoder.twin`."""
