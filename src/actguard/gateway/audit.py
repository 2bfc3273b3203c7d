"""Whether every counter and every hold still equals the sum of its ledger rows."""

from collections import Counter

import msgspec

from actguard.gateway.storage.store import Transaction

_numbers = msgspec.json.Decoder(list[int])


def audit(transaction: Transaction) -> list[str]:
    """What does not add up; nothing, always."""
    wrong = [f"hold {row[1]} differs from its ledger rows" for row in transaction.rows("audit_holds")]
    sums: Counter[tuple[int, int, int]] = Counter()
    for workspace, numbers, *amounts in transaction.rows("all_holds"):
        for number in _numbers.decode(numbers):
            for place, amount in enumerate(amounts):
                sums[workspace, number, place] += amount
    for number, workspace, *key, usd_held, usd_spent, tokens_held, tokens_spent in transaction.rows("all_counters"):
        for place, amount in enumerate((usd_held, usd_spent, tokens_held, tokens_spent)):
            due = sums.pop((workspace, number, place), 0)
            if due != amount:
                wrong.append(f"counter {(workspace, *key)} says {amount} where the ledger says {due}")
    wrong += [f"counter {key} is missing" for key, due in sums.items() if due]
    return wrong
