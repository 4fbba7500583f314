"""Free-running RTL: the clock in HDL, no Python from the first cycle to the last."""
