"""Instructions that numba has no words for: vectors of saturating sums, products by a look-up of 4-bit codes.

Each is written in LLVM's own language and becomes part of the compiled loop that calls it. docs/cpu.md explains them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic as _intrinsic

# numba's own type says that its first argument, which it passes itself, is the caller's.
intrinsic: Any = _intrinsic

# Rows of a tile, bytes of its codes of one column, and columns that are fetched ahead.
TILE_ROWS, TILE_BYTES, AHEAD = 128, 64, 8
# Numbers that one of the `add_` instructions takes.
LANES = {"int16": 32, "int32": 16, "float32": 16}

_I1, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
_F32 = ir.FloatType()


def has_tiles() -> bool:
    """Whether this processor has the look-up that tiles need (x86's AVX2)."""
    return bool(llvmlite.binding.get_host_cpu_features().get("avx2", False))


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """Where an array's numbers are. Arrays are handed over whole, so that numba keeps them until then."""
    return context.make_array(kind)(context, builder, array).data


def _function(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _vector_at(builder: Any, data: Any, index: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


def _load(builder: Any, pointer: Any, align: int) -> Any:
    loaded = builder.load(pointer)
    loaded.align = align
    return loaded


def _store(builder: Any, value: Any, pointer: Any, align: int) -> None:
    builder.store(value, pointer).align = align


def _rounded(builder: Any, product: Any, shift: Any, splat: Callable[[Any], Any]) -> Any:
    """round_shift(product, shift). Adding half before the shift could overflow; the bit below the last one that is
    kept says the same."""
    one, zero = ir.Constant(_I32, 1), ir.Constant(_I32, 0)
    shifts = builder.icmp_signed(">", shift, zero)
    below = builder.select(shifts, builder.sub(shift, one), zero)
    half = builder.and_(builder.ashr(product, splat(below)), splat(builder.zext(shifts, _I32)))
    return builder.add(builder.ashr(product, splat(shift)), half)


# ---- scalars -----------------------------------------------------------------------------------------------


@intrinsic
def rounded_product(typing: Any, code: Any, x: Any, shift: Any) -> Any:
    """round_shift(code * x, shift) of int32s that fit 16 bits, as int32: numba itself would compute in 64 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, x, shift = arguments
        return _rounded(builder, builder.mul(code, x), shift, lambda value: value)

    return types.int32(types.int32, types.int32, types.int32), generate


@intrinsic
def rounded_shift(typing: Any, value: Any, shift: Any) -> Any:
    """`eie.fixed.round_shift` in 32 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, shift = arguments
        return _rounded(builder, value, shift, lambda value: value)

    return types.int32(types.int32, types.int32), generate


@intrinsic
def add_overflows(typing: Any, one: Any, other: Any) -> Any:
    """(sum, whether it overflowed) of two int16: the processor's own overflow flag."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = builder.sadd_with_overflow(*arguments)
        parts = [builder.extract_value(made, 0), builder.extract_value(made, 1)]
        return context.make_tuple(builder, signature.return_type, parts)

    return types.Tuple((types.int16, types.boolean))(types.int16, types.int16), generate


@intrinsic
def rarely(typing: Any, condition: Any) -> Any:
    """`condition`, and the compiler is told that it is hardly ever true: a branch, not a select."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        expect = _function(builder, "llvm.expect.i1", _I1, _I1, _I1)
        return builder.call(expect, [arguments[0], ir.Constant(_I1, 0)])

    return types.boolean(types.boolean), generate


# ---- sums of many lanes ------------------------------------------------------------------------------------


def _adding(element: Any, lanes: int, extra: tuple[Any, ...], combine: Callable[..., Any], text: str) -> Any:
    """An instruction (acc, at, operand, from, *extra) that changes `lanes` numbers of `acc` from index `at` on."""
    kind = ir.VectorType(element, lanes)
    align = element.width // 8 if isinstance(element, ir.IntType) else 4

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        acc, at, operand, start, *more = arguments
        target = _vector_at(builder, _data(context, builder, signature.args[0], acc), at, kind)
        source = _vector_at(builder, _data(context, builder, signature.args[2], operand), start, kind)
        splat = [_splat(builder, value, kind) for value in more]
        before, given = _load(builder, target, align), _load(builder, source, align)
        _store(builder, combine(builder, kind, before, given, *splat), target, align)
        return context.get_dummy_value()

    def typed(typing: Any, acc: Any, at: Any, operand: Any, start: Any, *more: Any) -> Any:
        return types.void(acc, types.intp, operand, types.intp, *extra), generate

    # numba reads how many arguments there are from the function itself.
    made: dict[int, Callable[..., Any]] = {
        0: lambda typing, acc, at, operand, start: typed(typing, acc, at, operand, start),
        1: lambda typing, acc, at, operand, start, a: typed(typing, acc, at, operand, start, a),
        2: lambda typing, acc, at, operand, start, a, b: typed(typing, acc, at, operand, start, a, b),
    }
    function = made[len(extra)]
    function.__doc__ = text
    return intrinsic(function)


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(
        one, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count)
    )


def _saturated(builder: Any, kind: Any, before: Any, given: Any) -> Any:
    name = f"llvm.sadd.sat.v{kind.count}i{kind.element.width}"
    return builder.call(_function(builder, name, kind, kind, kind), [before, given])


def _clipped(builder: Any, kind: Any, before: Any, given: Any, low: Any, high: Any) -> Any:
    total = builder.add(before, given)
    total = builder.select(builder.icmp_signed("<", total, low), low, total)
    return builder.select(builder.icmp_signed(">", total, high), high, total)


def _scaled(builder: Any, kind: Any, before: Any, given: Any, factor: Any) -> Any:
    return builder.fadd(before, builder.fmul(given, factor))


add_16 = _adding(_I16, LANES["int16"], (), _saturated, "acc += operand, saturating to 16 bits.")
add_32 = _adding(_I32, LANES["int32"], (), _saturated, "acc += operand, saturating to 32 bits.")
add_clipped = _adding(
    _I32,
    LANES["int32"],
    (types.int32, types.int32),
    _clipped,
    "acc = clip(acc + operand, low, high), in 32 bits.",
)
add_scaled = _adding(_F32, LANES["float32"], (types.float32,), _scaled, "acc += operand * factor.")


def _multiplying(element: Any, lanes: int, text: str) -> Any:
    """An instruction (out, at, x, from, code, shift) that makes `lanes` rounded products of int16s."""
    given, wide, kind = (ir.VectorType(one, lanes) for one in (_I16, _I32, element))

    def multiply(typing: Any, out: Any, at: Any, x: Any, start: Any, code: Any, shift: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            out, at, x, start, code, shift = arguments
            source = _vector_at(builder, _data(context, builder, signature.args[2], x), start, given)
            target = _vector_at(builder, _data(context, builder, signature.args[0], out), at, kind)
            values = builder.sext(_load(builder, source, 2), wide)
            product = builder.mul(values, _splat(builder, code, wide))
            rounded = _rounded(builder, product, shift, lambda value: _splat(builder, value, wide))
            if element is not _I32:
                rounded = builder.trunc(rounded, kind)
            _store(builder, rounded, target, element.width // 8)
            return context.get_dummy_value()

        return types.void(out, types.intp, x, types.intp, types.int32, types.int32), generate

    multiply.__doc__ = text
    return intrinsic(multiply)


multiply_16 = _multiplying(
    _I16, LANES["int16"], "out = rounded_product(code, x, shift), products that fit 16 bits."
)
multiply_32 = _multiplying(_I32, LANES["int32"], "out = rounded_product(code, x, shift).")


# ---- tiles -------------------------------------------------------------------------------------------------

_CODES = ir.VectorType(_I8, 32)
_SUMS = ir.VectorType(_I16, 16)
_TABLE = ir.VectorType(_I8, 16)


def _indices(numbers: list[int]) -> Any:
    return ir.Constant(ir.VectorType(_I32, len(numbers)), numbers)


# x86's unpack: low and high bytes of products side by side, inside each half of 16 bytes.
_FIRST = [n // 2 + (32 if n % 2 else 0) + (0 if n < 16 else 8) for n in range(32)]
_SECOND = [n + 8 for n in _FIRST]


def tile_position(row: int) -> tuple[int, int]:
    """(byte, bits to the left) of a tile's row among the codes of a column: so that the sums come out in order.

    >>> tile_position(0), tile_position(8), tile_position(127)
    ((0, 0), (16, 0), (63, 4))
    """
    vector, element = divmod(row, 16)
    half = vector % 2
    byte = 8 * half + element % 8 + 16 * (element // 8)
    return 32 * (vector // 4) + byte, 4 * (vector // 2 % 2)


def _add_column(builder: Any, codes: Any, table: list[Any], sums: list[Any]) -> list[Any]:
    """A tile's sums with one column's products added; codes : where the column's are. table : low and high bytes."""
    look_up = _function(builder, "llvm.x86.avx2.pshuf.b", _CODES, _CODES, _CODES)
    mask, four = ir.Constant(_CODES, [15] * 32), ir.Constant(_SUMS, [4] * 16)
    new: list[Any] = []
    for half in range(2):
        both = _load(builder, _vector_at(builder, codes, ir.Constant(_I64, 32 * half), _CODES), 32)
        above = builder.bitcast(builder.lshr(builder.bitcast(both, _SUMS), four), _CODES)
        for nibbles in (both, above):
            chosen = builder.and_(nibbles, mask)
            low, high = (builder.call(look_up, [part, chosen]) for part in table)
            for order in (_FIRST, _SECOND):
                products = builder.bitcast(builder.shuffle_vector(low, high, _indices(order)), _SUMS)
                new.append(_saturated(builder, _SUMS, sums[len(new)], products))
    return new


@intrinsic
def add_columns(
    typing: Any, tiles: Any, start: Any, tables: Any, active: Any, first: Any, count: Any, acc: Any, at: Any
) -> Any:
    """Add `count` active columns to the 128 sums of a tile, in order, saturating to 16 bits.

    tiles : uint8[...], this tile's columns from byte `start` on, `TILE_BYTES` each. active : uint32[...], columns from
    index `first` on, and `AHEAD` more that can be fetched. tables : uint8[..., 32], for each active column the low and
    the high bytes of the 16 products. acc : int16[...], the sums from index `at` on.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tiles, start, tables, active, first, count, acc, at = arguments
        kinds = signature.args
        codes = builder.gep(_data(context, builder, kinds[0], tiles), [start])
        rows = _data(context, builder, kinds[2], tables)
        columns = builder.gep(_data(context, builder, kinds[3], active), [first])
        sums = _vector_at(builder, _data(context, builder, kinds[6], acc), at, _SUMS)
        fetch = _function(builder, "llvm.prefetch.p0i8", ir.VoidType(), _I8.as_pointer(), _I32, _I32, _I32)

        def constant(value: int) -> Any:
            return ir.Constant(_I64, value)

        def column(index: Any) -> Any:
            number = builder.zext(builder.load(builder.gep(columns, [index])), _I64)
            return builder.gep(codes, [builder.mul(number, constant(TILE_BYTES))])

        before = [_load(builder, builder.gep(sums, [constant(k)]), 2) for k in range(8)]
        entry = builder.block
        loop, done = builder.append_basic_block("columns"), builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed(">", count, constant(0)), loop, done)

        builder.position_at_end(loop)
        number = builder.phi(_I64)
        number.add_incoming(constant(0), entry)
        running = [builder.phi(_SUMS) for _ in before]
        for one, value in zip(running, before, strict=True):
            one.add_incoming(value, entry)
        # For reading, to be kept in all caches, as data.
        hints = [ir.Constant(_I32, value) for value in (0, 3, 1)]
        builder.call(fetch, [column(builder.add(number, constant(AHEAD))), *hints])
        row = builder.gep(rows, [builder.mul(builder.add(first, number), constant(32))])
        table = []
        for half in (0, 16):
            bytes_ = _load(builder, _vector_at(builder, row, constant(half), _TABLE), 1)
            twice = _indices([n % 16 for n in range(32)])
            table.append(builder.shuffle_vector(bytes_, ir.Constant(_TABLE, ir.Undefined), twice))
        after = _add_column(builder, column(number), table, running)
        following = builder.add(number, constant(1))
        number.add_incoming(following, loop)
        for one, value in zip(running, after, strict=True):
            one.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, done)

        builder.position_at_end(done)
        final = [builder.phi(_SUMS) for _ in before]
        for one, value, other in zip(final, before, after, strict=True):
            one.add_incoming(value, entry)
            one.add_incoming(other, loop)
        for k, value in enumerate(final):
            _store(builder, value, builder.gep(sums, [constant(k)]), 2)
        return context.get_dummy_value()

    signature = types.void(tiles, types.intp, tables, active, types.intp, types.intp, acc, types.intp)
    return signature, generate
