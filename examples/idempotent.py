"""A payment that is asked for twice: it is made once, and a file remembers it, also for other processes."""

import tempfile
from pathlib import Path

import actguard

RECORDS = Path(tempfile.mkdtemp()) / "payments.db"
paid: list[str] = []


@actguard.idempotent(durable=str(RECORDS), scope="global", ttl_s=86_400)
def pay(to: str, amount: int, *, idempotency_key: str) -> dict[str, object]:
    paid.append(to)
    return {"to": to, "amount": amount}


def main() -> None:
    print(pay("bob", 10, idempotency_key="order-7"))
    print(pay("bob", 10, idempotency_key="order-7"))
    try:
        pay("eve", 10, idempotency_key="order-7")
    except actguard.IdempotencyPayloadMismatch as error:
        print(error.to_prompt())
    print("payments made:", len(paid))


if __name__ == "__main__":
    main()
