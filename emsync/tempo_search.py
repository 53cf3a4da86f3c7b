"""Which beat meets which cut: a dynamic program over the cuts, for one mean tempo (see `emsync.tempo_plan`).

Nodes are the start of the film and its cuts. An edge leads from one to a later one over a whole number of beats; the
cuts between are missed. A node's states are a stretch of the tempo (`emsync.tempo_ramps`) and a *phase*: how many beats
have passed since the bar line, modulo four. All costs are in bars that are bent by 1.5 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np

from emsync.columns import FloatArray, IntArray
from emsync.tempo_ramps import BAR_BEATS, Limits, cost, reachable

#: What it costs to leave out a cut, to meet one off the downbeat, and to shorten a bar.
MISSED, OFF_DOWNBEAT, ODD_BAR = 1000.0, 3.0, 1.0
#: How many bars must be shortened for a downbeat so many beats after a bar line, modulo four.
_ODD_BARS: Final = np.array([0.0, 2.0, 1.0, 1.0])
#: Stretches tried at each cut; then finer ones around the best, so many times finer.
_LEVELS, _FINER, _FINE_LEVELS = 13, (3.0, 9.0, 27.0), 9
#: From each node, so many edges of different numbers of beats: one for each phase, and one more.
_EDGE_BEATS: Final = 5
#: No more cuts than this are left out in a row if there is a choice.
_LONGEST_SKIP: Final = 12
_ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class Path:
    """Nodes from the start (0) on, and for each edge between them its beats and the phase it ends in (see `resets`).

    Attributes:
        cost: The costs of all edges, of all cuts missed, and of what follows the last hit.
        nodes: (H + 1,) The start, and the cuts that are met, counted from 1.
        beats: (H,) How many beats lie between.
        stretches: (H + 1,) The stretch of the tempo at each node.
        resets: (H,) Whether bars are shortened so that a bar begins at the cut.

    """

    cost: float
    nodes: tuple[int, ...]
    beats: tuple[int, ...]
    stretches: tuple[float, ...]
    resets: tuple[bool, ...]


class Search:
    """The search in one mean tempo.

    cuts_s: (B,) increasing. strength: (B,) from 0 to 1. beat_s: the length of a beat. apart: hits are at least so many
    beats apart. end_s: where the film ends.
    """

    def __init__(
        self, cuts_s: FloatArray, strength: FloatArray, beat_s: float, limits: Limits, *, apart: int, end_s: float,
        metre_changes: bool,
    ) -> None:  # fmt: skip
        self.beat_s, self.limits = beat_s, limits
        self._apart, self._metre_changes = apart, metre_changes
        self._places = np.concatenate([[0.0], cuts_s]) / beat_s  # of the nodes, in mean beats
        self._end = end_s / beat_s
        self._strength = np.concatenate([[0.0], strength])
        price = MISSED * (0.1 + 0.9 * strength)
        self._missed = np.concatenate([[0.0, 0.0], np.cumsum(price)])  # all nodes before each one
        # Within this many beats, some whole number of them can be had whatever the stretch at both ends.
        self._reach = limits.settled_beats + 1 / limits.most
        self._levels = _levels(limits)

    def run(self) -> Path:
        """The path that costs least."""
        n = len(self._places)
        costs = np.full((n, _LEVELS, BAR_BEATS), np.inf)
        costs[0, :, 0] = 0.0
        back: list[IntArray] = [np.zeros((_LEVELS, BAR_BEATS, 4), dtype=np.int64)]
        for node in range(1, n):
            costs[node], choice = self._arrive(node, costs)
            back.append(choice)
        tails = np.array([self._tail(node, costs[node]) for node in range(n)])
        node = int(tails.argmin())
        level, phase = np.unravel_index(int((costs[node] + self._flat(node)[:, None]).argmin()), (_LEVELS, BAR_BEATS))
        nodes, beats, levels, resets = [node], [], [int(level)], []
        while node:
            came, count, before, turned = back[node][level, phase].tolist()
            beats.append(count)
            resets.append(turned != phase)
            phase, level, node = (turned - count) % BAR_BEATS, before, came
            nodes.append(node)
            levels.append(level)
        stretches = self._levels[levels[::-1]].tolist()
        return Path(float(tails.min()), tuple(nodes[::-1]), tuple(beats[::-1]), tuple(stretches), tuple(resets[::-1]))

    def refined(self, path: Path) -> Path:
        """The same path with stretches between the levels, where they cost less."""
        spacing = 2 * self.limits.most / (_LEVELS - 1)
        for finer in _FINER:
            offsets = spacing / finer * np.arange(-(_FINE_LEVELS // 2), _FINE_LEVELS // 2 + 1)
            tried = np.clip(np.array(path.stretches)[:, None] + offsets, -self.limits.most, self.limits.most)
            best, before = np.zeros(_FINE_LEVELS), []
            for k, count in enumerate(path.beats):
                total = self._places[path.nodes[k + 1]] - self._places[path.nodes[k]] - count
                a, b = tried[k][:, None], tried[k + 1][None, :]
                low, high = reachable(a, b, count, self.limits)
                price = np.where((low <= total) & (total <= high), cost(a, b, count, total), np.inf) + best[:, None]
                before.append(price.argmin(axis=0))
                best = price.min(axis=0)
            best = best + self._flat(path.nodes[-1], tried[-1])
            chosen = [int(best.argmin())]
            for row in reversed(before):
                chosen.append(int(row[chosen[-1]]))
            if not np.isfinite(best.min()):
                break  # a sum at the very limit, lost to rounding: the levels themselves fit
            stretches = tried[np.arange(len(tried)), chosen[::-1]]
            path = replace(path, stretches=tuple(stretches.tolist()))
        return path

    def _arrive(self, node: int, costs: FloatArray) -> tuple[FloatArray, IntArray]:
        """The costs (levels, phases) of a node's states, and how each is reached: node, beats, level, phase of arrival.

        The phase of arrival is another than that of the state where bars are shortened on the way.
        """
        came, counts = self._edges(node)
        nothing = np.full((_LEVELS, BAR_BEATS), np.inf), np.zeros((_LEVELS, BAR_BEATS, 4), dtype=np.int64)
        if not len(came):
            return nothing
        a, b = self._levels[None, :, None], self._levels[None, None, :]
        total = (self._places[node] - self._places[came] - counts)[:, None, None]
        sums = [_sums(count, self.limits) for count in counts.tolist()]
        low, high = np.stack([low for low, _ in sums]), np.stack([high for _, high in sums])
        skipped = (self._missed[node] - self._missed[came + 1])[:, None, None]
        price = np.where((low <= total) & (total <= high), cost(a, b, counts[:, None, None], total), np.inf) + skipped
        each = costs[came][:, :, None, :] + price[..., None]  # (edges, level before, level, phase before)
        before = each.argmin(axis=1)
        cheapest = np.take_along_axis(each, before[:, None], axis=1)[:, 0]
        turned = (
            np.arange(BAR_BEATS)[None, :] - counts[:, None]
        ) % BAR_BEATS  # the phase before that each one comes of
        turned = np.broadcast_to(turned[:, None, :], cheapest.shape)
        cheapest, before = np.take_along_axis(cheapest, turned, axis=2), np.take_along_axis(before, turned, axis=2)
        edge = cheapest.argmin(axis=0)  # (level, phase)
        found = np.take_along_axis(cheapest, edge[None], axis=0)[0]
        phases = np.broadcast_to(np.arange(BAR_BEATS), edge.shape)
        before = np.take_along_axis(before, edge[None], axis=0)[0]
        choice = np.stack([came[edge], counts[edge], before, phases], axis=-1)
        if self._metre_changes:
            short = found + ODD_BAR * _ODD_BARS
            arrival = short.argmin(axis=1)
            rows = np.arange(_LEVELS)
            choice[:, 0] = choice[rows, arrival]
            found[:, 0] = short[rows, arrival]
        found[:, 1:] += OFF_DOWNBEAT * self._strength[node]
        return found, choice

    def _edges(self, node: int) -> tuple[IntArray, IntArray]:
        """The edges that lead to a node: where they come from, and their beats."""
        here = self._places[node]
        within = int(np.searchsorted(self._places[:node], here - self._reach))
        came, counts = self._edges_from(node, max(min(max(within, node - 1 - _LONGEST_SKIP), node - 1), 0), node)
        if not came:  # so many cuts are closer than two hits may be
            far = int(np.searchsorted(self._places[:node], here - self._apart, side="right"))
            came, counts = self._edges_from(node, max(within, far - 1 - _LONGEST_SKIP), far + 1)
        return np.array(came, dtype=np.int64), np.array(counts, dtype=np.int64)

    def _edges_from(self, node: int, first: int, stop: int) -> tuple[list[int], list[int]]:
        """The same as `_edges`, from a range of nodes only."""
        here = self._places[node]
        came: list[int] = []
        counts: list[int] = []
        for origin in range(first, min(stop, node)):
            gap = float(here - self._places[origin])
            least = max(math.ceil(gap / (1 + self.limits.most)), self._apart if origin else 1)
            most = math.floor(gap / (1 - self.limits.most))
            near = round(gap)
            least, most = max(least, near - _EDGE_BEATS // 2), min(most, near + _EDGE_BEATS // 2)
            came += [origin] * (most - least + 1)
            counts += range(least, most + 1)
        return came, counts

    def _flat(self, node: int, levels: FloatArray | None = None) -> FloatArray:
        """(levels,) What it costs to keep each stretch from a node to the end."""
        a = self._levels if levels is None else levels
        beats = max(self._end - self._places[node], 1e-3)
        return np.asarray(cost(a, a, beats, a * beats))

    def _tail(self, node: int, costs: FloatArray) -> float:
        return float((costs + self._flat(node)[:, None]).min() + self._missed[-1] - self._missed[node + 1])


def _levels(limits: Limits) -> FloatArray:
    """(levels,) The stretches tried at each cut."""
    return np.linspace(-limits.most, limits.most, _LEVELS)


@lru_cache(maxsize=1024)
def _sums(beats: int, limits: Limits) -> tuple[FloatArray, FloatArray]:
    """(levels, levels) The smallest and largest sums of curves of a number of beats between two levels."""
    levels = _levels(limits)
    return reachable(levels[:, None], levels[None, :], beats, limits)


def promising(cuts_s: FloatArray, qpm: FloatArray, price: FloatArray, limits: Limits, count: int) -> list[float]:
    """The tempi that would cost least if each gap between two cuts had a tempo of its own, at most `count` of them.

    qpm: (F,) tempi to try. price: (F,) what each costs by itself, a bar.
    """
    beats = np.diff(cuts_s, prepend=0.0) * qpm[:, None] / 60  # (F, B)
    whole = np.maximum(np.rint(beats), 1)
    stretch = np.clip((beats - whole) / whole, -4 * limits.most, 4 * limits.most)
    bent = cost(stretch, stretch, 1, stretch) * whole
    turned = cost(stretch[:, :-1], stretch[:, 1:], 4, 2 * (stretch[:, :-1] + stretch[:, 1:]))
    wild = MISSED * (np.abs(stretch) > limits.most)
    total = bent.sum(axis=1) + turned.sum(axis=1) + wild.sum(axis=1)
    order = np.argsort(total / (whole.sum(axis=1) / BAR_BEATS) + price, kind="stable")
    return [float(qpm[i]) for i in order[:count]]
