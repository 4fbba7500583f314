"""What commands print with --json, held to the schemas of docs/schemas/."""

import json
from typing import Any

import jsonschema

from tests.support import ROOT

FOLDER = ROOT / "docs" / "schemas"


def check(command: str, printed: str | Any) -> Any:
    """The value that a command printed, after it was held to the command's schema."""
    value = json.loads(printed) if isinstance(printed, str) else printed
    schema = json.loads((FOLDER / f"{command}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(value, schema, jsonschema.Draft202012Validator)
    return value
