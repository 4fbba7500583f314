"""`eie` in this process: what a command prints, and the line with which it refuses its input."""

from click.testing import CliRunner, Result

from eie.cli.main import main


def invoke(*arguments: object, status: int = 0) -> Result:
    """Run `eie ARGUMENTS`; it has to end with this status."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output + repr(result.exception)
    return result


def refused(*arguments: object) -> str:
    """The one line with which a command refuses its input."""
    result = invoke(*arguments, status=2)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line.removeprefix("eie: error: ")
