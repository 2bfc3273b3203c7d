"""What comes back from Redis, read: texts that begin with a letter, for receipts and refusals, and a few numbers."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from actguard.stores.protocol import (
    Admitted,
    Begun,
    Circuit,
    Counted,
    Done,
    IdempotencyRecord,
    InProgress,
    Leased,
    Mismatch,
    NoPlace,
    Open,
    OverLimit,
    Permit,
    Receipt,
    Refusal,
    Refused,
    Taken,
    Unknown,
    UsedUp,
)

_SECOND = 1_000_000

Reply: TypeAlias = list[Any]


def read_admitted(reply: Reply) -> Admitted | Refused:
    if reply[0] == b"A":
        return Admitted(tuple([_said(said) for said in reply[1:]]))
    index = int(reply[1])
    return Refused(index, _said(reply[2]))  # type: ignore[arg-type] # a refusal, behind "R"


def read_finished(reply: Reply) -> tuple[bool, ...]:
    return tuple([bool(answer) for answer in reply])


def read_circuit(reply: Reply) -> Circuit:
    state, fails, generation, wait, probes = reply
    return Circuit(state.decode(), int(fails), int(generation), _wait(wait), int(probes))


def read_records(keys: Sequence[str], reply: Reply) -> list[IdempotencyRecord]:
    found: list[IdempotencyRecord] = []
    for key, answer in zip(keys, reply, strict=True):
        if answer is not None:
            state, owner, fingerprint, kept = answer
            found.append(
                IdempotencyRecord(
                    key,
                    state.decode(),
                    owner.decode(),
                    None if fingerprint is None else fingerprint.decode(),
                    _unkept(kept) if state == b"done" else None,
                    _unkept(kept) if state == b"unknown" else "",
                )
            )
    return found


def _said(said: bytes) -> Receipt | Refusal:
    return _SAID[said[0]](said[2:])


def _unkept(kept: bytes) -> str:
    return kept.decode(errors="surrogatepass")


def _wait(micros: bytes) -> float | None:
    return None if micros == b"-" else int(micros) / _SECOND


def _taken(said: bytes) -> Taken:
    remaining, token = said.split()
    return Taken(token.decode(), int(remaining))


def _permit(said: bytes) -> Permit:
    generation, probe, quiet = said.split()
    return Permit(int(generation), probe == b"1", quiet == b"1")


def _over(said: bytes) -> OverLimit:
    index, remaining, wait = said.split()
    return OverLimit(int(index), int(remaining), int(wait) / _SECOND)


def _open(said: bytes) -> Open:
    state, wait = said.split()
    return Open(state.decode(), _wait(wait))  # type: ignore[arg-type] # one of its words


def _used_up(said: bytes) -> UsedUp:
    used, refused = said.split()
    return UsedUp(int(used), int(refused))


def _plain(answer: Receipt | Refusal) -> Callable[[bytes], Receipt | Refusal]:
    return lambda said: answer


def _with(make: Callable[[Any], Receipt | Refusal], read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    return lambda said: make(read(said))


def _seconds(said: bytes) -> float:
    return int(said) / _SECOND


_SAID: dict[int, Callable[[bytes], Receipt | Refusal]] = {
    ord("T"): _taken,
    ord("P"): _permit,
    ord("C"): _with(Counted, int),
    ord("B"): _plain(Begun()),
    ord("L"): _plain(Leased()),
    ord("O"): _over,
    ord("S"): _open,
    ord("X"): _used_up,
    ord("I"): _with(InProgress, _seconds),
    ord("D"): _with(Done, _unkept),
    ord("U"): _with(Unknown, _unkept),
    ord("M"): _plain(Mismatch()),
    ord("N"): _with(NoPlace, _seconds),
}
