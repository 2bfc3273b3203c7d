"""Four processes, one mail account that takes five mails in two seconds, and one mail that must be sent once.

Needs a Redis: REDIS_URL=redis://localhost:6379/0 python examples/shared_limits.py
"""

import multiprocessing
import os
import time
from uuid import uuid4

import actguard

URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
SECONDS = 2.0


@actguard.rate_limit(max_calls=5, period=SECONDS, name="mail-account")
def send_newsletter(number: int) -> str:
    return f"newsletter {number} sent"


@actguard.idempotent(scope="global", on_duplicate="wait", lease_s=5.0)
def send_invoice(order: int, idempotency_key: str) -> str:
    time.sleep(0.1)  # the mail server takes its time
    return f"invoice {order} sent by process {os.getpid()}"


def work(namespace: str) -> tuple[int, int, str]:
    """One process: sends as many newsletters as it may, and the one invoice that everybody wants to send."""
    actguard.configure(store=actguard.RedisStore(URL, namespace=namespace))
    invoice = send_invoice(7, idempotency_key="order-7")
    sent = refused = 0
    for number in range(20):
        try:
            send_newsletter(number)
            sent += 1
        except actguard.RateLimitExceeded:
            refused += 1
    return sent, refused, invoice


def main() -> None:
    namespace = f"example-{uuid4().hex[:8]}"  # this run's own
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        begun = time.monotonic()
        results = pool.map(work, [namespace] * 4, chunksize=1)
    windows = 1 + int((time.monotonic() - begun) / SECONDS)
    sent = sum(result[0] for result in results)
    print(f"newsletters sent: {sent}, which is at most {5 * windows}: {sent <= 5 * windows}")
    print(f"newsletters refused: {sum(result[1] for result in results)}")
    print(f"invoices: {len({result[2] for result in results})}")


if __name__ == "__main__":
    main()
