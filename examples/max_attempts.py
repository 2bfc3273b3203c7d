"""An agent that tries again: it may deploy twice in a run."""

import actguard


@actguard.max_attempts(calls=2)
def deploy(version: str) -> str:
    return f"deployed {version}"


def main() -> None:
    with actguard.BudgetGuard():  # a run: attempts count in it
        for version in ("1.0", "1.1", "1.2"):
            try:
                print(deploy(version))
            except actguard.MaxAttemptsExceeded as error:
                print(error.to_prompt())


if __name__ == "__main__":
    main()
