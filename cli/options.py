"""Options of commands: several as one object, lists of numbers, sizes, and the machine."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import click
from click.core import ParameterSource

from eie.balance import Placed, balances, place
from eie.capacity import sized_for
from eie.config import FIELDS, PRESETS, ArchConfig
from eie.layer import CompressedLayer

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)


def option(*flags: str, **settings: Any) -> Any:
    """A field of a dataclass that is an option of a command (`gathered`), and is called like the field."""
    return dataclasses.field(metadata={"flags": flags, "settings": settings})


def gathered(
    parameter: str, kind: type, *order: str, **changes: Mapping[str, Any]
) -> Callable[[Command], Command]:
    """The options that are fields of the dataclass `kind`, as one `parameter` of the command.

    order : of the fields in the help; a field that is not named is no option of this command, and has its default.
    changes : settings of some of the options, by field.
    """
    fields = {field.name: field.metadata for field in dataclasses.fields(kind)}
    chosen = order or tuple(fields)
    left_out = {name: fields[name]["settings"].get("default") for name in fields if name not in chosen}

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def call(*args: Any, **given: Any) -> Any:
            made = kind(**{name: given.pop(name) if name in chosen else left_out[name] for name in fields})
            return command(*args, **{parameter: made}, **given)

        for name in reversed(chosen):
            settings = fields[name]["settings"] | changes.get(name, {})
            click.option(*fields[name]["flags"], name, **settings)(call)
        return cast(Command, call)

    return decorate


# Types of options: functions that click calls with the text.


class RealRange(click.FloatRange):
    """A range of real numbers. NaN, which click lets through, is in none, and neither is infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click's; refuses what is not finite."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


def whole_numbers(text: str) -> tuple[int, ...]:
    """Numbers with commas between, such as 1,2,4."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of whole numbers: write it as 1,2,4") from None


def real_numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between, such as 0.1,0.2."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers: write it as 0.1,0.2") from None


def pattern_number(text: str) -> tuple[str, float]:
    """A pattern of names and its number, such as ('fc*', 32.0) of fc*=32."""
    pattern, mark, number = text.rpartition("=")
    try:
        if not (mark and pattern):
            raise ValueError
        return pattern, float(number)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a pattern of names and a number, such as fc1=32") from None


def pattern_or_number(text: str) -> tuple[str, float]:
    """As `pattern_number`; a number alone is for every name."""
    return pattern_number(text if "=" in text else f"*={text}")


def matrix_size(text: str) -> tuple[int, int]:
    """(rows, cols) of a size such as 300x784."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{text!r} is not a size: write it as 300x784")
    return int(parts[0]), int(parts[1])


# ---- the machine -------------------------------------------------------------------------------------------


# Settings of the option --preset.
PRESET: dict[str, Any] = {
    "type": click.Choice(sorted(PRESETS)),
    "default": "paper",
    "help": "The published machine with accumulators of 16 (paper) or 32 bits (wide), the better one (eie2), the "
    "index-free one for layers in blocks (blocks), or one for layers that add (adder).",
}


class Setting(NamedTuple):
    """A field of the configuration and its value, such as pointers=4096."""

    name: str
    value: int | str

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


def setting(text: str) -> Setting:
    """The setting that a text such as pointers=4096 says."""
    name, mark, value = (part.strip() for part in text.partition("="))
    in_words = {"true": 1, "false": 0}
    if value.isdecimal() or value in in_words:
        return Setting(name, in_words[value] if value in in_words else int(value))
    # Of fields that have a name for a value, ArchConfig says which.
    if mark and name in FIELDS and FIELDS[name].type == "str":
        return Setting(name, value)
    raise click.BadParameter(f"{text!r} is not a setting: write it as pointers=4096")


@dataclass(frozen=True)
class Machine:
    """The machine that its options ask for."""

    n_pe: int = option("--pe", type=int, help="Processing elements.")
    depth: int | None = option(
        "--depth", type=int, show_default="the preset's", help="Activation queue depth."
    )
    preset: str = option("--preset", **PRESET)
    sized: bool = option(
        "--sized/--published", help="Memories as large as the layers need, or of the published sizes."
    )
    balance: bool | None = option(
        "--balance/--no-balance",
        default=None,
        show_default="with --preset eie2",
        help="Place the rows so that the PEs have equal work (docs/balance.md).",
    )
    settings: tuple[Setting, ...] = option(
        "--set",
        type=setting,
        multiple=True,
        metavar="FIELD=N",
        help="Change a size or a switch of the machine, such as pointers=4096. May be repeated.",
    )

    @property
    def as_set(self) -> ArchConfig:
        """The configuration without regard to any layers."""
        depth = {} if self.depth is None else {"queue_depth": self.depth}
        return ArchConfig.preset(self.preset, **({"n_pe": self.n_pe} | depth | dict(self.settings)))

    def config(self, layers: Sequence[CompressedLayer]) -> ArchConfig:
        """The configuration for these layers; what is set by hand counts more than what they need."""
        cfg = self.as_set
        if not self.sized:
            return cfg
        sized = sized_for(cfg, *layers)
        if balances(cfg, self.balance):
            sized = sized_for(sized, *(one.layer for one in place(layers, sized)))
        return sized.replace(**dict(self.settings))

    def placed(
        self, layers: Sequence[CompressedLayer], cfg: ArchConfig, *, chained: bool = True
    ) -> list[Placed]:
        """The layers as they are loaded. chained : each takes what the one before gives, in the order of its rows."""
        groups = [layers] if chained else [[layer] for layer in layers]
        return [one for group in groups for one in place(group, cfg, balance=self.balance)]


def machine_options(*order: str, n_pe: int, sized: bool = False) -> Callable[[Command], Command]:
    """Options --pe, --depth, --preset, --sized/--published, --balance/--no-balance and --set, with these defaults.

    order : only the options of these fields of `Machine`.
    """
    return gathered("machine", Machine, *order, n_pe={"default": n_pe}, sized={"default": sized})


def was_given(context: click.Context, parameter: str) -> bool:
    """Whether the command line says a parameter, rather than its default."""
    return context.get_parameter_source(parameter) is not ParameterSource.DEFAULT


def refuse_useless(context: click.Context, options: Sequence[str], why: str) -> None:
    """Refuse those of `options` that were given although they have no effect: they would mislead.

    Raises
    ------
    click.UsageError : names them and says `why`.
    """
    given = {param.opts[0] for param in context.command.params if was_given(context, str(param.name))}
    useless = [option for option in options if option in given]
    if useless:
        raise click.UsageError(
            f"{' and '.join(useless)} {'has' if len(useless) == 1 else 'have'} no effect {why}"
        )
