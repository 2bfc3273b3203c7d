"""Whether every counter and every hold still equals the sum of its ledger rows."""

from collections import Counter

import msgspec

from actguard.gateway.storage.store import Transaction

_keys = msgspec.json.Decoder(list[tuple[str, str, str, str]])


def audit(transaction: Transaction) -> list[str]:
    """What does not add up; nothing, always."""
    wrong = [f"hold {row[1]} differs from its ledger rows" for row in transaction.rows("audit_holds")]
    sums: Counter[tuple[object, ...]] = Counter()
    for workspace, keys, *amounts in transaction.rows("all_holds"):
        for key in _keys.decode(keys):
            for place, amount in enumerate(amounts):
                sums[workspace, *key, place] += amount
    for row in transaction.rows("all_counters"):
        for place, amount in enumerate(row[5:]):
            due = sums.pop((*row[:5], place), 0)
            if due != amount:
                wrong.append(f"counter {row[:5]} says {amount} where the ledger says {due}")
    wrong += [f"counter {key} is missing" for key, due in sums.items() if due]
    return wrong
