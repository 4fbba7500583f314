"""The chip on an FPGA: sized for a network, synthesised, placed and routed, its netlist simulated, a board driven."""
