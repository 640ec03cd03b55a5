"""Runs the command line: `python -m goldsmith`."""

from goldsmith.cli.app import main

if __name__ == "__main__":
    main()
