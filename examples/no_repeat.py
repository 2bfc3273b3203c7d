"""An agent that is stuck: it looks the same order up again and again, is told so, and changes its approach."""

import actguard


@actguard.no_repeat(max_identical=2)
def look_up(order: str) -> str:
    return f"{order}: not found"


def model(answer: str) -> str:
    """What a model makes of what a tool said: it goes on as before, until it is told not to."""
    return "A-18" if "change your approach" in answer else "A-17"


def main() -> None:
    with actguard.BudgetGuard():  # a run: calls count in it
        order = "A-17"
        for _ in range(4):
            answer = look_up(order)
            print(answer)
            order = model(answer)
        try:
            look_up("A-17")
        except actguard.LoopDetected as error:
            print("stopped:", error)


if __name__ == "__main__":
    main()
