"""The whole chip in a simulator, driven over its buses."""
