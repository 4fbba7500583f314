"""Energy, power and area at 45 nm (docs/energy.md)."""
