"""What an ONNX graph asks of the runtime: its operators, its opsets, and data outside the file.

The module walks the protobuf messages of onnx.proto that can hold a node, a tensor or an opset, including subgraphs and
local functions. It skips the weights, so that the walk takes a few seconds at most for any input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from models.errors import BundleError
from models.heads import TOWARD

#: The inputs of a graph with the head `toward`: the row of each mention, and its tokens from start to end (exclusive).
MENTION_INPUTS = ("mention_row", "mention_start", "mention_end")
STANDARD_DOMAIN = "ai.onnx"
ALLOWED_DOMAINS = (STANDARD_DOMAIN, "com.microsoft")
#: Operators of the allowed domains that load a file or run code from outside the graph.
OUTSIDE_OPERATORS = frozenset({"ATen", "EPContext", "PyOp", "PythonOp", "PythonOpGrad", "Snpe"})
MAX_DEPTH = 90  # protobuf itself reads no more than 100 nested messages
MAX_FIELDS = 2_000_000
#: Leading bytes by which a runtime recognises a format other than ONNX.
_OTHER_FORMATS = (b"ORTM", b"TFL3")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
#: Per message: the fields whose messages the walk enters.
_INNER: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 11: "input", 12: "output", 15: "sparse"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
    "opset": {},
    "input": {},
    "output": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
#: Fields that name something: (operator or function, domain) of a node and of a function.
_NAMES = {"node": (4, 7), "function": (1, 10)}


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """`operators` and `functions` are (domain, name), `opsets` (domain, version); the standard domain is `ai.onnx`.

    `inputs` and `outputs` are names, those of subgraphs included.
    """

    operators: frozenset[tuple[str, str]]
    functions: frozenset[tuple[str, str]]
    opsets: frozenset[tuple[str, int]]
    external: bool
    graphs: int
    inputs: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()

    @property
    def domains(self) -> frozenset[str]:
        """Domains of every operator and function, those of subgraphs and of function bodies included."""
        return frozenset(domain for domain, _ in self.operators | self.functions)


def graph_facts(data: bytes) -> GraphFacts:
    """Reads an ONNX file; raises `BundleError` where the bytes are not one, or nest or repeat without end."""
    if data[4:8] in _OTHER_FORMATS:
        raise BundleError(f"the graph is not ONNX but {data[4:8].decode()}")
    operators: set[tuple[str, str]] = set()
    functions: set[tuple[str, str]] = set()
    opsets: set[tuple[str, int]] = set()
    first_names: dict[str, set[str]] = {message: set() for message in _INNER}
    external, graphs, fields = False, 0, 0
    waiting: list[tuple[str, int, int, int]] = [("model", 0, len(data), 0)]
    while waiting:
        message, start, end, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise BundleError(f"the graph nests messages more than {MAX_DEPTH} deep")
        inner, graphs = _INNER[message], graphs + (message == "graph")
        texts: dict[int, list[str]] = {}
        version = 0
        for number, wire, value, last in _fields(data, start, end):
            fields += 1
            if fields > MAX_FIELDS:
                raise BundleError(f"the graph has more than {MAX_FIELDS} fields")
            if number in inner:
                _expect(wire, _BYTES, message, number)
                waiting.append((inner[number], value, last, depth + 1))
            elif number in _NAMES.get(message, ()) or (message in {"opset", "input", "output"} and number == 1):
                _expect(wire, _BYTES, message, number)
                texts.setdefault(number, []).append(data[value:last].decode("utf-8", "replace"))
            elif message == "opset" and number == 2:
                _expect(wire, _VARINT, message, number)
                version = value
            elif message == "tensor" and number in {_EXTERNAL_DATA, _DATA_LOCATION}:
                external = external or number == _EXTERNAL_DATA or wire != _VARINT or value != 0
        if message in _NAMES:
            name, domain = _NAMES[message]
            found = {(_domain(d), n) for d in texts.get(domain, [""]) for n in texts.get(name, [""])}
            (operators if message == "node" else functions).update(found)
        elif message == "opset":
            opsets.update((_domain(d), version) for d in texts.get(1, [""]))
        first_names[message].update(texts.get(1, []))
    if not graphs:
        raise BundleError("the graph is not ONNX: it holds no graph")
    return GraphFacts(
        frozenset(operators),
        frozenset(functions),
        frozenset(opsets),
        external,
        graphs,
        frozenset(first_names["input"]),
        frozenset(first_names["output"]),
    )


def check_graph(data: bytes, claimed_domains: Sequence[str], claimed_opset: int | None = None) -> GraphFacts:
    """What `graph_facts` finds, once it agrees with the manifest and with what serving allows.

    Raises `BundleError` for data outside the file, for operators of a domain that is not allowed or not claimed, for
    operators that reach outside the graph, and for another opset of the standard domain than `claimed_opset`.
    """
    facts = graph_facts(data)
    if facts.external:
        raise BundleError(
            "the graph keeps weights outside its file, where no SHA-256 covers them; save it with its weights inside"
        )
    if foreign := sorted(facts.domains - set(ALLOWED_DOMAINS)):
        raise BundleError(f"the graph uses operator domains {foreign}; allowed: {list(ALLOWED_DOMAINS)}")
    if unclaimed := sorted(facts.domains - {_domain(d) for d in claimed_domains}):
        raise BundleError(f"the graph uses operator domains {unclaimed}, the manifest claims {list(claimed_domains)}")
    if outside := sorted({name for _, name in facts.operators} & OUTSIDE_OPERATORS):
        raise BundleError(f"the graph uses operators that reach outside of it: {outside}")
    standard = {version for domain, version in facts.opsets if domain == STANDARD_DOMAIN}
    if claimed_opset is not None and standard != {claimed_opset}:
        raise BundleError(f"the graph imports opset {sorted(standard)}, the manifest claims {claimed_opset}")
    return facts


def check_mentions(facts: GraphFacts, has_head: bool) -> None:
    """Raises `BundleError` where the graph lacks an input or output of the head `toward`, or has them without it."""
    wanted = [(f"input {name}", name in facts.inputs) for name in MENTION_INPUTS]
    wanted.append((f"output {TOWARD}", TOWARD in facts.outputs))
    if has_head and (missing := [what for what, found in wanted if not found]):
        raise BundleError(
            f"the manifest has the head {TOWARD}, but the graph has no {', no '.join(missing)}; export it again"
        )
    if not has_head and (left := [what for what, found in wanted if found]):
        raise BundleError(f"the graph has the {', the '.join(left)}, but the manifest has no head {TOWARD}")


def _domain(text: str) -> str:
    return text or STANDARD_DOMAIN


def _expect(wire: int, wanted: int, message: str, number: int) -> None:
    if wire != wanted:
        raise BundleError(f"the graph is not ONNX: field {number} of a {message} has wire type {wire}")


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, wire type, value of a varint or start of the bytes, end of the bytes) of the fields of one message."""
    while at < end:
        tag, at = _varint(data, at, end, 5)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise BundleError("the graph is not ONNX: a field has the number 0")
        if wire == _VARINT:
            value, at = _varint(data, at, end, 10)
            yield number, wire, value, at
            continue
        if wire == _BYTES:
            size, at = _varint(data, at, end, 10)
        elif wire in {_FIXED64, _FIXED32}:
            size = 8 if wire == _FIXED64 else 4
        else:
            raise BundleError(f"the graph is not ONNX: a field has wire type {wire}")
        if size > end - at:
            raise BundleError("the graph is not ONNX: a field is longer than its message")
        yield number, wire, at, at + size
        at += size


def _varint(data: bytes, at: int, end: int, most: int) -> tuple[int, int]:
    """The number at `at`, of at most `most` bytes, and the position after it."""
    value = 0
    for shift in range(0, 7 * most, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise BundleError("the graph is not ONNX: a number is cut or too long")
