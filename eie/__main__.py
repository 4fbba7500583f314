"""`python -m eie` is the command `eie`."""

from eie.cli.main import main

if __name__ == "__main__":
    main()
