"""Errors that a user can act on: each names what is wrong, where, and the remedy."""


class UserError(Exception):
    """Something the user gave cannot be used: printed, exit status 2, before anything is written."""


class ConfigError(UserError):
    """An experiment file, or a ``--set``, that does not make sense."""


class SweepFailed(Exception):
    """What was asked for could not be made. The command prints it and exits with status 1."""
