"""Which simulators a test runs on, said once.

Icarus compiles in no time and knows x and z. Verilator is another reading of the Verilog and the faster one for long
runs, but compiles for seconds. What both have to show runs on both: every configuration's values, cycles and counters,
lockstep of every register, each block's bench, the chip loading and running layers, malformed packets, random scripts.
A test that asks something of the RTL that does not depend on who simulates it runs on Icarus (the long run of a trained
network on Verilator), and on both in `make regress`, whose seed is in the environment.
"""

import os

import pytest

from eie.sim.cosim.build import SIMULATORS

REGRESS = "EIE_REGRESS_SEED" in os.environ

on_both = pytest.mark.parametrize("simulator", SIMULATORS)
on_icarus = pytest.mark.parametrize("simulator", SIMULATORS if REGRESS else ("icarus",))
on_verilator = pytest.mark.parametrize("simulator", SIMULATORS if REGRESS else ("verilator",))
