"""Which axis of a stored matrix is the inputs': by the name, by the bias, by what the user says.

docs/formats.md has the conventions as a table.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from eie.errors import ModelError

Shape = tuple[int, ...]
# Names whose matrices are kept as [inputs, outputs], kernels as [height, width, inputs, outputs].
_INPUTS_FIRST = re.compile(
    r"(?:.*[._/])?kernel\d*|.*/w|.*/weights?:\d+|(?:.*/)?weights:\d+|(?:.*[._/])?coefs_\d*"
)
# Names whose matrices alone are.
_MATRIX_INPUTS_FIRST = re.compile(r".*\.w_\d+|(?:.*\.)?(?:c_attn|c_proj|c_fc|q_attn)\.weight")
# Names that leave no doubt that the outputs come first.
_OUTPUTS_FIRST = re.compile(r"(?:.*[._])?(?:weight(?:_(?:ih|hh|hr)\w*)?|coef_?)")
# A projection that makes several of one, and how many.
_WIDER = {"c_attn": 3, "c_fc": 4}
_TABLE = re.compile(
    r"(?:\w+_)?(?:emb|embed|embeds|embedding|embeddings)(?:_(?:tokens|positions|table|layer|in))?(?:_?\d+)?"
    r"|Embed_\d+|wte|wpe|\w+_table|relative_attention_bias|(?:cls|mask|dist|distillation|query|reg|register|class|pad|sep)_tokens?"
)
_TRANSPOSED = re.compile(
    r"(?i)(?:\w+_)?(?:de_?conv(?:olution)?|conv(?:\dd)?_?transposed?|conv_?trans|trans(?:posed?)?_?conv)(?:\dd)?_?\d*"
)
_NORM = re.compile(r"(?i)(?:\w+_)?(?:layer|batch|group|instance|rms)?_?norm(?:\dd)?_?\d*")
_EACH = re.compile(r"(?:\w+_)?(?:gamma|beta|scale|shift|temperature)")
_DEPTHWISE = re.compile(r"(?i)(?:\w+_)?(?:depthwise|separable)_?conv(?:\dd)?_?\d*")
_DENSE_GENERAL = re.compile(r"(?:.*/)?\w*[aA]ttention\w*/(?:query|key|value|out|qkv)/kernel(?::\d+)?")


@dataclass(frozen=True)
class Stored:
    """An array of weights as the file has it. layer : its name there. bias : how many numbers its bias has, if any."""

    layer: str
    shape: Shape
    bias: int | None = None


def no_matrix(name: str, shape: Shape, has_bias: bool) -> str:
    """Why an array is no matrix that multiplies inputs, by its name; empty if it may be one."""
    parts = re.split(r"[./]", re.sub(r":\d+$", "", name))
    if parts[-1] in ("depthwise_kernel", "pointwise_kernel"):
        return "a separable kernel: give the network as ONNX"
    holder = parts[-2] if len(parts) > 1 and re.fullmatch(r"weights?|kernel|w|W", parts[-1]) else parts[-1]
    if re.fullmatch(r"(?:\w+_)?mask", parts[-1]):
        return "a mask"
    if _EACH.fullmatch(parts[-1]) or (not has_bias and _NORM.fullmatch(holder)):
        return "one number for each number, not a matrix"
    if len(shape) > 2 and _DEPTHWISE.fullmatch(holder) and parts[-1] == "kernel":
        return "a separable kernel: give the network as ONNX"
    if not has_bias and _TABLE.fullmatch(holder):
        return "an embedding, a table in which rows are looked up"
    if len(shape) > 2 and _TRANSPOSED.fullmatch(holder):
        return "a transposed convolution"
    if len(shape) > 2 and _DENSE_GENERAL.fullmatch(name):
        return "a projection of several heads: reshape it to a matrix"
    return ""


def inputs_first(
    weights: Mapping[str, Stored], given: Sequence[str] = ()
) -> tuple[dict[str, bool], list[str]]:
    """Whether each array is kept with its inputs first, and notes on what that does not follow from the name.

    The user's patterns decide, then the length of the bias, then the name.

    given : glob patterns of arrays or layers that are kept as [inputs, outputs]; with ! in front, [outputs, inputs].

    Raises
    ------
    ModelError : a pattern that matches nothing.
    """
    decided = _by_patterns(weights, given)
    proven = {name: side for name, one in weights.items() if (side := _by_bias(one)) is not None}
    notes = [
        f"{name} {list(weights[name].shape)} is read as [{_order(side)}], as its bias tells"
        for name, side in proven.items()
        if name not in decided and side != by_name(name, weights[name].shape)
    ]
    doubtful: list[str] = []
    result = {}
    for name, one in weights.items():
        side = decided.get(name, proven.get(name))
        if side is None:
            alike = {proven[other] for other in proven if _kind(other, weights) == _kind(name, weights)}
            projection = _by_projection(name, weights)
            if len(alike) == 1:
                (side,) = alike
            elif projection is not None:
                side = projection
            else:
                side = by_name(name, one.shape)
                if len(one.shape) == 2 and not _sure(name):
                    doubtful.append(name)
        result[name] = side
    if doubtful and not proven and not decided:
        _by_chain(weights, doubtful, result, notes)
    if doubtful:
        notes.append(
            f"which axis is the inputs' of {_listed(doubtful)} is a guess: read as [outputs, inputs] unless said "
            "otherwise; --transpose decides"
        )
    return result, notes


def by_name(name: str, shape: Shape) -> bool:
    """Whether arrays of this name are kept with their inputs first."""
    plain = re.sub(r":\d+$", "", name)
    return bool(
        _INPUTS_FIRST.fullmatch(name)
        or _INPUTS_FIRST.fullmatch(plain)
        or (len(shape) == 2 and _MATRIX_INPUTS_FIRST.fullmatch(name))
    )


def _order(side: bool) -> str:
    return "inputs, outputs" if side else "outputs, inputs"


def _sure(name: str) -> bool:
    return by_name(name, (0, 0)) or bool(_OUTPUTS_FIRST.fullmatch(name))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _by_patterns(weights: Mapping[str, Stored], given: Sequence[str]) -> dict[str, bool]:
    decided: dict[str, bool] = {}
    for pattern in given:
        glob = pattern.removeprefix("!")
        found = [n for n, one in weights.items() if fnmatchcase(n, glob) or fnmatchcase(one.layer, glob)]
        if not found:
            raise ModelError(f"--transpose {pattern} matches none of {_listed(list(weights)) or 'no arrays'}")
        decided |= dict.fromkeys(found, glob == pattern)
    return decided


def _by_bias(one: Stored) -> bool | None:
    """What the length of the bias tells, if it is that of one side alone."""
    first, last = one.shape[0], one.shape[-1]
    if one.bias is None or first == last or one.bias not in (first, last):
        return None
    return one.bias == last


def _kind(name: str, weights: Mapping[str, Stored]) -> tuple[str, int]:
    """Arrays of one kind are kept alike: their names differ in numbers alone."""
    return re.sub(r"\d+", "", name), len(weights[name].shape)


def _by_projection(name: str, weights: Mapping[str, Stored]) -> bool | None:
    """Of GPT-2's names, which others use for plain linear layers: what the wide projections of the file tell."""
    if not _MATRIX_INPUTS_FIRST.fullmatch(name) or not name.endswith(".weight"):
        return None
    for other, one in weights.items():
        wider = _WIDER.get(other.split(".")[-2] if other.count(".") else "", 0)
        if wider and other.endswith(".weight") and len(one.shape) == 2:
            if one.shape[1] == wider * one.shape[0]:
                return True
            if one.shape[0] == wider * one.shape[1]:
                return False
    return None


def _by_chain(
    weights: Mapping[str, Stored], names: list[str], result: dict[str, bool], notes: list[str]
) -> None:
    """Matrices that follow one another only when read the other way are."""
    shapes = [weights[name].shape for name in names]
    pairs = list(itertools.pairwise(shapes))
    follow = [one[0] == two[1] for one, two in pairs]
    follow_back = [one[1] == two[0] for one, two in pairs]
    if len(names) == len(weights) and pairs and not all(follow) and all(follow_back):
        result |= dict.fromkeys(names, True)
        notes.append(f"{_listed(names)} are read as [inputs, outputs], as they follow one another only so")
        names.clear()
