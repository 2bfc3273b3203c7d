"""Mistakes in the calling code."""

from actguard.exceptions.base import ActGuardUsageError


class ScopeValidationError(ActGuardUsageError):
    """A scope that does not fit: the name of a budget guard's, or what a guard on a tool counts for."""


class SessionUsageError(ActGuardUsageError):
    """A custody session used wrongly."""


class TimeoutUsageError(ActGuardUsageError):
    """A `timeout` that cannot be applied to this function."""


class InvalidToolError(ActGuardUsageError):
    """Something that cannot be guarded as it is: says why, and what to guard instead."""


class InvalidIdempotentToolError(ActGuardUsageError):
    """`idempotent` cannot be applied to this function."""


class CircuitBreakerConfigurationError(ActGuardUsageError):
    """Contradictory or invalid circuit breaker options."""


class MaxAttemptsConfigurationError(ActGuardUsageError):
    """Invalid `max_attempts` options."""


class ReportingContractError(ActGuardUsageError):
    """An event that does not fit the envelope."""
