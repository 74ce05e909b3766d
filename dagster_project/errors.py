"""What all errors are that a person can do something about: their message is all that has to be read."""


class PlsError(RuntimeError):
    """It can't be done; the message says why, and the way out."""
