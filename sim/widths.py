"""Networks that run at several widths from one image of their weights (docs/learn.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eie.compress.forward import check_network
from eie.config import ArchConfig
from eie.conv import from_vectors, to_vectors
from eie.errors import LayerError
from eie.fixed import IntArray
from eie.layer import CompressedLayer, as_activations
from eie.prefix import THOUSAND, shares_of, thousandths
from eie.program import Job
from eie.result import Result, summed
from eie.sim.plans import run_program
from eie.sim.simulate import STEPPING, simulate_many
from eie.width_program import check_width, width_program


def at_width(layers: Sequence[CompressedLayer], width: float) -> list[CompressedLayer]:
    """The network at one of its widths, a share such as 0.5, as layers of their own.

    Raises
    ------
    LayerError : it has no such width, or only the whole one; layers that are no chain there.
    """
    share = _share(layers, width)
    parts = [layer.narrowed(share) for layer in layers]
    check_network(parts)
    return parts


def _share(layers: Sequence[CompressedLayer], width: float) -> int:
    share = thousandths(width)
    if shares_of(layers) == [THOUSAND]:
        raise LayerError("the network has one width: train.widths gives it several")
    return share


def run_width(
    layers: Sequence[CompressedLayer], x: npt.ArrayLike, cfg: ArchConfig, width: float, engine: str = "fast"
) -> list[Result]:
    """Run a network with several widths at one of them, layer after layer, from each layer's whole image.

    Parameters
    ----------
    layers : of one network, or one of them. x : activations (integers), [inputs of the first] or [batch, inputs].
    width : a share such as 0.5. engine : golden, fast, icarus or verilator; reference for the values alone.

    Returns
    -------
    A result for each layer, as `eie.sim.chain.run_network` gives it.

    Raises
    ------
    LayerError, CapacityError, ConfigError : no such width, inputs or machine.
    """
    share, parts = _share(layers, width), at_width(layers, width)
    for layer in layers:
        check_width([replace(layer, conv=None)], cfg)
    given = np.asarray(x)
    batch = given.ndim == 2
    rows = given if batch else given[None]
    results: list[Result] = []
    for layer, part in zip(layers, parts, strict=True):
        checked = [as_activations(row, part, cfg.act_bits, part.inputs) for row in rows]
        done = _run(layer, to_vectors(part.conv, np.stack(checked), part.cols), cfg, share, engine)
        rows = from_vectors(part.conv, np.stack([one.y for one in done]))
        results.append(replace(summed(done), y=rows if batch else rows[0], y_frac=part.y_frac))
    return results


def _run(layer: CompressedLayer, vectors: IntArray, cfg: ArchConfig, share: int, engine: str) -> list[Result]:
    """One layer's matrix on vectors [n, its columns at the width]."""
    matrix = replace(layer, conv=None)
    if engine in STEPPING:
        return run_program(width_program([matrix], cfg, share, layer.name), list(vectors), engine)
    if engine == "fast":
        from eie.sim.engines.fast import prepare_width  # numba

        return prepare_width(matrix, cfg, share).run_batch(vectors)
    part = matrix.narrowed(share)
    return simulate_many([Job.create(part, vector, cfg) for vector in vectors], engine)
