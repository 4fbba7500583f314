"""Compiled loops of the engine cpu. docs/cpu.md has the formats, the paths, and why each gives the exact values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eie.jit import compiled
from eie.sim.engines.cpu_vectors import (
    AHEAD,
    LANES,
    TILE_BYTES,
    TILE_ROWS,
    add_16,
    add_32,
    add_clipped,
    add_columns,
    add_overflows,
    add_scaled,
    multiply_16,
    multiply_32,
    rarely,
    rounded_product,
    rounded_shift,
)

Array = npt.NDArray[Any]

# Places in a layer's facts, int64[FACTS]. WEIGHT : the largest magnitude of a code. ROW_SUM : the largest sum of
# magnitudes of the codes in a row. ROW_ENTRIES : the most entries in a row. BIAS : the largest magnitude of a bias.
SHIFT, LOW, HIGH, RELU, OUT_SHIFT, OUT_LOW, OUT_HIGH, CODE_BITS, WEIGHT, ROW_SUM, ROW_ENTRIES, BIAS = range(
    12
)
FACTS = 12
# Columns whose tables stay in the first cache while all tiles use them.
_CHUNK = 256
_STEP_16, _STEP_32, _STEP_REAL = LANES["int16"], LANES["int32"], LANES["float32"]
_WORD = (1 << 15) - 1  # the largest 16-bit number
_LONG = (1 << 31) - 1

# Places in the geometry of a convolution, int64[9]: of the padded image, the window, its step and its positions.
CHANNELS, HEIGHT, WIDTH, KERNEL_Y, KERNEL_X, STEP_Y, STEP_X, DOWN, ACROSS = range(9)


# ---- what all paths share ----------------------------------------------------------------------------------


@compiled
def find_active(x: Array, active: Array) -> tuple[int, Any]:
    """How many columns are not zero, which go into `active`, and the largest magnitude in x, int16[cols].

    The last is written `AHEAD` more times, so that it can be fetched ahead of need.
    """
    count: int = 0
    largest: Any = 0
    for j in range(x.size):
        value = np.int64(x[j])
        active[count] = j
        count += value != 0
        largest = max(largest, abs(value))
    for ahead in range(AHEAD):
        active[count + ahead] = active[count - 1] if count else 0
    return count, largest


@compiled
def quantize(x: Array, factor: float, low: float, high: float, found: Array) -> None:
    """`eie.fixed.quantize` of real numbers to int16, both [batch, inputs]; factor : 2**frac."""
    for b in range(x.shape[0]):
        for j in range(x.shape[1]):
            scaled = np.floor(np.float64(x[b, j]) * factor + 0.5)
            found[b, j] = np.int16(np.int32(max(low, min(scaled, high))))


@compiled
def _rounded(value: int, shift: int) -> int:
    """`eie.fixed.round_shift` of a number that half can be added to in 64 bits."""
    return (value + ((1 << shift) >> 1)) >> shift


@compiled
def _bound(facts: Array, largest: int) -> int:
    """What no partial sum of any row exceeds in magnitude, for inputs up to `largest`.

    A rounded product exceeds |code * x| / 2**shift by at most a half.
    """
    exact = facts[ROW_SUM] * largest
    return facts[BIAS] + (exact >> facts[SHIFT]) + 1 + facts[ROW_ENTRIES]


@compiled
def _write(acc: Array, facts: Array, y: Array) -> None:
    """Accumulators as activations."""
    shift, relu = np.int32(facts[OUT_SHIFT]), facts[RELU] != 0
    low, high = np.int32(facts[OUT_LOW]), np.int32(facts[OUT_HIGH])
    for i in range(y.size):
        total = np.int32(acc[i])
        if relu:
            total = max(total, np.int32(0))
        y[i] = np.int16(max(low, min(rounded_shift(total, shift), high)))


# ---- one vector: entries -----------------------------------------------------------------------------------


@compiled
def _fill_products(span: Array, codebook: Array, x: int, shift: np.int32, products: Array) -> None:
    """Rounded products of x with each code, or with those that a short column has."""
    mask = np.uint64(codebook.size - 1)
    if span.size < codebook.size:
        for e in range(np.uint64(span.size)):
            code = np.uint64(span[e]) & mask
            products[code] = rounded_product(codebook[code], np.int32(x), shift)
    else:
        for c in range(codebook.size):
            products[c] = rounded_product(codebook[c], np.int32(x), shift)


@compiled
def _scatter_16(
    entries: Array,
    starts: Array,
    codebook: Array,
    active: Array,
    count: int,
    x: Array,
    facts: Array,
    acc: Array,
) -> None:
    """Add the active columns of a block to int16 sums, saturating to 16 bits; every product has to fit 16 bits."""
    bits, mask = np.uint64(facts[CODE_BITS]), np.uint64(codebook.size - 1)
    shift = np.int32(facts[SHIFT])
    products = np.empty(codebook.size, np.int16)
    for m in range(count):
        j = active[m]
        span = entries[starts[j] : starts[j + 1]]
        _fill_products(span, codebook, x[j], shift, products)
        for e in range(np.uint64(span.size)):
            entry = np.uint64(span[e])
            row = entry >> bits
            total, over = add_overflows(acc[row], products[entry & mask])
            if rarely(over):
                # It wrapped round to the other sign.
                total = np.int16(32767) if total < 0 else np.int16(-32768)
            acc[row] = total


@compiled
def _scatter_32(
    entries: Array,
    starts: Array,
    codebook: Array,
    active: Array,
    count: int,
    x: Array,
    facts: Array,
    acc: Array,
) -> None:
    """As `_scatter_16` for int32 sums and any limits."""
    bits, mask = np.uint64(facts[CODE_BITS]), np.uint64(codebook.size - 1)
    shift, low, high = np.int32(facts[SHIFT]), facts[LOW], facts[HIGH]
    width = np.uint64(high - low)
    products = np.empty(codebook.size, np.int64)
    for m in range(count):
        j = active[m]
        span = entries[starts[j] : starts[j + 1]]
        _fill_products(span, codebook, x[j], shift, products)
        for e in range(np.uint64(span.size)):
            entry = np.uint64(span[e])
            row = entry >> bits
            total = acc[row] + products[entry & mask]
            if rarely(np.uint64(total - low) > width):
                total = high if total > high else low
            acc[row] = total


@compiled
def _scatter_free(
    entries: Array,
    starts: Array,
    codebook: Array,
    active: Array,
    count: int,
    x: Array,
    facts: Array,
    acc: Array,
) -> None:
    """As `_scatter_32`, where no sum can leave the limits."""
    bits, mask = np.uint64(facts[CODE_BITS]), np.uint64(codebook.size - 1)
    shift = np.int32(facts[SHIFT])
    products = np.empty(codebook.size, np.int32)
    for m in range(count):
        j = active[m]
        span = entries[starts[j] : starts[j + 1]]
        _fill_products(span, codebook, x[j], shift, products)
        for e in range(np.uint64(span.size)):
            entry = np.uint64(span[e])
            acc[entry >> bits] += products[entry & mask]


@compiled
def entries_vector(
    entries: Array,
    starts: Array,
    block: int,
    codebook: Array,
    bias: Array,
    facts: Array,
    x: Array,
    active: Array,
    first: int,
    last: int,
    y: Array,
) -> None:
    """One input, int16[cols], by entries: the rows of the blocks first..last-1 of y, int16[rows].

    entries : row inside the block << code bits | code. starts : [blocks, cols + 1], into `entries`.
    """
    count, largest = find_active(x, active)
    shift, rows = facts[SHIFT], y.size
    free = _bound(facts, largest) <= facts[HIGH]
    narrow = facts[HIGH] == _WORD and _rounded(facts[WEIGHT] * largest, shift) <= _WORD
    short, long = np.empty(block, np.int16), np.empty(block, np.int32)
    for b in range(first, last):
        top = b * block
        size = min(block, rows - top)
        if free or not narrow:
            long[:size] = bias[top : top + size]
            if free:
                _scatter_free(entries, starts[b], codebook, active, count, x, facts, long)
            else:
                _scatter_32(entries, starts[b], codebook, active, count, x, facts, long)
            _write(long, facts, y[top : top + size])
        else:
            short[:size] = bias[top : top + size]
            _scatter_16(entries, starts[b], codebook, active, count, x, facts, short)
            _write(short, facts, y[top : top + size])


@compiled
def entries_real(
    entries: Array,
    starts: Array,
    block: int,
    weights: Array,
    bias: Array,
    facts: Array,
    x: Array,
    first: int,
    last: int,
    y: Array,
) -> None:
    """One input, float32[cols], in floating point: the rows of the blocks first..last-1 of y, float32[rows]."""
    bits, mask = np.uint64(facts[CODE_BITS]), np.uint64(weights.size - 1)
    products = np.empty(weights.size, np.float32)
    for b in range(first, last):
        top = b * block
        acc = y[top : top + block]
        for i in range(acc.size):
            acc[i] = bias[top + i]
        for j in range(x.size):
            if x[j] == 0:
                continue
            for c in range(weights.size):
                products[c] = weights[c] * x[j]
            span = entries[starts[b, j] : starts[b, j + 1]]
            for e in range(np.uint64(span.size)):
                entry = np.uint64(span[e])
                acc[entry >> bits] += products[entry & mask]
        if facts[RELU]:
            for i in range(acc.size):
                acc[i] = max(acc[i], np.float32(0))


# ---- one vector: tiles -------------------------------------------------------------------------------------


@compiled
def fill_tiles(indptr: Array, rows: Array, codes: Array, position: Array, left: Array, tiles: Array) -> None:
    """Codes of a layer into tiles, uint8[tiles, cols, TILE_BYTES] of zeros, at `tile_position` of each row."""
    for j in range(indptr.size - 1):
        for e in range(indptr[j], indptr[j + 1]):
            inside = rows[e] % TILE_ROWS
            tiles[rows[e] // TILE_ROWS, j, position[inside]] |= codes[e] << left[inside]


@compiled
def tiles_fit(facts: Array, largest: int) -> bool:
    """Whether tiles give the exact values: sums and all products have 16 bits."""
    return facts[HIGH] == _WORD and _rounded(facts[WEIGHT] * largest, facts[SHIFT]) <= _WORD


@compiled
def tiles_vector(
    tiles: Array,
    codebook: Array,
    bias: Array,
    facts: Array,
    x: Array,
    active: Array,
    first: int,
    last: int,
    y: Array,
) -> bool:
    """One input, int16[cols], by tiles: the rows of the tiles first..last-1 of y; False, and nothing done, where
    sums or products need more than 16 bits."""
    count, largest = find_active(x, active)
    if not tiles_fit(facts, largest):
        return False
    shift = np.int32(facts[SHIFT])
    tables = np.empty(32 * _CHUNK, np.uint8)
    flat = tiles.reshape(-1)
    tile_bytes = tiles.shape[1] * TILE_BYTES
    acc = np.zeros((last - first) * TILE_ROWS, np.int16)
    top = first * TILE_ROWS
    size = min(acc.size, y.size - top)
    acc[:size] = bias[top : top + size]
    for start in range(0, count, _CHUNK):
        many = min(_CHUNK, count - start)
        columns = active[start:]
        for m in range(many):
            value = np.int32(x[columns[m]])
            for c in range(16):
                product = rounded_product(codebook[c], value, shift)
                tables[32 * m + c] = np.uint8(product)
                tables[32 * m + 16 + c] = np.uint8(product >> 8)
        for t in range(first, last):
            add_columns(flat, t * tile_bytes, tables, columns, 0, many, acc, (t - first) * TILE_ROWS)
    _write(acc, facts, y[top : top + size])
    return True


# ---- many vectors at once ----------------------------------------------------------------------------------


@compiled
def _gather(x: Array, first: int, lanes: int, found: Array) -> None:
    """Vectors first.. of x, [batch, cols], side by side: found[col * lanes + lane]; zeros beyond the last."""
    cols = x.shape[1]
    for lane in range(lanes):
        if first + lane < x.shape[0]:
            for j in range(cols):
                found[j * lanes + lane] = x[first + lane, j]
        else:
            for j in range(cols):
                found[j * lanes + lane] = 0


@compiled
def _gather_windows(images: Array, geometry: Array, first: int, lanes: int, found: Array) -> None:
    """As `_gather` for positions first.. of a convolution's window over padded images, [batch, numbers]."""
    height, width = geometry[HEIGHT], geometry[WIDTH]
    across, positions = geometry[ACROSS], geometry[DOWN] * geometry[ACROSS]
    step = geometry[STEP_X]
    lane = 0
    while lane < lanes:
        image, place = divmod(first + lane, positions)
        if image >= images.shape[0]:
            for j in range(found.size // lanes):
                found[j * lanes + lane : (j + 1) * lanes] = 0
            return
        down, left = divmod(place, across)
        run = min(lanes - lane, across - left)  # positions side by side
        corner = down * geometry[STEP_Y] * width + left * step
        j = 0
        for channel in range(geometry[CHANNELS]):
            for ky in range(geometry[KERNEL_Y]):
                for kx in range(geometry[KERNEL_X]):
                    at = corner + (channel * height + ky) * width + kx
                    if step == 1:
                        for k in range(run):
                            found[j * lanes + lane + k] = images[image, at + k]
                    else:
                        for k in range(run):
                            found[j * lanes + lane + k] = images[image, at + k * step]
                    j += 1
        lane += run


@compiled
def _take(images: Array, geometry: Array, first: int, lanes: int, found: Array) -> None:
    if geometry.size:
        _gather_windows(images, geometry, first, lanes, found)
    else:
        _gather(images, first, lanes, found)


@compiled
def _any(values: Array) -> bool:
    found = values[0] != 0
    for k in range(values.size):
        found |= values[k] != 0
    return found


@compiled
def _lanes_16(
    entries: Array,
    starts: Array,
    codebook: Array,
    found: Array,
    lanes: int,
    facts: Array,
    products: Array,
    acc: Array,
) -> None:
    """Add all columns of a block to acc, int16[rows * lanes], saturating; every product has to fit 16 bits."""
    bits, mask = np.uint64(facts[CODE_BITS]), np.uint64(codebook.size - 1)
    shift = np.int32(facts[SHIFT])
    for j in range(starts.size - 1):
        span = entries[starts[j] : starts[j + 1]]
        if span.size == 0 or not _any(found[j * lanes : (j + 1) * lanes]):
            continue
        shared = span.size > codebook.size  # each code's products once
        if shared:
            for c in range(1, codebook.size):
                for k in range(0, lanes, _STEP_16):
                    multiply_16(products, c * lanes + k, found, j * lanes + k, codebook[c], shift)
        for e in range(np.uint64(span.size)):
            entry = np.uint64(span[e])
            row, code = np.int64(entry >> bits), np.int64(entry & mask)
            if not shared:
                for k in range(0, lanes, _STEP_16):
                    multiply_16(products, code * lanes + k, found, j * lanes + k, codebook[code], shift)
            for k in range(0, lanes, _STEP_16):
                add_16(acc, row * lanes + k, products, code * lanes + k)


@compiled
def _lanes_32(
    entries: Array,
    starts: Array,
    codebook: Array,
    found: Array,
    lanes: int,
    facts: Array,
    free: bool,
    products: Array,
    acc: Array,
) -> None:
    """As `_lanes_16` for int32 sums and any limits. free : no sum can leave the limits."""
    bits, mask = np.uint64(facts[CODE_BITS]), np.uint64(codebook.size - 1)
    shift = np.int32(facts[SHIFT])
    low, high = np.int32(facts[LOW]), np.int32(facts[HIGH])
    whole = not free and facts[HIGH] == _LONG
    for j in range(starts.size - 1):
        span = entries[starts[j] : starts[j + 1]]
        if span.size == 0 or not _any(found[j * lanes : (j + 1) * lanes]):
            continue
        shared = span.size > codebook.size
        if shared:
            for c in range(1, codebook.size):
                for k in range(0, lanes, _STEP_32):
                    multiply_32(products, c * lanes + k, found, j * lanes + k, codebook[c], shift)
        for e in range(np.uint64(span.size)):
            entry = np.uint64(span[e])
            row, code = np.int64(entry >> bits), np.int64(entry & mask)
            if not shared:
                for k in range(0, lanes, _STEP_32):
                    multiply_32(products, code * lanes + k, found, j * lanes + k, codebook[code], shift)
            if whole:
                for k in range(0, lanes, _STEP_32):
                    add_32(acc, row * lanes + k, products, code * lanes + k)
            else:
                for k in range(0, lanes, _STEP_32):
                    add_clipped(acc, row * lanes + k, products, code * lanes + k, low, high)


@compiled
def _spread(bias: Array, lanes: int, acc: Array) -> None:
    for i in range(bias.size):
        acc[i * lanes : (i + 1) * lanes] = bias[i]


@compiled
def _write_lanes(
    acc: Array, facts: Array, first: int, lanes: int, positions: int, top: int, rows: int, y: Array
) -> None:
    """Lanes of a block's rows to their places in y, int16[batch, rows * positions]."""
    column = np.empty(rows, acc.dtype)
    lane = 0
    while lane < lanes:
        image, place = divmod(first + lane, positions)
        if image >= y.shape[0]:
            return
        run = min(lanes - lane, positions - place)
        if positions == 1:
            for i in range(rows):
                column[i] = acc[i * lanes + lane]
            _write(column, facts, y[image, top : top + rows])
        else:
            for i in range(rows):
                at, start = (top + i) * positions + place, i * lanes + lane
                _write(acc[start : start + run], facts, y[image, at : at + run])
        lane += run


@compiled
def entries_batch(
    entries: Array,
    starts: Array,
    block: int,
    codebook: Array,
    bias: Array,
    facts: Array,
    geometry: Array,
    images: Array,
    lanes: int,
    first: int,
    last: int,
    y: Array,
) -> None:
    """A batch, int16[batch, inputs], by entries: the parts first..last-1, of `lanes` vectors each, of y.

    geometry : of a convolution, whose images are padded; empty for a matrix that meets each input once.
    """
    positions = geometry[DOWN] * geometry[ACROSS] if geometry.size else 1
    cols, rows = starts.shape[1] - 1, bias.size
    found = np.empty(cols * lanes, np.int16)
    height = min(block, rows)
    short, long = np.empty(height * lanes, np.int16), np.empty(height * lanes, np.int32)
    products_16 = np.empty(codebook.size * lanes, np.int16)
    products_32 = np.empty(codebook.size * lanes, np.int32)
    for part in range(first, last):
        _take(images, geometry, part * lanes, lanes, found)
        largest: Any = 0
        for k in range(found.size):
            largest = max(largest, abs(np.int64(found[k])))
        free = _bound(facts, largest) <= facts[HIGH]
        narrow = facts[HIGH] == _WORD and _rounded(facts[WEIGHT] * largest, facts[SHIFT]) <= _WORD
        for b in range(starts.shape[0]):
            top = b * block
            size = min(block, rows - top)
            if narrow:
                _spread(bias[top : top + size], lanes, short)
                _lanes_16(entries, starts[b], codebook, found, lanes, facts, products_16, short)
                _write_lanes(short, facts, part * lanes, lanes, positions, top, size, y)
            else:
                _spread(bias[top : top + size], lanes, long)
                _lanes_32(entries, starts[b], codebook, found, lanes, facts, free, products_32, long)
                _write_lanes(long, facts, part * lanes, lanes, positions, top, size, y)


@compiled
def entries_batch_real(
    entries: Array,
    starts: Array,
    block: int,
    weights: Array,
    bias: Array,
    facts: Array,
    geometry: Array,
    images: Array,
    lanes: int,
    first: int,
    last: int,
    y: Array,
) -> None:
    """As `entries_batch` in floating point: images and y are float32."""
    positions = geometry[DOWN] * geometry[ACROSS] if geometry.size else 1
    cols, rows = starts.shape[1] - 1, bias.size
    bits, mask = np.uint64(facts[CODE_BITS]), np.uint64(weights.size - 1)
    found = np.empty(cols * lanes, np.float32)
    acc = np.empty(min(block, rows) * lanes, np.float32)
    for part in range(first, last):
        _take(images, geometry, part * lanes, lanes, found)
        for b in range(starts.shape[0]):
            top = b * block
            size = min(block, rows - top)
            _spread(bias[top : top + size], lanes, acc)
            for j in range(cols):
                span = entries[starts[b, j] : starts[b, j + 1]]
                if span.size == 0 or not _any(found[j * lanes : (j + 1) * lanes]):
                    continue
                for e in range(np.uint64(span.size)):
                    entry = np.uint64(span[e])
                    row, weight = np.int64(entry >> bits), weights[entry & mask]
                    for k in range(0, lanes, _STEP_REAL):
                        add_scaled(acc, row * lanes + k, found, j * lanes + k, weight)
            if facts[RELU]:
                for k in range(size * lanes):
                    acc[k] = max(acc[k], np.float32(0))
            for lane in range(min(lanes, y.shape[0] * positions - part * lanes)):
                image, place = divmod(part * lanes + lane, positions)
                for i in range(size):
                    y[image, (top + i) * positions + place] = acc[i * lanes + lane]


@compiled
def pool(y: Array, rows: int, down: int, across: int, window: Array, pooled: Array) -> None:
    """The largest number of each pooling window: y [batch, rows * down * across] to pooled [batch, ...].

    window : its height and width, and its steps down and across.
    """
    tall, wide, step_y, step_x = window[0], window[1], window[2], window[3]
    high, broad = (down - tall) // step_y + 1, (across - wide) // step_x + 1
    for image in range(y.shape[0]):
        for row in range(rows):
            for i in range(high):
                start = (row * high + i) * broad
                line = pooled[image, start : start + broad]
                for ky in range(tall):
                    for kx in range(wide):
                        at = (row * down + i * step_y + ky) * across + kx
                        given = y[image, at:]
                        if ky == 0 and kx == 0:
                            for j in range(broad):
                                line[j] = given[j * step_x]
                        elif step_x == 2:
                            for j in range(broad):
                                line[j] = max(line[j], given[2 * j])
                        else:
                            for j in range(broad):
                                line[j] = max(line[j], given[j * step_x])
