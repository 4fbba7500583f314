"""Runs the programs of pass_programs on an RTL simulator; pass_host is the other side."""

import pickle

from eie.rtl.verilog import array_verilog
from eie.sim.cosim.build import build, run_test
from eie.sim.cosim.images import ARRAY_PORTS, ARRAY_PROBES
from tests.support.pass_host import ANSWER, REQUEST


def run(programs, simulator, seed, folder):
    """Problems, and the cycles that were compared."""
    sources = array_verilog(programs[0].cfg, probe=True, images=False)
    built = build(simulator, sources, "eie_array", public=ARRAY_PORTS, read_only=ARRAY_PROBES)
    (folder / REQUEST).write_bytes(pickle.dumps((programs, seed)))
    run_test(built, "tests.support.pass_host", "programs", folder, seed=seed)
    return pickle.loads((folder / ANSWER).read_bytes())
