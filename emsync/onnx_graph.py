"""The decoding step as an ONNX graph, node by node; `export` writes it beside the weights."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emsync import vocabulary as v
from emsync.checkpoint import WeightsHeader
from emsync.conditions import AROUND_POINTS, CONTROL_LANES, COPY_LANES, LANES
from emsync.copying import N_STRENGTHS
from emsync.onnx_nodes import Graph

if TYPE_CHECKING:
    from emsync.model_config import ModelConfig

#: The lowest versions with all that is used, so that older runtimes read the graph too.
OPSET, IR_VERSION = 20, 9
MICROSOFT: Final = "com.microsoft"


def build(config: ModelConfig, header: WeightsHeader) -> Any:
    """The graph of a model of this shape over these weights, as an `onnx.ModelProto`.

    Raises `ModelError` when a weight is missing, or has another shape or type.
    """
    from onnx import helper

    g, width = Graph(header), config.width
    rotation = _rotation_tables(g, config) if config.attention == "rotary" else None
    new: dict[bool, list[str]] = {False: [], True: []}  # of global and of local layers
    x, asked = _embedded(g, config)
    guided: dict[bool, list[str]] = {False: [], True: []}  # of the guides, which come behind the layers
    control = _control(g, config) if config.adapter_layers else ""
    for layer in range(config.n_layers):
        before = x
        if layer < config.adapter_layers:
            before = _adapted(g, config, x, layer, control)
        x, key, value = _block(g, config, layer, before, f"blocks.{layer}", rotation)
        new[config.is_local(layer)] += [key, value]
        if layer in config.guided_layers:
            number = config.guided_layers.index(layer)
            name = f"guides.{number}"
            y = g.op("Add", before, g.linear(asked, f"{name}.hear", width, config.lane_width))
            y, key, value = _block(g, config, config.n_layers + number, y, f"{name}.block", rotation)
            guided[config.is_local(layer)] += [key, value]
            x = g.op("Add", x, g.linear(y, f"{name}.tell", width, width))
    new = {local: names + guided[local] for local, names in new.items()}
    last = _norm(g, config, g.op("Gather", x, g.constant(-1), axis=1), "norm")  # (B, width)
    g.op("Identity", last, name="states")
    head = "events" if config.tied else "head"
    if _copy_index(config) is None:
        g.linear(last, head, config.vocabulary_size, width, name="logits")
    else:
        g.op("Add", g.linear(last, head, config.vocabulary_size, width), _copy_bonus(g, config, last), name="logits")
    g.linear(last, "velocity_head", v.VELOCITY_LEVELS, width, bias=True, name="velocity_logits")
    for local, names in new.items():
        if names:
            g.op("Concat", *names, axis=0, name="new_local" if local else "new_global")
    model = helper.make_model(
        helper.make_graph(g.nodes, "emsync", *_signature(config), g.initializers),
        ir_version=IR_VERSION,
        producer_name="emsync",
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
    )
    # What the graph was made for: the decoder refuses it beside other weights.
    helper.set_model_props(model, {"model": json.dumps(config.to_dict()), "weights": header.digest})
    return model


def _block(
    g: Graph, config: ModelConfig, place: int, x: str, name: str, rotation: tuple[str, str] | None
) -> tuple[str, str, str]:
    """`Block`: x (B, T, width) -> its output, and the new keys and values. place: where its cache is."""
    y, key, value = _attention(
        g, config, place, _norm(g, config, x, f"{name}.attention_norm"), f"{name}.attention", rotation
    )
    x = g.op("Add", x, y)
    y = g.linear(_norm(g, config, x, f"{name}.feed_norm"), f"{name}.feed.expand", config.ff_width, config.width)
    if config.activation == "relu2":
        y = g.op("Relu", y)
        y = g.op("Mul", y, y)
    else:
        y = g.op("Gelu", y)
    return g.op("Add", x, g.linear(y, f"{name}.feed.contract", config.width, config.ff_width)), key, value


def _signature(config: ModelConfig) -> tuple[list[Any], list[Any]]:
    """The graph's inputs and outputs, as the module's docstring gives them."""
    from onnx import TensorProto, helper

    def floats(name: str, *shape: int | str | None) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    def ints(name: str, *shape: int | str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.INT64, shape)

    inputs = [
        ints("ids", "B", "T"),
        ints("heard", "B", "T"),
        floats("lanes", "B", "T", len(config.lanes)),
        floats("mood", "B", 2),
    ]
    inputs.append(ints("positions", "T"))
    if config.adapter_layers:
        inputs.append(floats("around", "B", "T", 2, AROUND_POINTS))
    outputs = [floats("logits", "B", config.vocabulary_size), floats("velocity_logits", "B", v.VELOCITY_LEVELS)]
    local = [config.is_local(layer) for layer in range(config.n_caches)]
    for kind, name in ((False, "global"), (True, "local")):
        if kind in local:
            inputs.append(floats(f"{name}_mask", "T", f"{name}_C + T"))
            outputs.append(floats(f"new_{name}", None, config.n_heads, "T", config.head_width))
    outputs.append(floats("states", "B", config.width))
    if config.attention == "relative":
        inputs.append(ints("distance", "T", "global_C + T"))
    for layer, kind in enumerate(local):
        for name in (f"past_k_{layer}", f"past_v_{layer}"):
            slots = "local_C" if kind else "global_C"
            inputs.append(floats(name, "B", config.n_heads, slots, config.head_width))
    return inputs, outputs


def _norm(g: Graph, config: ModelConfig, x: str, name: str) -> str:
    scale = g.weight(f"{name}.weight", (config.width,))
    if config.norm == "rms":
        return g.op("SimplifiedLayerNormalization", x, scale, axis=-1, epsilon=1e-6)
    return g.op("LayerNormalization", x, scale, g.weight(f"{name}.bias", (config.width,)), axis=-1, epsilon=1e-5)


def _embedded(g: Graph, config: ModelConfig) -> tuple[str, str]:
    """`EventTransformer.embed`: (B, T, width), and what the guides hear, (B, T, lane_width); "" without any."""
    from emsync.model import AROUSAL_SLOT, VALENCE_SLOT

    known = g.op("Min", "ids", g.constant(config.vocabulary_size - 1))
    events = g.op("Gather", g.weight("events.weight", (config.vocabulary_size, config.width)), known)
    x = g.op("Add", events, g.op("Gather", g.weight("velocity.weight", (v.VELOCITY_LEVELS + 1, config.width)), "heard"))
    for i, slot in enumerate((VALENCE_SLOT, AROUSAL_SLOT)):
        level = g.op("Gather", "mood", g.constant([i]), axis=1)  # (B, 1)
        felt = _level_lane(g, level, f"mood.{i}", config.width)  # (B, 1, width)
        x = g.op("Where", g.op("Unsqueeze", g.op("Equal", "ids", g.constant(slot)), g.constant([-1])), felt, x)
    if config.style_positions:
        early = g.op("Less", "positions", g.constant(config.style_positions))
        table = g.weight("style.weight", (config.style_positions, config.width))
        style = g.op("Gather", table, g.op("Min", "positions", g.constant(config.style_positions - 1)))
        style = g.op("Where", g.op("Unsqueeze", early, g.constant([-1])), style, g.constant(0.0))
        x = g.op("Add", x, style)
    parts: list[str] = []
    for i, lane in enumerate(LANES[: len(config.lanes)]):
        column = g.op("Gather", "lanes", g.constant(i), axis=2)  # (B, T)
        if lane.kind == "offset":
            out = _offset_lane(g, column, f"lanes.{i}", config, lane.high)
        elif lane.kind == "place":
            out = _place_lane(g, column, f"lanes.{i}", round(lane.high) + 1, config.lane_width)
        elif lane.kind == "event":
            out = _copy_lane(g, config)
        else:
            out = _level_lane(g, column, f"lanes.{i}", config.lane_width)
        parts.append(out)
    n_others = min(len(parts), min(CONTROL_LANES))
    encoded, asked = _added(g, parts[:n_others]), ""
    if parts[n_others:]:
        asked = _added(g, _weighed(g, config, x, parts[n_others:]))
    if asked and not config.guided_every:
        encoded, asked = g.op("Add", encoded, asked), ""
    if config.attention == "relative":
        table = g.weight("positions", (config.context, config.width - config.lane_width))
        places = g.op("Unsqueeze", g.op("Gather", table, "positions"), g.constant([0]))  # (1, T, width / 2)
        batch = g.op("Concat", g.op("Shape", encoded, end=1), g.constant([1, 1]), axis=0)
        places = g.op("Expand", places, batch)
        if config.unknown_offsets == "positions":
            absent = g.op("IsNaN", g.op("Gather", "lanes", g.constant([0]), axis=2))  # (B, T, 1)
            encoded = g.op("Where", absent, places, encoded)
        encoded = g.op("Concat", encoded, places, axis=-1)
    return g.op("Add", x, encoded), asked


def _control(g: Graph, config: ModelConfig) -> str:
    """`MoodAdapter.forward`: around (B, T, 2, P) -> (B, T, width), the convolutions as products of groups of points."""
    from onnx import TensorProto

    from emsync.mood_layers import CHANNELS, DILATIONS, FEATURES, TAPS

    absent = g.op("IsNaN", "around")
    levels = g.op("Where", absent, g.constant(0.0), "around")
    given = g.op("Cast", g.op("Not", absent), to=TensorProto.FLOAT)
    x = g.op("Transpose", g.op("Concat", levels, given, axis=2), perm=[0, 1, 3, 2])  # (B, T, P, 4)

    def convolved(x: str, layer: int, n_out: int, n_in: int, taps: int) -> str:
        """(B, T, points, taps * n_in) -> (B, T, points, n_out)."""
        matrix = g.op("Transpose", g.weight(f"adapter.convert.{layer}.weight", (n_out, n_in, taps)), perm=[2, 1, 0])
        matrix = g.op("Reshape", matrix, g.constant([taps * n_in, n_out]))
        return g.op("Add", g.op("MatMul", x, matrix), g.weight(f"adapter.convert.{layer}.bias", (n_out,)))

    x = convolved(x, 0, CHANNELS, FEATURES, 1)
    points = AROUND_POINTS
    for number in range(len(DILATIONS)):
        points //= TAPS
        x = g.op("Reshape", x, g.constant([0, 0, points, TAPS * CHANNELS]))
        x = g.op("LeakyRelu", convolved(x, 1 + 2 * number, CHANNELS, CHANNELS, TAPS), alpha=0.01)
    x = g.op("Squeeze", convolved(x, 1 + 2 * len(DILATIONS), config.width, CHANNELS, 1), g.constant([2]))
    return g.op("Mul", x, g.op("ReduceMax", g.op("ReduceMax", given, g.constant([3])), g.constant([2]), keepdims=0))


def _adapted(g: Graph, config: ModelConfig, x: str, layer: int, control: str) -> str:
    """`MoodAdapter.join`: x and control (B, T, width) -> their sum."""
    from emsync.mood_layers import MoodAdapter

    gain = g.op("Gather", g.weight("adapter.gains", (config.adapter_layers,)), g.constant(layer))
    gain = g.op("Mul", gain, g.constant(MoodAdapter.UNIT))
    size = g.op("Sqrt", g.op("Add", g.op("ReduceMean", g.op("Mul", x, x), g.constant([-1])), g.constant(1e-12)))
    return g.op("Add", x, g.op("Mul", g.op("Mul", size, gain), control))


def _added(g: Graph, parts: list[str]) -> str:
    out = parts[0]
    for part in parts[1:]:
        out = g.op("Add", out, part)
    return out


def _weighed(g: Graph, config: ModelConfig, x: str, parts: list[str]) -> list[str]:
    """`Fusion.forward`: the lanes of controls (B, T, lane_width), each by its weight."""
    if config.fusion == "sum":
        return parts
    n_in = config.width + config.lane_width
    features = g.op("Concat", x, _added(g, parts), axis=-1)
    hidden = g.op("Gelu", g.linear(features, "fusion.read", 64, n_in, bias=True))
    weights = g.op("Add", g.linear(hidden, "fusion.weigh", len(parts), 64, bias=True), g.constant(1.0))
    return [g.op("Mul", part, g.op("Gather", weights, g.constant([i]), axis=2)) for i, part in enumerate(parts)]


def _given(g: Graph, x: str) -> tuple[str, str]:
    """Where x is not given, as (..., 1), and x with 0 there."""
    absent = g.op("IsNaN", x)
    return g.op("Unsqueeze", absent, g.constant([-1])), g.op("Where", absent, g.constant(0.0), x)


def _small_net(g: Graph, features: str, name: str, n_features: int, width: int) -> str:
    """Linear, GELU, linear, through 64."""
    hidden = g.op("Gelu", g.linear(features, f"{name}.net.0", 64, n_features, bias=True))
    return g.linear(hidden, f"{name}.net.2", width, 64, bias=True)


def _level_lane(g: Graph, level: str, name: str, width: int) -> str:
    """`LevelLane`: (...) -> (..., width)."""
    absent, level = _given(g, level)
    out = _small_net(g, g.op("Unsqueeze", level, g.constant([-1])), name, 1, width)
    return g.op("Where", absent, g.weight(f"{name}.absent", (width,)), out)


def _place_lane(g: Graph, place: str, name: str, n: int, width: int) -> str:
    """`PlaceLane`: (B, T) -> (B, T, width)."""
    from onnx import TensorProto

    absent, place = _given(g, place)
    index = g.op("Clip", g.op("Round", place), g.constant(0.0), g.constant(n - 1.0))
    out = g.op("Gather", g.weight(f"{name}.table.weight", (n, width)), g.op("Cast", index, to=TensorProto.INT64))
    return g.op("Where", absent, g.weight(f"{name}.absent", (width,)), out)


def _copy_index(config: ModelConfig) -> int | None:
    """Where the copy lane is among a model's lanes; None in an older model."""
    return COPY_LANES.start if len(config.lanes) >= COPY_LANES.stop else None


def _copy_read(g: Graph, lanes: str, axis: int) -> tuple[str, str, str]:
    """`CopyLane.read`: follower, strength, and whether there is a match, each without the lanes' axis."""
    from onnx import TensorProto

    follower, strength = (
        g.op("Gather", lanes, g.constant(i), axis=axis) for i in range(COPY_LANES.start, COPY_LANES.stop)
    )
    unknown = g.op("Or", g.op("IsNaN", follower), g.op("IsNaN", strength))
    strength = g.op("Where", unknown, g.constant(0.0), strength)
    matched = g.op("Greater", strength, g.constant(0.5))
    whole = []
    for value, n in ((follower, v.SIZE), (strength, N_STRENGTHS)):
        value = g.op("Round", g.op("Where", matched, value, g.constant(0.0)))
        value = g.op("Clip", value, g.constant(0.0), g.constant(n - 1.0))
        whole.append(g.op("Cast", value, to=TensorProto.INT64))
    return whole[0], whole[1], matched


def _copy_lane(g: Graph, config: ModelConfig) -> str:
    """`CopyLane.forward`: (B, T, lane_width)."""
    from emsync.lane_layers import CopyLane

    name = f"lanes.{_copy_index(config)}"
    follower, strength, matched = _copy_read(g, "lanes", 2)
    head = "events.weight" if config.tied else "head.weight"
    rows = g.op("Gather", g.weight(head, (config.vocabulary_size, config.width)), follower)
    gate = g.op("Gather", g.weight(f"{name}.gate.weight", (N_STRENGTHS, 1)), strength)
    out = g.op("Mul", g.linear(rows, f"{name}.project", config.lane_width, config.width), gate)
    out = g.op("Mul", out, g.constant(CopyLane.UNIT))
    return g.op("Where", g.op("Unsqueeze", matched, g.constant([-1])), out, g.constant(0.0))


def _copy_bonus(g: Graph, config: ModelConfig, last: str) -> str:
    """`CopyLane.bonus` of the last position: last (B, width) -> (B, vocabulary)."""
    from emsync.lane_layers import CopyLane

    name = f"lanes.{_copy_index(config)}"
    follower, strength, matched = _copy_read(g, g.op("Gather", "lanes", g.constant(-1), axis=1), 1)
    query = g.op("Gather", g.weight(f"{name}.query.weight", (N_STRENGTHS, config.width)), strength)
    bias = g.op("Gather", g.weight(f"{name}.bias.weight", (N_STRENGTHS, 1)), strength)
    pointed = g.op("ReduceSum", g.op("Mul", query, last), g.constant([-1]), keepdims=1)
    added = g.op("Add", g.op("Mul", bias, g.constant(CopyLane.UNIT)), pointed)  # (B, 1)
    column = g.constant([-1])
    ids = g.op("Range", g.constant(0), g.constant(config.vocabulary_size), g.constant(1))
    here = g.op("Equal", g.op("Unsqueeze", follower, column), ids)
    return g.op("Where", g.op("And", here, g.op("Unsqueeze", matched, column)), added, g.constant(0.0))


def _offset_lane(g: Graph, offset_s: str, name: str, config: ModelConfig, cap_s: float) -> str:
    """`OffsetLane`: (B, T) -> (B, T, width)."""
    from onnx import TensorProto

    from emsync.lane_layers import COARSE_S, FINE_S

    width = config.lane_width
    absent, offset = _given(g, offset_s)
    offset = g.op("Clip", offset, g.constant(0.0), g.constant(cap_s))
    if config.lane_encoding == "lookup":
        n_fine = v.MAX_SHIFT_STEPS + 1
        n_entries = n_fine + math.ceil((cap_s - FINE_S) / COARSE_S) + 1
        fine = g.op("Min", g.op("Round", g.op("Div", offset, g.constant(v.STEP_S))), g.constant(n_fine - 1.0))
        coarse = g.op("Floor", g.op("Div", g.op("Sub", offset, g.constant(FINE_S)), g.constant(COARSE_S)))
        coarse = g.op("Add", coarse, g.constant(float(n_fine)))
        near = g.op("LessOrEqual", offset, g.constant(FINE_S + v.STEP_S / 2))
        index = g.op("Clip", g.op("Where", near, fine, coarse), g.constant(0.0), g.constant(n_entries - 1.0))
        table = g.weight(f"{name}.table.weight", (n_entries, width))
        out = g.op("Gather", table, g.op("Cast", index, to=TensorProto.INT64))
    else:
        nearness = g.op("Div", g.op("Sub", g.constant(cap_s), offset), g.constant(cap_s))
        nearness, n_features = g.op("Unsqueeze", nearness, g.constant([-1])), 1
        if config.lane_encoding == "fourier":
            # One float32 product, as torch forms it: at hundreds of turns a different rounding would show.
            scale = (np.float32(2 * math.pi) * 2.0 ** np.arange(9, dtype=np.float32) / 16).astype(np.float32)
            phase = g.op("Mul", g.op("Unsqueeze", offset, g.constant([-1])), g.constant(scale))
            nearness = g.op("Concat", nearness, g.op("Sin", phase), g.op("Cos", phase), axis=-1)
            n_features = 1 + 2 * len(scale)
        out = _small_net(g, nearness, name, n_features, width)
    return g.op("Where", absent, g.weight(f"{name}.absent", (width,)), out)


def _rotation_tables(g: Graph, config: ModelConfig) -> tuple[str, str]:
    """Cosines and sines of every position, (context, D / 2), which fold at loading."""
    import torch

    half = config.head_width // 2
    frequency = (10000.0 ** (-torch.arange(half, dtype=torch.float32) / half)).numpy()  # as `attention.rotate` has it
    places = g.constant(np.arange(config.context, dtype=np.float32)[:, None])
    angle = g.op("Mul", places, g.constant(frequency))
    return g.op("Cos", angle), g.op("Sin", angle)


def _attention(
    g: Graph, config: ModelConfig, layer: int, x: str, name: str, rotation: tuple[str, str] | None
) -> tuple[str, str, str]:
    """`Attention.cached`: x (B, T, width) -> its output, and the new keys and values (B, H, T, D)."""
    heads, head_width, width = config.n_heads, config.head_width, config.width
    # Scores are divided by the root of D in equal parts on queries and keys (and distances), where it costs nothing: a
    # factor beside the product would keep ONNX Runtime from its fast way of multiplying one row, at twice the time.
    root = g.constant(head_width**-0.25)
    parts = [g.matrix(f"{name}.{which}.weight", width, width) for which in ("query", "key", "value")]
    if not config.qk_norm:
        parts[:2] = [g.op("Mul", part, root) for part in parts[:2]]
    joined = g.op("MatMul", x, g.op("Concat", *parts, axis=1))
    joined = g.op("Reshape", joined, g.constant([0, 0, 3 * heads, head_width]))
    joined = g.op("Transpose", joined, perm=[0, 2, 1, 3])  # (B, 3H, T, D)
    turned, value = g.ops("Split", joined, g.constant([2 * heads, heads]), names=["", ""], axis=1)
    if config.qk_norm:
        scale = g.constant(np.full(head_width, head_width**-0.25))
        turned = g.op("SimplifiedLayerNormalization", turned, scale, axis=-1, epsilon=1e-6)
    if rotation is not None:
        first = g.op("Slice", "positions", g.constant([0]), g.constant([1]))
        turned = g.op("RotaryEmbedding", turned, first, *rotation, domain=MICROSOFT)
    query, key = g.ops("Split", turned, g.constant([heads, heads]), names=["", ""], axis=1)

    def against(other: str) -> str:
        """Scores of the queries (B, H, T, D) against (B, H, C, D) or (C, D): (B, H, T, C)."""
        return g.op("FusedMatMul", query, other, domain=MICROSOFT, transB=1)

    scores = g.op("Concat", against(f"past_k_{layer}"), against(key), axis=-1)  # (B, H, T, C + T)
    if config.attention == "relative":
        table = g.op("Mul", g.weight(f"{name}.distance", (config.context, head_width)), root)
        by_distance = against(table)  # (B, H, T, context)
        index = g.op("Expand", "distance", g.op("Shape", scores))
        scores = g.op("Add", scores, g.op("GatherElements", by_distance, index, axis=-1))
    local = config.is_local(layer)
    weights = g.op("Softmax", g.op("Add", scores, "local_mask" if local else "global_mask"), axis=-1)
    slots, count = g.op("Shape", f"past_k_{layer}", start=2, end=3), g.op("Shape", "positions")
    past, own = g.ops("Split", weights, g.op("Concat", slots, count, axis=0), names=["", ""], axis=-1)
    y = g.op("Add", g.op("MatMul", past, f"past_v_{layer}"), g.op("MatMul", own, value))
    y = g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 1, 3]), g.constant([0, 0, width]))
    return g.linear(y, f"{name}.out", width, width), key, value
