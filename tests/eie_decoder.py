"""A second decoder of .eie files, written from docs/formats.md alone: slow, short, and independent of the package."""

import hashlib
import json
import struct

import numpy as np

FIELDS = ("name", "rows", "cols", "relu", "product_shift", "output_shift", "x_frac", "w_frac", "weight_bits")
TYPES = {"I16": "<i2", "I32": "<i4", "U8": "u1"}


class Refused(Exception):
    """The file breaks a rule of the format."""


def require(ok, why):
    if not ok:
        raise Refused(why)


def open_container(data):
    """The tensors by name and the metadata of a file, checksum verified."""
    require(len(data) >= 8, "no header")
    (length,) = struct.unpack_from("<Q", data)
    require(8 + length <= len(data), "header cut short")
    header = json.loads(data[8 : 8 + length])
    about = json.loads(header.pop("__metadata__")["eie"])
    require(about["version"] == 1, "version")
    digits = about["checksum"].encode()
    require(len(digits) == 32, "checksum length")
    blank = data.replace(digits, b"0" * 32, 1)
    require(hashlib.blake2b(blank, digest_size=16).hexdigest().encode() == digits, "checksum")
    tensors = {}
    for name, tensor in header.items():
        first, last = tensor["data_offsets"]
        raw = data[8 + length + first : 8 + length + last]
        tensors[name] = np.frombuffer(raw, TYPES[tensor["dtype"]])
        require(list(tensors[name].shape) == tensor["shape"], "tensor shape")
    require(set(tensors) == {"codebook", "bias", "codes", "rows", "counts"}, "tensors")
    return tensors, about


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


class Reader:
    """Takes stream after stream from a tensor."""

    def __init__(self, tensor):
        self.data = tensor.tobytes()
        self.place = 0

    def take(self, size):
        part = self.data[self.place : self.place + size]
        require(len(part) == size, "tensor cut short")
        self.place += size
        return part

    def stream(self):
        """w and the symbols of the next stream."""
        w, table_size, count, size = struct.unpack("<BHII", self.take(11))
        require(1 <= w <= 8 and table_size <= 2**w, "table size")
        halves = [half for byte in self.take((table_size + 1) // 2) for half in (byte & 15, byte >> 4)]
        require(not any(halves[table_size:]), "table padding")
        words = code_words(halves[:table_size])
        bits = "".join(f"{byte:08b}" for byte in self.take(size))
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

    def numbers(self):
        """The numbers of the next stream."""
        w, symbols = self.stream()
        most = 2**w - 1
        numbers, number = [], 0
        for symbol in symbols:
            number += symbol
            if symbol != most:
                numbers.append(number)
                number = 0
        require(not symbols or symbols[-1] != most, "number cut short")
        return numbers


def decode(data):
    """The layers of a file (bytes), each a dict: the metadata's fields, codebook, bias, and codes [rows, cols]."""
    tensors, about = open_container(data)
    readers = {name: Reader(tensors[name]) for name in ("codes", "rows", "counts")}
    layers, codebook_place, bias_place = [], 0, 0
    for values in about["layers"]:
        layer = dict(zip(FIELDS, values, strict=True))
        rows, cols, n_codes = layer["rows"], layer["cols"], 2 ** layer["weight_bits"]
        layer["codebook"] = tensors["codebook"][codebook_place : codebook_place + n_codes].astype(int)
        layer["bias"] = tensors["bias"][bias_place : bias_place + rows].astype(int)
        codebook_place, bias_place = codebook_place + n_codes, bias_place + rows
        require(len(layer["codebook"]) == n_codes and layer["codebook"][0] == 0, "codebook")
        require(len(layer["bias"]) == rows, "bias")
        w, indices = readers["codes"].stream()
        require(w == layer["weight_bits"] and all(indices), "code index")
        zeros, counts = readers["rows"].numbers(), readers["counts"].numbers()
        require(len(counts) == cols and sum(counts) == len(zeros) == len(indices), "counts")
        codes = np.zeros((rows, cols), np.uint8)
        entries = iter(zip(indices, zeros, strict=True))
        for column, count in enumerate(counts):
            row = -1
            for _ in range(count):
                index, run = next(entries)
                row += run + 1
                require(row < rows, "row past the last")
                codes[row, column] = index
        layer["codes"] = codes
        layers.append(layer)
    ends = {name: reader.place == len(reader.data) for name, reader in readers.items()}
    require(all(ends.values()), "bytes left over")
    require(
        codebook_place == tensors["codebook"].size and bias_place == tensors["bias"].size, "values left over"
    )
    return layers
