"""Where a parameter may stand that is hidden, or filled in by a guard.

Whoever calls by position goes by the parameters that he sees: one that he does not see must not be counted among them.
"""

from inspect import Parameter

from actguard.exceptions import InvalidIdempotentToolError
from actguard.pipeline.target import Target


def refuse_misplaced(target: Target, name: str, *, given: bool, hidden: bool) -> None:
    """Refuse a function whose parameter *name* stands where it cannot be filled in, or left out.

    Args:
        given: a guard fills it in, by its name.
        hidden: it is left out of the visible signature.

    Raises:
        InvalidIdempotentToolError: says where it may stand.
    """
    assert target.signature is not None
    parameters = list(target.signature.parameters.values())
    place = next(index for index, parameter in enumerate(parameters) if parameter.name == name)
    how, behind = parameters[place].kind, parameters[place + 1 :]
    if how is Parameter.POSITIONAL_ONLY and (given or hidden):
        raise InvalidIdempotentToolError(
            f"{target.name} takes {name!r} by position only, and who does not see it can only give it by name: "
            "write it behind the '/'",
            argument="key_arg",
        )
    shifted = [one.name for one in behind if one.kind in (one.POSITIONAL_OR_KEYWORD, one.VAR_POSITIONAL)]
    if hidden and how is Parameter.POSITIONAL_OR_KEYWORD and shifted:
        raise InvalidIdempotentToolError(
            f"{name!r} of {target.name} is hidden, and stands before {shifted[0]!r}, so that a call by position would "
            "put into it what is meant for others: write it last, or keyword-only (behind a '*'); or hide_key=False",
            argument="key_arg",
        )
