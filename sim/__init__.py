"""Running the machine: engines, the lockstep harness, sweeps, energy and plots."""
