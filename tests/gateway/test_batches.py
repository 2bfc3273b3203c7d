"""What one batch does to rows that several of its requests are about: the same as they do one after the other."""

from typing import Any

import pytest

from actguard.gateway.audit import audit
from actguard.gateway.ledger.windows import SECOND
from tests.gateway.test_ledger import release, reserve, settle


def test_a_request_without_any_id_is_granted_anew_while_the_due_hold_of_its_like_is_ended(ledger: Any) -> None:
    ledger.one(reserve("s1", usd=60, fingerprint="f", ttl=60 * SECOND))
    ledger.clock.tick(60)
    assert ledger.one(reserve("s2", usd=60, fingerprint="f")).body["reserve_id"] == "s2"
    assert ledger.one(settle("s1", usd=1)).body["status"] == "settled_late"
    assert ledger.store.read(audit) == []


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("end", [release("s1"), settle("s1", usd=5)], ids=["released", "settled"])
def test_a_hold_may_end_and_the_next_of_its_like_begin_in_one_batch(ledger: Any, end: Any, shared: bool) -> None:
    ledger.one(reserve("s1", usd=60, fingerprint="f"))
    again = [reserve("s2", usd=60, fingerprint="f")] if shared else []
    replies = ledger.apply(*again, end, reserve("s3", usd=60, fingerprint="f"), reserve("s4", usd=60, fingerprint="f"))
    assert [reply.status for reply in replies] == [200] * len(replies)
    assert [reply.body["reserve_id"] for reply in replies[-2:]] == ["s3", "s3"]
    assert ledger.one(reserve("s5", usd=60, fingerprint="f")).body["reserve_id"] == "s3"
    ledger.crash()
    assert ledger.one(settle("s3", usd=5)).body["status"] == "settled"
    assert ledger.store.read(audit) == []
