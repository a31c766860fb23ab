"""Loads the weights of a bundle into torch, so that a training can start from the model in service.

The int8 weights are dequantised: they are a base for further training, not the exact weights that were exported.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from transformers import BertConfig, BertModel

from models.bundle import Manifest, read_manifest, verified_files
from models.heads import TOWARD
from training.config import TrainingConfigError
from training.network.encoder import Classifier
from training.network.quantized_names import HALF, QUANTIZED, SCALE, UNSMOOTH, ZERO_POINT

_NAMED = ("encoder.", "output.weight", "output.bias", f"{TOWARD}.")


def from_bundle(folder: Path, heads: dict[str, list[str]], dropout: float) -> tuple[Classifier, str]:
    """The classifier of a BERT bundle, ready to train, and its `tokenizer.json`.

    Classes that the bundle knows keep their weights; new heads and classes start at random. Raises
    `TrainingConfigError` where our export did not make the graph.
    """
    manifest = read_manifest(folder)
    contents = verified_files(folder, manifest)
    weights = _weights(onnx.load_from_string(contents[manifest.model_file]))
    try:
        words = weights["encoder.embeddings.word_embeddings.weight"]
        layers = {name.split(".layer.")[1].split(".")[0] for name in weights if ".layer." in name}
        config = BertConfig(
            vocab_size=words.shape[0],
            hidden_size=words.shape[1],
            num_hidden_layers=len(layers),
            num_attention_heads=_attention_heads(manifest, words.shape[1]),
            intermediate_size=weights["encoder.encoder.layer.0.intermediate.dense.bias"].shape[0],
            max_position_embeddings=weights["encoder.embeddings.position_embeddings.weight"].shape[0],
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    except KeyError as error:
        raise TrainingConfigError(f"{folder} is not a bundle that training can start from: it lacks {error}") from None
    given = {h.name: h.labels for h in manifest.heads}
    model = Classifier(BertModel(config, add_pooling_layer=False), heads, dropout)  # type: ignore[no-untyped-call]
    old_matrix, old_bias = weights.pop("output.weight"), weights.pop("output.bias")
    _keep_classes(model, {h: x for h, x in heads.items() if h != TOWARD}, given, old_matrix, old_bias)
    toward = {name: weights.pop(name) for name in list(weights) if name.startswith(f"{TOWARD}.")}
    if model.toward is not None and toward:
        model.toward.load_state_dict({k.removeprefix(f"{TOWARD}."): torch.tensor(v) for k, v in toward.items()})
    state = {k: torch.tensor(v) for k, v in weights.items()}
    missing, unexpected = model.load_state_dict({**state, **_kept(model)}, strict=False)
    if missing or unexpected:
        raise TrainingConfigError(
            f"{folder} is not the bundle of a BERT encoder: missing {missing}, unexpected {unexpected}"
        )
    return model, contents[manifest.tokenizer_file].decode("utf-8")


def _keep_classes(
    model: Classifier,
    heads: dict[str, list[str]],
    given: dict[str, list[str]],
    matrix: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> None:
    pairs = ((h, x) for h, labels in given.items() if h != TOWARD for x in labels)
    rows = {pair: i for i, pair in enumerate(pairs)}
    with torch.no_grad():
        for new, pair in enumerate((h, x) for h, labels in heads.items() for x in labels):
            if (old := rows.get(pair)) is not None:
                model.output.weight[new] = torch.tensor(matrix[old])
                model.output.bias[new] = float(bias[old])


def _kept(model: Classifier) -> dict[str, torch.Tensor]:
    """The weights of the heads, as they stand."""
    return {k: v for k, v in model.state_dict().items() if k.startswith(("output.", f"{TOWARD}."))}


def _attention_heads(manifest: Manifest, width: int) -> int:
    """The number that the manifest states; bundles of other makers lack it, and 32 channels a head are usual."""
    return int(manifest.training.get("attention_heads", max(1, width // 32)))


def _weights(graph_of: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """Torch parameter name -> float32 array; matrix products are found by their node names and transposed back."""
    constants = {i.name: numpy_helper.to_array(i) for i in graph_of.graph.initializer}
    halves = [name for name in constants if name.endswith(HALF)]
    constants |= {name.removesuffix(HALF): constants[name].astype(np.float32) for name in halves}
    found: dict[str, NDArray[np.float32]] = {}
    for name, value in constants.items():
        if name.endswith(QUANTIZED) and ".embeddings." in name:
            found[name.removesuffix(QUANTIZED)] = _dequantised(constants, name)
        elif name.startswith(_NAMED) and not name.endswith(SCALE) and value.dtype == np.float32:
            found[name] = value
    behind = {n.output[0]: n.input[0] for n in graph_of.graph.node if n.op_type == "DequantizeLinear"}
    for node in graph_of.graph.node:
        if node.op_type not in {"MatMulInteger", "MatMul"} or len(node.input) < 2:
            continue
        kernel = behind.get(node.input[1], node.input[1])
        if kernel in constants and not node.name.startswith(f"/{TOWARD}/"):
            parameter = node.name.strip("/").rsplit("/", 1)[0].replace("/", ".")
            found[f"{parameter}.weight"] = np.ascontiguousarray(_matrix(constants, kernel).T)
    fused = [node for node in graph_of.graph.node if node.op_type in {"Attention", "QAttention"}]
    for layer, node in enumerate(fused):
        projections = np.split(_matrix(constants, node.input[1]).T, 3)
        biases = np.split(constants[node.input[2]], 3)
        for part, matrix, bias in zip(("query", "key", "value"), projections, biases, strict=True):
            parameter = f"encoder.encoder.layer.{layer}.attention.self.{part}"
            found[f"{parameter}.weight"], found[f"{parameter}.bias"] = np.ascontiguousarray(matrix), bias
    return found


def _matrix(constants: dict[str, NDArray[np.generic]], name: str) -> NDArray[np.float32]:
    values = _dequantised(constants, name) if name.endswith(QUANTIZED) else constants[name]
    smoothed = constants.get(name.removesuffix(QUANTIZED) + UNSMOOTH)
    matrix = values.astype(np.float32, copy=False)
    return matrix if smoothed is None else matrix * smoothed.astype(np.float32)[:, None]


def _dequantised(constants: dict[str, NDArray[np.generic]], name: str) -> NDArray[np.float32]:
    stem = name.removesuffix(QUANTIZED)
    zero, scale = constants.get(stem + ZERO_POINT, np.zeros(1)), constants[stem + SCALE]
    shifted = constants[name].astype(np.float32) - zero.astype(np.float32)
    values: NDArray[np.float32] = shifted * scale.astype(np.float32)
    return values
