"""From a trained network to a compressed one: pruning, weight sharing, fixed point, coding, files."""
