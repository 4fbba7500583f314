"""A second decoder of .eie files, written from docs/formats.md alone: slow, short, and independent of the package."""

import hashlib
import math
import zlib

import numpy as np


class Refused(Exception):
    """The file breaks a rule of the format."""


def require(ok, why):
    if not ok:
        raise Refused(why)


class Reader:
    """Takes one thing after the other."""

    def __init__(self, data):
        self.data = data
        self.place = 0

    def take(self, size):
        part = self.data[self.place : self.place + size]
        require(len(part) == size, "cut short")
        self.place += size
        return part

    def byte(self):
        return self.take(1)[0]

    def varint(self):
        number = 0
        for i in range(5):
            byte = self.byte()
            number |= (byte & 127) << 7 * i
            if byte < 128:
                return number
        raise Refused("varint of more than five bytes")

    def signed(self):
        number = self.varint()
        return -(number + 1) // 2 if number % 2 else number // 2

    def pair(self):
        first = self.varint()
        return (first // 2, self.varint()) if first % 2 else (first // 2, first // 2)

    def done(self):
        return self.place == len(self.data)


# ---- the arithmetic code -----------------------------------------------------------------------------------

RATE = [131072 // (2 * n + 3) for n in range(256)]
STRETCH = [round(256 * math.log(p / (65536 - p))) for p in range(1, 65536)]
STRETCH.insert(0, STRETCH[0])
SQUASH = {t: round(65536 / (1 + math.exp(-t / 256))) for t in range(-2816, 2817)}


class Context:
    """Predicts a bit."""

    def __init__(self, p=2**21, n=0):
        self.p, self.n = p, n

    def learn(self, bit):
        self.p += ((2**22 - 1 if bit else 0) - self.p) * RATE[self.n] >> 16
        self.n = min(self.n + 1, 255)


class Contexts(dict):
    """Contexts by whatever chooses them."""

    def __init__(self, *start):
        super().__init__()
        self.start = start

    def __missing__(self, key):
        self[key] = Context(*self.start)
        return self[key]


class Bits:
    """Bits of an arithmetic-coded stretch."""

    def __init__(self, data):
        self.rest = iter(data)
        self.low, self.high = 0, 2**32 - 1
        self.number = 0
        for _ in range(4):
            self.shift()

    def shift(self):
        self.number = (self.number * 256 + next(self.rest, 0)) % 2**32

    def bit(self, p):
        middle = self.low + (self.high - self.low) * p // 65536
        bit = self.number <= middle
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        while self.low >> 24 == self.high >> 24:
            self.shift()
            self.low = self.low * 256 % 2**32
            self.high = self.high * 256 % 2**32 + 255
        return int(bit)

    def predicted(self, context):
        bit = self.bit(min(max(context.p >> 6, 32), 65504))
        context.learn(bit)
        return bit

    def mixed(self, contexts, weights, learning):
        logits = [STRETCH[context.p >> 6] for context in contexts]
        t = sum(w * x for w, x in zip(weights, logits, strict=True)) >> 16
        p = SQUASH[min(max(t, -2816), 2816)]
        bit = self.bit(p)
        error = (65536 if bit else 0) - p
        for k, context in enumerate(contexts):
            weights[k] += logits[k] * error * learning + 32768 >> 16
            context.learn(bit)
        return bit

    def numbers(self, count):
        contexts, found = Contexts(), []
        for _ in range(count):
            size = ()
            for _ in range(6):
                size += (self.predicted(contexts["size", size]),)
            s = int("".join(map(str, size)), 2)
            require(s <= 32, "number")
            u, below = 1, ()
            for place in range(s):
                if place < 2:
                    below += (self.predicted(contexts["below", s, below]),)
                    u = 2 * u + below[-1]
                else:
                    u = 2 * u + self.bit(32768)
            u -= 1
            require(u < 2**32, "number")
            found.append(-(u + 1) // 2 if u % 2 else u // 2)
        return found


def level(n):
    if n <= 4:
        return n
    s = n.bit_length() - 1
    return min(2 * s + (n >> (s - 1) & 1), 15)


def positions(bits, rows, cols, entries, stride, before):
    """What has an entry, bool[rows, cols]."""
    start = min(max(entries * 2**22 // (rows * cols), 64), 2**22 - 1), 20
    contexts = Contexts(*start)
    weights = [[13107] * 6 for _ in range(4)]
    full = np.zeros((rows, cols), bool)
    in_column, in_row, last = [0] * cols, [0] * rows, [-1] * rows
    found = 0

    def entry(i, j):
        return int(j >= 0 and full[i, j])

    def of_column(j):
        return in_column[j] if j >= 0 else 0

    for j in range(cols):
        share = rows * 2**20 // (found + rows)
        for i in range(rows):
            if found == entries:
                return full
            beside = tuple(entry(i, c) for c in (j - 1, j - 2, j - stride, j - stride - 1, j - stride + 1))
            near = sum(beside)
            some = min(near, 3)
            here, row = level(in_column[j]), level(in_row[i] * share >> 16)
            since = min(j - last[i], 255)
            left, up = level(of_column(j - 1)), level(of_column(j - stride))
            around = level(of_column(j - 1) + of_column(j - stride) + of_column(j - stride + 1))
            keys = [
                beside,
                (row, near),
                (since, some),
                (row, around, some),
                (here, level(before[j])),
                (min(left, 10), min(up, 10), min(here, 14)),
            ]
            chosen = [contexts[k, key] for k, key in enumerate(keys)]
            if bits.mixed(chosen, weights[some], 1):
                full[i, j] = True
                found += 1
                in_column[j] += 1
                in_row[i] += 1
                last[i] = j
    require(found == entries, "entries missing")
    return full


def code_indices(bits, full, stride, weight_bits):
    """uint8[rows, cols]."""
    contexts = Contexts()
    weights = [[21845] * 3 for _ in range(2**weight_bits)]
    codes = np.zeros(full.shape, np.uint8)
    last = [0] * len(full)
    for j, i in np.argwhere(full.T):
        columns = (j - 1, j - 2, j - stride, j - stride - 1, j - stride + 1)
        beside = [int(codes[i, c]) for c in columns if c >= 0 and codes[i, c]]
        mean = (2 * sum(beside) + len(beside)) // (2 * len(beside)) if beside else 0
        node = 1
        for _ in range(weight_bits):
            chosen = [contexts[key] for key in ((node,), ("last", node, last[i]), ("mean", node, mean))]
            node = 2 * node + bits.mixed(chosen, weights[node], 6)
        codes[i, j] = last[i] = node - 2**weight_bits
        require(codes[i, j], "code index 0")
    return codes


# ---- blocks ----------------------------------------------------------------------------------------------


def cut(order, parts):
    """Lists of so many parts of `order`, the first ones one longer."""
    each, more = divmod(len(order), parts)
    found, place = [], 0
    for part in range(parts):
        found.append(order[place : place + each + (part < more)])
        place += len(found[-1])
    return found


def random_order(count, state):
    numbers = []
    for i in range(1, count + 1):
        z = (state + i * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        numbers.append(z ^ z >> 31)
    return sorted(range(count), key=lambda i: numbers[i])


def block_places(rows, cols, blocks, order, seed):
    """Rows and columns of each block."""
    if order == 2:
        return cut(random_order(rows, 2 * seed), blocks), cut(random_order(cols, 2 * seed + 1), blocks)
    by_column = [j for b in range(blocks) for j in range(b, cols, blocks)] if order else list(range(cols))
    return cut(list(range(rows)), blocks), cut(by_column, blocks)


def in_blocks(bits, layer, deltas):
    """int[rows, cols]: the weights."""
    rows, cols = layer["rows"], layer["cols"]
    count, distinct, order, seed = layer["blocks"]
    of_rows, of_cols = block_places(rows, cols, count, order, seed)
    size = 2 ** layer["weight_bits"]
    contexts, weights = Contexts(), [[21845] * 3 for _ in range(size)]
    blocks, symbol = [], size
    for b in range(distinct):
        codes = np.zeros((len(of_rows[b]), len(of_cols[b])), int)
        for i, j in np.ndindex(codes.shape):
            same = int(blocks[-1][i, j]) if b else size
            left = size if j == 0 else symbol
            node = 1
            for _ in range(layer["weight_bits"]):
                chosen = [
                    contexts[key] for key in ((node, b > 0), ("same", node, same), ("left", node, left))
                ]
                node = 2 * node + bits.mixed(chosen, weights[node], 6)
            symbol = node - size
            codes[i, j] = (symbol + same) % size if deltas and b else symbol
        blocks.append(codes)
    found = np.zeros((rows, cols), int)
    for b in range(count):
        part = blocks[b % distinct][: len(of_rows[b]), : len(of_cols[b])]
        found[np.ix_(of_rows[b], of_cols[b])] = layer["codebook"][part]
    return found


# ---- Huffman ---------------------------------------------------------------------------------------------


def code_words(lengths):
    """{(length, word): symbol} of the canonical code."""
    occurring = sorted((length, symbol) for symbol, length in enumerate(lengths) if length)
    space = sum(2.0**-length for length, _ in occurring)
    require(space == 1 or not occurring or [length for length, _ in occurring] == [1], "code space")
    words, word, before = {}, -1, 0
    for length, symbol in occurring:
        word = (word + 1) << (length - before)
        words[length, word] = symbol
        before = length
    return words


def stream(reader):
    """w and the symbols of the next stream."""
    w, table_size, count, size = (reader.varint() for _ in range(4))
    require(1 <= w <= 8 and table_size <= 2**w, "table size")
    halves = [half for byte in reader.take((table_size + 1) // 2) for half in (byte & 15, byte >> 4)]
    require(not any(halves[table_size:]), "table padding")
    words = code_words(halves[:table_size])
    bits = "".join(f"{byte:08b}" for byte in reader.take(size))
    symbols, place = [], 0
    while len(symbols) < count:
        for length in range(1, 16):
            require(place + length <= len(bits), "code words cut short")
            symbol = words.get((length, int(bits[place : place + length], 2)))
            if symbol is not None:
                break
        else:
            raise Refused("no such code word")
        symbols.append(symbol)
        place += length
    require(len(bits) - place < 8 and "1" not in bits[place:], "stream padding")
    return w, symbols


def numbers(reader):
    """The numbers of the next stream."""
    w, symbols = stream(reader)
    most = 2**w - 1
    found, number = [], 0
    for symbol in symbols:
        number += symbol
        if symbol != most:
            found.append(number)
            number = 0
    require(not symbols or symbols[-1] != most, "number cut short")
    return found


def from_streams(reader, layer):
    """uint8[rows, cols]."""
    w, indices = stream(reader)
    require(w == layer["weight_bits"] and all(indices), "code index")
    zeros, counts = numbers(reader), numbers(reader)
    require(reader.done(), "bytes left over")
    require(len(counts) == layer["cols"], "counts")
    require(sum(counts) == len(zeros) == len(indices) == layer["entries"], "entries")
    codes = np.zeros((layer["rows"], layer["cols"]), np.uint8)
    entries = iter(zip(indices, zeros, strict=True))
    for column, count in enumerate(counts):
        row = -1
        for _ in range(count):
            index, run = next(entries)
            row += run + 1
            require(row < layer["rows"], "row past the last")
            codes[row, column] = index
    return codes


# ---- layers ------------------------------------------------------------------------------------------------


def geometry(cols, kernel, stride, padding, pool, pool_stride, image):
    for pair, least in zip(
        (kernel, stride, padding, pool, pool_stride, image), (1, 1, 0, 1, 1, 0), strict=True
    ):
        require(all(least <= size <= 2**16 for size in pair), "a size of a convolution")
    require(cols % (kernel[0] * kernel[1]) == 0, "channels")
    if min(image) > 0:
        for axis in (0, 1):
            positions = (image[axis] + 2 * padding[axis] - kernel[axis]) // stride[axis] + 1
            require(positions >= 1, "the window does not fit")
            require((positions - pool[axis]) // pool_stride[axis] + 1 >= 1, "the pooling window does not fit")


def head(reader):
    """The head of a layer, and its body."""
    flags = reader.byte()
    kind = reader.byte() if flags & 128 else 0
    require(kind in (1, 2, 3, 4) or not flags & 128, "kind")
    arithmetic = reader.byte() if kind == 4 else 0
    require(kind != 4 or 1 <= arithmetic <= 3, "arithmetic")
    require(kind != 1 or not flags & 4, "kind")
    require(kind != 2 or not flags & 2, "a convolution as an early exit")
    layer = {"relu": flags & 1, "huffman": flags & 4, "weight_bits": (flags >> 3 & 7) + 1}
    layer["follows"], layer["exit"] = not flags & 64, kind == 2
    try:
        layer["name"] = reader.take(reader.varint()).decode()
    except UnicodeDecodeError:
        raise Refused("name") from None
    layer |= {field: reader.varint() for field in ("rows", "cols")}
    require(1 <= layer["rows"] <= 2**24 and 1 <= layer["cols"] <= 2**24, "size")
    layer["blocks"] = None
    if kind == 1:
        count, distinct, order = reader.varint(), reader.varint(), reader.byte()
        seed = reader.varint() if order == 2 else 0
        require(1 <= distinct <= count <= min(layer["rows"], layer["cols"]), "blocks")
        require(order <= 2 and seed < 2**32, "order")
        layer["blocks"] = count, distinct, order, seed
        require(layer["rows"] + layer["cols"] <= 32 * len(reader.data), "a body too small")
        of_rows, of_cols = cut(range(layer["rows"]), count), cut(range(layer["cols"]), count)
        layer["entries"] = sum(len(a) * len(b) for a, b in zip(of_rows, of_cols, strict=True))
    else:
        layer["entries"] = reader.varint()
    layer |= {field: reader.byte() for field in ("product_shift", "output_shift")}
    layer |= {field: reader.signed() for field in ("x_frac", "w_frac")}
    layer["adder"], layer["scaled"] = arithmetic & 1, arithmetic & 2
    layer["scale_frac"] = reader.signed() if layer["scaled"] else 0
    require(abs(layer["scale_frac"]) <= 1000, "fraction bits of scales")
    if layer["adder"]:
        require(layer["product_shift"] == 0 and layer["x_frac"] == layer["w_frac"], "scales of an adder")
        require(layer["cols"] < 2**17, "columns of an adder")
    layer["geometry"] = [reader.pair() for _ in range(6)] if flags & 2 else None
    require(layer["entries"] <= layer["rows"] * layer["cols"], "entries")
    require(max(layer["product_shift"], layer["output_shift"]) <= 31, "shift")
    require(max(abs(layer["x_frac"]), abs(layer["w_frac"])) <= 1000, "fraction bits")
    if flags & 2:
        geometry(layer["cols"], *layer["geometry"])
    layer["widths"] = []
    if kind == 3:
        count = reader.byte()
        require(count > 0, "no narrower width")
        before = 0, 1, 1
        for _ in range(count):
            share, rows, cols = reader.varint(), reader.varint(), reader.varint()
            require(before[0] < share < 1000, "widths do not ascend")
            require(
                before[1] <= rows <= layer["rows"] and before[2] <= cols <= layer["cols"], "a width's size"
            )
            if flags & 2:
                kernel = layer["geometry"][0]
                require(cols % (kernel[0] * kernel[1]) == 0, "channels of a width")
            before = share, rows, cols
            layer["widths"].append(before)
    body = reader.take(reader.varint())
    units = layer["rows"] + layer["cols"] + layer["entries"]
    if layer["blocks"]:
        units += 4 ** layer["weight_bits"] // 8
    require(units <= (32 if layer["blocks"] else 8) * len(body), "a body too small")
    return layer, body


def decode(data):
    """The layers of a file (bytes), each a dict: what its head says, codebook, bias, and codes [rows, cols]."""
    require(data[:3] == b"EIE" and data[3] in (2, 3), "no .eie file")
    require(hashlib.blake2b(data[:4] + data[12:], digest_size=8).digest() == data[4:12], "checksum")
    reader = Reader(data[12:])
    if data[3] == 3:
        packed = reader.take(reader.varint())
        most = max(2**20, 100 * len(packed))
        stream = zlib.decompressobj()
        try:
            stream.decompress(packed, most)
        except zlib.error:
            require(False, "graph")
        require(stream.eof and not stream.unused_data, "graph")
    layers, rows_before = [], None
    while not layers or not reader.done():
        layer, body = head(reader)
        rows, cols = layer["rows"], layer["cols"]
        inside = Reader(body)
        first = inside.varint() if layer["huffman"] else inside.byte()
        bits = Bits(inside.take(first) if layer["huffman"] else body[1:])
        if layer["blocks"]:
            steps = bits.numbers(2 ** layer["weight_bits"])
            layer["codebook"] = np.cumsum(steps)
            require(min(steps[1:]) >= 0, "a codebook that falls")
            require(len({*layer["codebook"].tolist()} - {0}) <= 255, "too many codes")
        else:
            layer["codebook"] = np.cumsum([0, *bits.numbers(2 ** layer["weight_bits"] - 1)])
        require(np.abs(2 * layer["codebook"] + 1).max() < 2**16, "code of more than 16 bits")
        layer["bias"] = bits.numbers(rows)
        layer["scale"] = bits.numbers(rows) if layer["scaled"] else None
        require(all(-(2**15) <= s < 2**15 for s in layer["scale"] or ()), "scale of more than 16 bits")
        if layer["blocks"]:
            require(first <= 1, "kind of codes")
            layer["weights"] = in_blocks(bits, layer, first)
        elif layer["huffman"]:
            layer["codes"] = from_streams(inside, layer)
        else:
            require(first >= 2 and rows * (cols + first + 1) <= min(2**21, 1024 * len(body)), "elements")
            known = rows_before is not None and cols % len(rows_before) == 0
            before = [int(rows_before[j * len(rows_before) // cols]) if known else 0 for j in range(cols)]
            full = positions(bits, rows, cols, layer["entries"], first, before)
            layer["codes"] = code_indices(bits, full, first, layer["weight_bits"])
        if layer["adder"]:
            sizes = np.abs(layer["codebook"])[layer["codes"]].sum(axis=1)
            require(max(b + 2 * int(s) for b, s in zip(layer["bias"], sizes, strict=True)) < 2**31, "sum")
        rows_before = np.count_nonzero(layer["weights" if layer["blocks"] else "codes"], axis=1)
        layers.append(layer)
        require(len(layers) <= 4096, "layers")
    return layers
