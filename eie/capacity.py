"""What a layer needs of each PE's memories, and configurations that hold it."""

from __future__ import annotations

from eie.balance import balances, place
from eie.config import FIELDS, ArchConfig, bits_for
from eie.csc import Interleaved
from eie.encoding import encode
from eie.errors import CapacityError, ConfigError
from eie.index_free import PlacedBlocks
from eie.layer import CompressedLayer
from eie.segments import column_places, depth_of, row_places


def demand(layer: CompressedLayer, cfg: ArchConfig) -> dict[str, int]:
    """What a layer needs of each PE's memories: entries (the fullest PE's), pointers, src_depth, acc_depth.

    Entries are counted with the places that are left free before a pair of columns.
    """
    inter = encode(layer, cfg)
    rows = depth_of(row_places(layer, cfg), cfg)
    need = {
        "entries": int(inter.slots.max()),
        "blocks" if cfg.index_free else "pointers": pointers_of(inter, cfg),
        "src_depth": depth_of(column_places(layer, cfg), cfg),
        "acc_depth": rows,
    }
    # Scales of rows stand in the activation SRAM.
    return need if layer.row_scale is None else {**need, "act_words": rows}


def pointers_of(inter: Interleaved, cfg: ArchConfig) -> int:
    """What a layer takes of `ArchConfig.pointer_room`: pointers, or entries of the fullest block table."""
    if isinstance(inter, PlacedBlocks):
        return max(map(len, inter.tables))
    return cfg.pointers_for(inter.pointers.shape[1] - 1)


def check_fits(cfg: ArchConfig, layer: CompressedLayer) -> None:
    """Raise `CapacityError` with needed and available figures unless `layer` fits untiled."""
    need = demand(layer, cfg)
    available = {
        "entries": cfg.reachable_entries,
        "pointers": cfg.pointer_room,
        "blocks": cfg.pointer_room,
        "src_depth": cfg.src_depth,
        "acc_depth": cfg.acc_depth,
        "act_words": cfg.act_words,
    }
    what = {
        "entries": "entries",
        "pointers": "pointers",
        "blocks": "entries of the block table",
        "src_depth": "source activations",
        "acc_depth": "accumulators",
        "act_words": "words of the activation SRAM",
    }
    short = [
        f"{need[key]} {what[key]} needed, {available[key]} available"
        for key in need
        if need[key] > available[key]
    ]
    if short:
        plural = "s" * (cfg.n_pe > 1)
        raise CapacityError(
            f"layer {layer.name!r} ({layer.rows} x {layer.cols}) does not fit {cfg.n_pe} PE{plural}; per PE: "
            + "; ".join(short)
            + " (more PEs, --sized or eie.sized_for(cfg, layer), or passes: eie plan)"
        )


def sized_for(cfg: ArchConfig, *layers: CompressedLayer) -> ArchConfig:
    """The smallest configuration with the PEs, queue and widths of `cfg` that holds each layer untiled.

    Only the capacities (entries, pointers and their width, source activations, accumulators) change; with absolute
    rows their width (row_bits), too, because it goes with the accumulators. Where rows are balanced by default
    (`eie.balance.balances`), it holds the layers with balanced rows and without. An index-free machine gets as many
    entries of the block table as the layers have blocks (in a segment).

    Parameters
    ----------
    cfg : PEs, queue and widths.
    layers : at least one.

    Raises
    ------
    ConfigError : no layers, or one that no configuration with these PEs and widths holds.

    Examples
    --------
    >>> layer = CompressedLayer.from_codes([[1] * 40] * 8, [0, 3])
    >>> sized_for(ArchConfig(n_pe=4), layer).entries
    80
    """
    if not layers:
        raise ConfigError("sized_for needs at least one layer")
    if cfg.absolute:
        cfg = _with_rows(cfg, max(-(-layer.rows // cfg.n_pe) for layer in layers))
    # A balanced layer's groups may leave a few places more free.
    placed = [place([layer], cfg)[0].layer for layer in layers] if balances(cfg) else []
    needs = [demand(layer, cfg) for layer in (*layers, *placed)]
    scales = max(n.pop("act_words", 0) for n in needs)
    need = {key: max(n[key] for n in needs) for key in needs[0]}
    if scales:  # enlarged, never made smaller: it holds more than scales
        need["act_words"] = max(cfg.act_words, scales)
    need["entries"] = max(1, need["entries"])
    if cfg.index_free:
        return cfg.replace(**need)
    # Of single columns one past the last entry has a pointer, too.
    last = need["entries"] - (cfg.group - 1)
    stored = bits_for(cfg.pack_pointer(last)) - (cfg.start_bits - cfg.pointer_bits)
    return cfg.replace(pointer_bits=max(4, cfg.sel_bits + 1, stored), **need)


def _with_rows(cfg: ArchConfig, rows: int) -> ArchConfig:
    """`cfg` with the narrowest absolute rows that reach so many accumulators."""
    widths = FIELDS["row_bits"].metadata["choices"]
    bits = next((bits for bits in widths if rows <= 1 << bits), None)
    if bits is None:
        raise CapacityError(
            f"{rows} rows a PE do not fit absolute rows, which reach {1 << widths[-1]}: use more PEs, "
            "row_format=relative, or passes (eie plan)"
        )
    return cfg.replace(row_bits=bits, acc_depth=rows)
