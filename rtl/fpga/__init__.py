"""The chip on an FPGA: a serial line to its buses, and the top modules of boards."""
