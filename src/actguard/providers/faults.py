"""Faults of ours while reading a reply: they never reach the caller, whose reply is paid for, but they are told."""

from actguard.budget.account import logger

_logged: set[str] = set()


def log_malformed(wire: str, malformed: object) -> None:
    """Say what was wrong with the usage that a provider reported."""
    log_once(f"{wire} reported usage that cannot be right: {malformed}")


def log_once(message: str, *, trace: bool = False) -> None:
    """Say what went wrong with reading a reply, once for each kind of fault."""
    if message not in _logged and len(_logged) < 1000:
        _logged.add(message)
        logger.error("%s; such calls are charged by estimate", message, exc_info=trace)
