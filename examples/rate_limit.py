"""A model that loops over a search: each user gets so many calls, and the model is told when there are no more."""

import actguard


@actguard.rate_limit(limits="3/s;100/min", scope="user_id", on_block="return_prompt")
def search(user_id: str, query: str) -> str:
    return f"results for {query}"


def main() -> None:
    for number in range(5):
        print("alice:", search("alice", f"query {number}"))
    print("bob:", search("bob", "query"))


if __name__ == "__main__":
    main()
