"""The host interface: AXI4-Lite registers, AXI4-Stream commands and results."""
