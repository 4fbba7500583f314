"""The engines without RTL: reference and fast."""
