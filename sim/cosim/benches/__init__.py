"""What runs the cocotb benches of tests/cocotb."""
