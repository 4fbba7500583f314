"""The published evaluation, run again: benchmark layers, figures and tables, each beside what was published."""
