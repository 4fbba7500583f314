"""Products of a graph for commands that look at one matrix at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from eie.cli.inputs import Products, check_labels
from eie.compress.quantize import Widths
from eie.config import ArchConfig
from eie.errors import LayerError, ModelError
from eie.fixed import quantize
from eie.sim.networks.description import read_description
from eie.sim.networks.run import with_weights
from eie.sim.workloads.inputs import from_arrays, labels_in, read_arrays

# Inputs that go through at a time, where the network takes more than one.
_PART = 100


def products_of(file: Path, input_file: Path, weights: Path | None, cfg: ArchConfig) -> Products:
    """The compressed matrices of a graph that meet something, each with the vector in the middle of those that it meets
    in the float run.

    Raises
    ------
    EieError : a file that cannot be read, or that does not fit; a graph without a matrix.
    """
    description = read_description(file)
    given = description.given(input_file)
    widths = Widths(act_bits=cfg.act_bits, acc_bits=cfg.acc_bits, code_bits=cfg.code_bits)
    network, _ = with_weights(description, weights, given, widths)
    met = description.graph.met_by_each(given.inputs)
    layers = [layer for layer in network.layers if layer.name in met]
    if not layers:
        raise LayerError(f"{file} has no product with a constant matrix: all of it runs on the host")
    vectors, clipped = [], 0
    for layer in layers:
        real = met[layer.name][len(met[layer.name]) // 2]
        vectors.append(quantize(real, layer.x_frac, cfg.act_bits))
        clipped += int(np.count_nonzero(vectors[-1] != quantize(real, layer.x_frac, cfg.act_bits + 1)))
    return Products(layers, vectors, clipped)


def measure_graph(
    file: Path, input_file: Path, weights: Path | None, cfg: ArchConfig, limit: int | None
) -> tuple[int, ...]:
    """Labelled inputs through a graph, on engine fast and with the trained weights: how many there are, how many are
    wrong, wrong in float, and different; what was clipped of inputs, sums and outputs.

    Raises
    ------
    EieError : files that cannot be read or do not fit; no labels, or no output with a number for each class.
    """
    description = read_description(file)
    ports, arrays = description.graph.inputs, read_arrays(input_file)
    name = next((one for one in (ports[0].name,) if one in arrays), None)
    alone = (ports[0].shape or ())[:1] == (1,)
    counts = {len(array) for key, array in arrays.items() if array.ndim and (name is None or key == name)}
    labels = next((found for n in sorted(counts) if (found := labels_in(arrays, ports, n)) is not None), None)
    if labels is None:
        raise ModelError(f"{input_file} holds no labels (integers, one for each input)")
    held = {key: array for key, array in arrays.items() if array is not labels}
    count = len(labels) if limit is None else min(limit, len(labels))
    step = 1 if alone else _PART
    widths = Widths(act_bits=cfg.act_bits, acc_bits=cfg.acc_bits, code_bits=cfg.code_bits)
    network, sums = None, np.zeros(6, np.int64)
    with tqdm(total=count, unit="input", disable=None, leave=False) as bar:
        for start in range(0, count, step):
            stop = min(start + step, count)
            part = {
                key: array[start:stop] if len(array) == len(labels) else array for key, array in held.items()
            }
            given = from_arrays(input_file, part, ports, None)
            if network is None:
                network, _ = with_weights(description, weights, given, widths)
            run = network.run(given.inputs, network.machine(cfg))
            exact = network.run_float(given.inputs)
            if run.main is None or run.named[run.main].size % (stop - start):
                raise ModelError(f"{file} must give one real number for each class")
            ours, trained = (y[run.main].reshape(stop - start, -1).argmax(axis=1) for y in (run.named, exact))
            right = labels[start:stop]
            check_labels(right, run.named[run.main].size // (stop - start), input_file)
            sums += np.array(
                [
                    np.count_nonzero(ours != right),
                    np.count_nonzero(trained != right),
                    np.count_nonzero(ours != trained),
                    run.clipped,
                    sum(record.count("saturations") for record in run.records.values()),
                    sum(record.count("writeback_saturations") for record in run.records.values()),
                ]
            )
            bar.update(stop - start)
    return count, *sums.tolist()
