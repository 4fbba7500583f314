"""The sign-off page says what was found, and names everything that is missing or wrong."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

_SPEC = importlib.util.spec_from_file_location(
    "signoff", Path(__file__).parents[2] / "scripts" / "signoff.py"
)
assert _SPEC
assert _SPEC.loader
signoff = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(signoff)

PROOF = {
    "machine": "published",
    "block": "lnzd",
    "statements": 32,
    "assumptions": 25,
    "proved": True,
    "broken": [],
    "reached": {"exhausted": True},
}
LOCKSTEP = {"configuration": "4 PEs", "jobs": 3, "cycles": 12345, "comparisons": 99}
SHARE = {"machine": "published", "module": "eie_lnzd", "kind": "toggle", "points": 200, "reached": 199}
FOUND: dict[str, dict[str, Any]] = {
    "proofs": {"seed": 1, "rows": [PROOF]},
    "faults": {"seed": 1, "rows": [{"block": "lnzd", "fault": "offers twice", "broken": ["prove_keeps"]}]},
    "coverage-published": {"seed": 1, "rows": [{**SHARE, "left_out": 1}], "holes": []},
    "coverage-better": {"seed": 1, "rows": [{**SHARE, "machine": "better", "left_out": 0}], "holes": []},
    "coverage-index-free": {
        "seed": 1,
        "rows": [{**SHARE, "machine": "index-free", "left_out": 0}],
        "holes": [],
    },
    "coverage-chip": {"seed": 1, "rows": [{**SHARE, "machine": "chip", "left_out": 0}], "holes": []},
    "functional": {
        "seed": 1,
        "cycles": 500,
        "rows": [{"module": "eie_ccu", "point": "queue full", "instances": 2}],
    },
    "unknowns": {"seed": 1, "rows": [{"machine": "better", "layers": 8, "right": 8}]},
    "mutants-published": {"seed": 1, "mutants": 10, "killed": 9, "cycles": 7, "survivors": {"a": "why"}},
    "mutants-better": {"seed": 2, "mutants": 10, "killed": 10, "cycles": 7, "survivors": {}},
    "mutants-index-free": {"seed": 1, "mutants": 10, "killed": 10, "cycles": 7, "survivors": {}},
    "mutants-array": {"seed": 1, "mutants": 10, "killed": 10, "cycles": 7, "survivors": {}},
    "mutants-chip": {"seed": 1, "mutants": 10, "killed": 10, "cycles": 7, "survivors": {}},
    "lockstep-icarus": {"seed": 1, "rows": [LOCKSTEP]},
    "lockstep-verilator": {"seed": 1, "rows": [LOCKSTEP]},
}


def test_everything_is_on_the_page() -> None:
    text, wrong = signoff.page(FOUND)
    assert not wrong
    for line in (
        "| lnzd | published | 32 | 25 | 1 of 1 | proved |",
        "1 of 1 planted faults break a statement.",
        "| published | eie_lnzd | toggle | 200 | 199 | 99.5 % | 1 |",
        "| icarus | 4 PEs | 3 | 12,345 | 99 |",
        "* a: why",
        "| all | 50 | 49 |  |",
        "* better: toggle 99.50 %; 0 points missed",
        "| eie_ccu | queue full | 2 |",
        "| better | 8 | 8 |",
        "mutants-better 2",
    ):
        assert line in text


def test_what_is_missing_or_wrong_is_a_hole() -> None:
    found = copy.deepcopy(FOUND)
    del found["lockstep-icarus"]
    found["proofs"]["rows"][0]["reached"]["exhausted"] = False
    found["faults"]["rows"][0]["broken"] = []
    found["coverage-published"]["holes"] = ["published: eie_lnzd line 7: block"]
    found["functional"]["rows"][0]["instances"] = 0
    found["unknowns"]["rows"][0]["right"] = 7
    found["mutants-published"]["survivors"]["a"] = None
    text, wrong = signoff.page(found)
    assert sorted(wrong) == [
        "cover point not reached: queue full",
        "coverage: published: eie_lnzd line 7: block",
        "lockstep-icarus: not run",
        "mutant without a reason: a",
        "planted fault not found: lnzd: offers twice",
        "proofs: lnzd, published",
        "unknowns: better",
    ]
    assert all(f"* {line}" in text for line in wrong)


def test_nothing_was_run() -> None:
    text, wrong = signoff.page({})
    assert len(wrong) == len(signoff.PARTS)
    assert "Seeds: none" in text
