"""The command line. Commands import what they need when they are called: ``--help`` answers at once."""

from framework._cli.app import app, command, main

__all__ = ["app", "command", "main"]
