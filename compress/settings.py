"""Which layers of a model to compress, and how: glob patterns over their names, in a TOML file.

    input = [1, 28, 28]         # of a network of convolutions: channels, height and width of its images
    density = 0.1               # what stands here is for every layer

    [layers."conv*"]            # a pattern; where several match a layer, the last one wins, key by key
    density = 0.5
    pool = 2

docs/models.md lists the keys.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from eie.compress.float_layers import Layers, LayerSource, Model, Unused, left_over
from eie.compress.pipeline import Settings
from eie.compress.quantize import Widths
from eie.conv import Conv
from eie.errors import EieError, ModelError
from eie.files import read_toml

# So many layers are named when a pattern matches none.
_SHOWN = 8
_GEOMETRY = ("stride", "padding", "pool", "pool_stride")


# ---- what a key may hold -----------------------------------------------------------------------------------


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


def _sizes(least: int) -> Callable[[Any], bool]:
    """Whether a value is a size, or two."""

    def check(value: Any) -> bool:
        return _whole(value, least) or (
            isinstance(value, list) and len(value) == 2 and all(_whole(part, least) for part in value)
        )

    return check


_KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "density": (lambda v: _number(v) and 0 < v <= 1, "a number above 0 and at most 1"),
    "threshold": (lambda v: _number(v) and 0 <= v < float("inf"), "a number of at least 0"),
    "weight_bits": (lambda v: v == "auto" or (_whole(v, 1) and v <= 8), 'from 1 to 8, or "auto"'),
    "sharing_error": (lambda v: _number(v) and 0 < v < 1, "a number between 0 and 1"),
    "blocks": (lambda v: _whole(v, 1), "a number of blocks from 1"),
    "skip": (lambda v: isinstance(v, bool), "true or false"),
    "relu": (lambda v: isinstance(v, bool), "true or false"),
    "stride": (_sizes(1), "a size from 1, or [height, width]"),
    "padding": (_sizes(0), "a size from 0, or [height, width]"),
    "pool": (_sizes(1), "a size from 1, or [height, width]"),
    "pool_stride": (_sizes(1), "a size from 1, or [height, width]"),
}
_TOP: dict[str, tuple[Callable[[Any], bool], str]] = {
    "input": (
        lambda v: isinstance(v, list) and len(v) == 3 and all(_whole(part, 1) for part in v),
        "[channels, height, width]",
    ),
    "layers": (lambda v: isinstance(v, dict), 'a table for each pattern, such as [layers."conv*"]'),
}


def _check(
    given: Mapping[str, Any], keys: Mapping[str, tuple[Callable[[Any], bool], str]], where: str
) -> None:
    for key, value in given.items():
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1)
            hint = f"did you mean {near[0]}?" if near else f"use {', '.join(keys)}"
            raise ModelError(f"{where}: there is no key {key!r}: {hint}")
        good, text = keys[key]
        if not good(value):
            raise ModelError(f"{where}: {key} must be {text}, not {value!r}")
    if "density" in given and "threshold" in given:
        raise ModelError(f"{where}: give density or threshold, not both")


# ---- the file ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A settings file.

    every : keys for all layers. rules : pattern and keys, in the file's order. image : `input`. place : for messages.
    """

    every: Mapping[str, Any]
    rules: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    image: tuple[int, int, int] | None = None
    place: str = "settings"

    @classmethod
    def read(cls, path: Path) -> Plan:
        """The plan in a TOML file.

        Raises
        ------
        ModelError : it cannot be read, is not TOML, or has an unknown key or a wrong value.
        """
        given = read_toml(path, ModelError)
        _check(given, _KEYS | _TOP, str(path))
        rules = given.pop("layers", {})
        image = given.pop("input", None)
        for pattern, keys in rules.items():
            where = f'{path}: layers."{pattern}"'
            if not isinstance(keys, dict):
                raise ModelError(f"{where} must be a table of keys, not {keys!r}")
            _check(keys, _KEYS, where)
        return cls(given, tuple(rules.items()), None if image is None else tuple(image), str(path))

    def apply(self, model: Model, widths: Widths) -> tuple[Model, list[Settings]]:
        """The layers that are left, with their ReLUs and geometry, and the settings of each.

        Raises
        ------
        ModelError : a pattern that matches no layer, or a geometry that does not fit.
        """
        keys = self._keys(model.layers.sources)
        places: list[int] = []
        settings: list[Settings] = []
        skipped: list[Unused] = []
        for place, (source, chosen) in enumerate(zip(model.layers.sources, keys, strict=True)):
            if chosen.get("skip"):
                skipped.append(Unused(source.name, "skip in the settings"))
                continue
            places.append(place)
            settings.append(_settings(chosen, widths))
        if not places:
            raise ModelError(f"{self.place}: every layer is skipped")
        remaining = left_over(model.layers.sources, places)
        kept = [self._shaped(source, keys[place]) for source, place in zip(remaining, places, strict=True)]
        if self.image is not None:
            kept = list(self._sized(kept, self.image))
        return Model(Layers(tuple(kept)), (*model.unused, *skipped), model.notes), settings

    def _keys(self, sources: Sequence[LayerSource]) -> list[dict[str, Any]]:
        """What holds for each layer."""
        chosen = [dict(self.every) for _ in sources]
        for pattern, keys in self.rules:
            for place in matching(sources, pattern, f'{self.place}: layers."{pattern}"'):
                # Of these two, the later one holds.
                for one, other in (("density", "threshold"), ("threshold", "density")):
                    if one in keys:
                        chosen[place].pop(other, None)
                chosen[place] |= keys
        automatic = any(keys.get("weight_bits") == "auto" for keys in chosen)
        if not automatic and any("sharing_error" in keys for keys in chosen):
            raise ModelError(f'{self.place}: sharing_error is for weight_bits = "auto", which no layer has')
        return chosen

    def _shaped(self, source: LayerSource, keys: Mapping[str, Any]) -> LayerSource:
        geometry = {key: _pair(keys[key]) for key in _GEOMETRY if key in keys}
        if "pool" in geometry:
            geometry.setdefault("pool_stride", geometry["pool"])
        if "relu" in keys:
            source = replace(source, relu=keys["relu"])
        # Keys for every layer are for its convolutions.
        if source.conv is None and any(key not in self.every for key in geometry):
            raise ModelError(
                f"{self.place}: layer {source.name!r} is not a convolution: it has no {next(iter(geometry))}"
            )
        return (
            source if source.conv is None else replace(source, conv=self._conv(source, source.conv, geometry))
        )

    def _conv(self, source: LayerSource, conv: Conv, changes: Mapping[str, Any]) -> Conv:
        try:
            return replace(conv, **changes)
        except EieError as error:
            raise ModelError(f"{self.place}: layer {source.name!r}: {error}") from None

    def _sized(self, sources: Sequence[LayerSource], image: tuple[int, int, int]) -> Iterator[LayerSource]:
        """The layers with the sizes of their images, which follow from that of the first one."""
        channels, *size = image
        for source in sources:
            here = f"{channels} x {size[0]} x {size[1]}"
            if source.conv is None:
                if source.shape[1] != channels * size[0] * size[1]:
                    raise ModelError(
                        f"{self.place}: layer {source.name!r} takes {source.shape[1]} inputs, but with this input "
                        f"(and strides, paddings, pooling) it would get {here}"
                    )
                channels, size = source.shape[0], [1, 1]
                yield source
                continue
            if source.conv.channels(source.shape[1]) != channels:
                raise ModelError(
                    f"{self.place}: layer {source.name!r} takes {source.conv.channels(source.shape[1])} channels, "
                    f"but with this input it would get {here}"
                )
            conv = self._conv(source, source.conv, {"size": tuple(size)})
            channels, size = source.shape[0], list(conv.pooled_size)
            yield replace(source, conv=conv)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _settings(keys: Mapping[str, Any], widths: Widths) -> Settings:
    bits = keys.get("weight_bits", Settings.weight_bits)
    return Settings(
        density=(float(keys["density"]),) if "density" in keys else (),
        threshold=(float(keys["threshold"]),) if "threshold" in keys else (),
        weight_bits=None if bits == "auto" else bits,
        widths=widths,
        sharing_error=float(keys.get("sharing_error", Settings.sharing_error)),
        blocks=keys.get("blocks", Settings.blocks),
    )


# ---- patterns ----------------------------------------------------------------------------------------------


def matching(sources: Sequence[LayerSource], pattern: str, where: str) -> list[int]:
    """Places of the layers whose names match a glob pattern (`*`, `?`, `[abc]`; upper and lower case differ).

    Raises
    ------
    ModelError : there is none; `where` begins the message.
    """
    places = [place for place, source in enumerate(sources) if fnmatchcase(source.name, pattern)]
    if not places:
        names = ", ".join(source.name for source in sources[:_SHOWN])
        more = f" and {len(sources) - _SHOWN} more" if len(sources) > _SHOWN else ""
        raise ModelError(f"{where} matches no layer (there are {names}{more})")
    return places


def choose(model: Model, patterns: Sequence[str]) -> Model:
    """The model with only those of its layers that match one of the patterns.

    Raises
    ------
    ModelError : a pattern that matches none.
    """
    sources = model.layers.sources
    chosen = {place for pattern in patterns for place in matching(sources, pattern, f"--layer {pattern}")}
    left_out = [
        Unused(source.name, "not chosen") for place, source in enumerate(sources) if place not in chosen
    ]
    return Model(Layers(left_over(sources, sorted(chosen))), (*model.unused, *left_out), model.notes)
