"""The parts of an idempotency key: how far it reaches, what tells calls apart, and what calls with it must agree in."""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Literal, Protocol

from actguard.context import current_frame
from actguard.exceptions import InvalidIdempotentToolError, MissingIdempotencyKeyError
from actguard.pipeline import arguments
from actguard.pipeline.arguments import MISSING, Getter
from actguard.pipeline.guard import Args, Kwargs
from actguard.pipeline.target import Target
from actguard.stores.keys import LARGE, LONGEST, encode_int, encode_text
from actguard.tools.canonical import digest, record_digest
from actguard.tools.handed_in import not_chosen
from actguard.tools.max_attempts import no_run, session_name
from actguard.tools.scope import key_prefix


class Keyed(Protocol):
    """The options that keys are made by; `Idempotent` says what they mean."""

    kind: ClassVar[str]

    @property
    def key(self) -> Literal["arg", "derived"] | Callable[..., Any]: ...
    @property
    def key_arg(self) -> str: ...
    @property
    def fingerprint(self) -> Literal["args"] | Sequence[str] | None: ...
    @property
    def scope(self) -> Literal["run", "session", "global"]: ...


def reach(guard: Keyed, target: Target) -> Callable[[], str]:
    """What gives the beginning of a key: everything before what tells calls apart, as far as the key reaches."""
    begin = key_prefix(guard.kind, target.tool_id)
    if guard.scope == "global":
        return lambda: begin
    if guard.scope == "session":
        return lambda: f"{begin}{_counted(session_name(guard.kind, target))}/"

    latest = ("", "")  # the run that called last, and how its keys begin: it will call again

    def run() -> str:
        nonlocal latest
        run = current_frame().run
        if run is None:
            raise no_run(guard.kind, target)
        known, run_id = latest, run.run_id
        if known[0] is not run_id:
            known = latest = (run_id, f"{begin}{_counted(run_id)}/")
        return known[1]

    return run


def _counted(text: str) -> str:
    return f"{len(text)}:{text}"


def takes_key(guard: Keyed, target: Target) -> bool:
    """Whether the function has a parameter for the key."""
    return target.signature is not None and guard.key_arg in target.signature.parameters


def key_reader(guard: Keyed, target: Target) -> Callable[[Args, Kwargs], str | int]:
    """What reads the key of a call, as its caller says it, or as it is made for the function.

    Raises:
        InvalidIdempotentToolError: the function has no parameter for it.
    """
    if guard.key == "derived":
        named_arguments, left_out = arguments.named_arguments(target), _not_compared(guard, target)

        def derive(args: Args, kwargs: Kwargs) -> str:
            given = named_arguments(args, kwargs)
            for name in left_out:
                given.pop(name, None)
            return "d:" + digest(given)

        return derive
    if callable(guard.key):
        read: Getter = arguments.bound(target, guard.key)
    else:
        if not takes_key(guard, target) and not _takes_anything(target):
            raise InvalidIdempotentToolError(
                f"{target.name} has no parameter {guard.key_arg!r}: add one, name another with key_arg=, "
                'or derive the key with key="derived"',
                argument="key_arg",
            )
        path = guard.key_arg if takes_key(guard, target) else f"{_takes_anything(target)}.{guard.key_arg}"
        read = arguments.getter(target, path, argument="key_arg", error=InvalidIdempotentToolError)

    def key(args: Args, kwargs: Kwargs) -> str | int:
        value = read(args, kwargs)
        if type(value) is int or (type(value) is str and value.strip()):
            return value
        raise MissingIdempotencyKeyError(
            f"{target.name} needs an idempotency key: a non-empty text or a whole number"
            + (f" in {guard.key_arg!r}." if guard.key == "arg" else "."),
            reason="missing" if value is MISSING or value is None else "invalid",
            tool=target.name,
        )

    return key


def whole_key_reader(guard: Keyed, target: Target) -> Callable[[Args, Kwargs], str]:
    """What makes the key under which a call is remembered: how far it reaches, and what tells calls apart."""
    where, key = reach(guard, target), key_reader(guard, target)
    plain = arguments.position(target, guard.key_arg) if guard.key == "arg" else None
    if plain is None:
        return lambda args, kwargs: where() + _encoded(key(args, kwargs))
    index, name, default = plain

    def plain_key(args: Args, kwargs: Kwargs) -> str:
        value = args[index] if len(args) > index else kwargs.get(name, default)
        # What keys are as a rule, written here as `_encoded` would write it.
        if type(value) is int and -LARGE < value < LARGE:
            return f"{where()}i:{value}"
        if type(value) is str and len(value) <= LONGEST and value.strip():
            return f"{where()}s:{value}"
        return where() + _encoded(key(args, kwargs))

    return plain_key


def _encoded(key: str | int) -> str:
    return encode_int(key) if isinstance(key, int) else encode_text(key)


def key_said(record: str, begin: str) -> str | int:
    """The key that a record which begins with *begin* was made for; of a long one, its digest."""
    part = record.removeprefix(begin)
    tag, _, text = part.partition(":")
    return text if tag == "s" else int(text) if tag == "i" else part


def fingerprinter(guard: Keyed, target: Target) -> Callable[[Args, Kwargs], str] | None:
    """What makes a text of the arguments that further calls must agree in; None: they need not."""
    if guard.fingerprint is None or guard.key == "derived":
        return None
    named_arguments = arguments.named_arguments(target)
    if guard.fingerprint != "args":
        for name in guard.fingerprint:
            arguments.getter(target, name, argument="fingerprint", error=InvalidIdempotentToolError)
    only = None if guard.fingerprint == "args" else frozenset(guard.fingerprint)
    left_out = _not_compared(guard, target) if only is None else frozenset[str]()
    digest_of = record_digest(arguments.names(target) if only is None else only)

    def fingerprint(args: Args, kwargs: Kwargs) -> str:
        given = named_arguments(args, kwargs)
        for name in left_out:
            given.pop(name, None)
        return digest_of(given if only is None else {name: given.get(name) for name in only})

    return fingerprint


def _not_compared(guard: Keyed, target: Target) -> frozenset[str]:
    """The arguments that do not tell calls apart: the key, and what nobody chose."""
    return not_chosen(target) | {guard.key_arg}


def _takes_anything(target: Target) -> str | None:
    if target.signature is None:
        return None
    return next((p.name for p in target.signature.parameters.values() if p.kind is p.VAR_KEYWORD), None)


def giving_key(
    guard: Keyed, target: Target, key: Callable[..., str | int]
) -> Callable[[Callable[..., Any]], Callable[..., Any]] | None:
    """What hands the key to the function, if it has a parameter for it."""
    if not takes_key(guard, target):
        return None
    place = arguments.position(target, guard.key_arg)
    index = sys.maxsize if place is None else place[0]

    def wrap(body: Callable[..., Any]) -> Callable[..., Any]:
        def with_key(*args: Any, **kwargs: Any) -> Any:
            with suppress(Exception):  # then it is watched, or off: enforced, it has refused the call
                made = key(args, kwargs)
                if index < len(args):
                    args = (*args[:index], made, *args[index + 1 :])
                else:
                    kwargs = {**kwargs, guard.key_arg: made}
            return body(*args, **kwargs)

        return with_key

    return wrap
