"""The golden model: every block of the machine, cycle by cycle, in plain Python."""
