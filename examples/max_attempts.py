"""An agent that is stuck: it may deploy twice in a run, and is told when it repeats itself."""

import actguard


@actguard.max_attempts(calls=2)
def deploy(version: str) -> str:
    return f"deployed {version}"


@actguard.no_repeat(max_identical=2)
def look_up(order: str) -> str:
    return "not found"


def main() -> None:
    with actguard.BudgetGuard():  # a run: attempts count in it
        for version in ("1.0", "1.1", "1.2"):
            try:
                print(deploy(version))
            except actguard.MaxAttemptsExceeded as error:
                print(error.to_prompt())
        for _ in range(3):
            print(look_up("A-17"))


if __name__ == "__main__":
    main()
