"""The golden blocks by the names that `eie.schema` gives them."""

from __future__ import annotations

from eie.golden.act_queue import ActQueue
from eie.golden.act_rw import ActRW
from eie.golden.arithm_unit import ArithmUnit
from eie.golden.array import Array
from eie.golden.base import Block
from eie.golden.ccu import Ccu
from eie.golden.lnzd import Lnzd
from eie.golden.pe import PE
from eie.golden.ptr_read import PtrRead
from eie.golden.spmat_read import SpmatRead

BLOCKS: dict[str, type[Block]] = {
    block.NAME: block for block in (ActQueue, PtrRead, SpmatRead, ArithmUnit, ActRW, PE, Lnzd, Ccu, Array)
}
