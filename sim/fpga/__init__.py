"""The chip on an FPGA: sized for a network, synthesised, placed and routed, a board driven."""
