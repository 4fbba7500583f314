"""Co-verification: simulators are built, run, and compared with golden."""
