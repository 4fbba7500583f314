"""The golden blocks by the names that `eie.schema` gives them."""

from __future__ import annotations

from eie.config import ArchConfig
from eie.golden.act_queue import ActQueue
from eie.golden.act_rw import ActRW
from eie.golden.arithm_unit import ArithmUnit
from eie.golden.array import Array
from eie.golden.base import Block
from eie.golden.block_table import BlockTable
from eie.golden.ccu import Ccu
from eie.golden.leaf_pair import LeafPair
from eie.golden.lnzd import Lnzd
from eie.golden.pe import PE
from eie.golden.ptr_read import PtrRead
from eie.golden.run_queue import RunQueue
from eie.golden.run_read import RunRead
from eie.golden.run_rows import RunRows
from eie.golden.spmat_read import SpmatRead
from eie.golden.window import Window
from eie.schema import BlockSignals, kind_of

_CLASSES: tuple[type[Block], ...] = (
    ActQueue,
    RunQueue,
    PtrRead,
    RunRead,
    RunRows,
    SpmatRead,
    Window,
    ArithmUnit,
    ActRW,
    PE,
    Lnzd,
    LeafPair,
    BlockTable,
    Ccu,
    Array,
)
_BY_KIND: dict[type[BlockSignals], type[Block]] = {cls.__bases__[0]: cls for cls in _CLASSES}


def block_class(name: str, cfg: ArchConfig) -> type[Block]:
    """The golden class of the block called `name` in a configuration."""
    return _BY_KIND[kind_of(name, cfg)]
