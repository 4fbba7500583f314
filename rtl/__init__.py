"""The hardware: every block of the machine as an Amaranth component, and its export to Verilog."""
