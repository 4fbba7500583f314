"""The chip: the array with its host interface."""

from __future__ import annotations

from amaranth import Cat, ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib.wiring import Flow, Out, Signature

from eie import schema
from eie.axi import chip_fields, host_if_fields
from eie.config import ArchConfig
from eie.rtl.array import array_signature
from eie.rtl.block import Declared, module_name, signature_of


def chip_signature(cfg: ArchConfig, *, probe: bool = False) -> Signature:
    """Ports of the chip, but for clk and rst."""
    members = dict(signature_of(chip_fields(cfg)).members)
    if probe:
        members |= {
            name: member
            for name, member in array_signature(cfg, probe=True).members.items()
            if name.startswith("probe_")
        }
        members["probe_port"] = Out(sum(field.width for field in schema.fields("array", cfg)))
    return Signature(members)


class EIEChip(Declared):
    """`eie_array` behind `eie_host_if`: a part with AXI4-Lite and AXI4-Stream ports (docs/chip.md).

    Parameters
    ----------
    cfg : sizes of the accelerator.
    probe : add the array's probe outputs, and `probe_port`: the array's ports side by side, as `eie.schema` lists them.

    Members
    -------
    s_axil_* : AXI4-Lite slave, registers. s_axis_*, m_axis_* : AXI4-Stream, commands and results. irq : interrupt.
    """

    def __init__(self, cfg: ArchConfig, *, probe: bool = False) -> None:
        self.cfg = cfg
        self.probed = probe
        super().__init__(chip_signature(cfg, probe=probe))

    def elaborate(self, platform: object) -> Module:
        m, cfg = Module(), self.cfg
        ports = {
            "host_if": signature_of(host_if_fields(cfg)),
            "array": array_signature(cfg, probe=self.probed),
        }
        nets: dict[str, Signal] = {}
        for signature in ports.values():
            for name, member in signature.members.items():
                if not hasattr(self, name):
                    nets.setdefault(name, Signal(member.shape, name=name))
        for block, signature in ports.items():
            m.submodules[block] = Instance(
                module_name(block),
                ("i", "clk", ClockSignal()),
                ("i", "rst", ResetSignal()),
                *(
                    ("o" if member.flow is Flow.Out else "i", name, nets.get(name, getattr(self, name, None)))
                    for name, member in signature.members.items()
                ),
            )
        if self.probed:
            places = (nets[field.name] for field in schema.fields("array", cfg))
            m.d.comb += self.probe_port.eq(Cat(places))
        return m
