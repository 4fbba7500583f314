"""Settings of the random tests.

`make test` draws the same examples in every run, so that a red build is the change's fault. `make regress` draws new
ones from its SEED, which the header prints.
"""

import os
import signal

import pytest
from hypothesis import settings

# Simulators take their time at the first example: no deadline.
settings.register_profile("test", derandomize=True, print_blob=True, deadline=None)
settings.register_profile("regress", derandomize=False, print_blob=True, deadline=None, max_examples=1000)

# A shell starts what it puts into the background with Ctrl-C ignored, and children inherit that: tests send it to them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_SEED = "EIE_REGRESS_SEED"
settings.load_profile("regress" if _SEED in os.environ else "test")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """The variables that make a long campaign repeatable."""
    return [
        f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("EIE_REGRESS_")
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow once for a machine comes first, so that it is in no other test's time."""
    items.sort(key=lambda item: item.path.name != "test_tools.py")
