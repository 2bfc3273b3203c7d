"""All guards of a tool in one place, and what the pipeline looks like."""

import actguard


@actguard.tool(
    rate_limit={"max_calls": 10, "period": 60, "scope": "user_id"},
    circuit_breaker={"name": "orders_api", "max_fails": 3},
    max_attempts=5,
    timeout=2.0,
    idempotent={"key": "derived"},
)
def order(user_id: str, item: str, count: int = 1) -> str:
    """Order something."""
    return f"ordered {count} {item}"


def main() -> None:
    print(actguard.explain(order))
    with actguard.BudgetGuard():
        print(order("alice", "shoes"))
        print(order("alice", item="shoes", count=1))  # the same call: it is not made again


if __name__ == "__main__":
    main()
