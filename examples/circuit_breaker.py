"""A service that goes down and comes back: it is left alone in between, and tried with one call."""

import time

import actguard

up = False


@actguard.circuit_breaker(name="mail_api", max_fails=2, reset_timeout=0.2)
def send_mail(to: str) -> str:
    if not up:
        raise ConnectionRefusedError("mail_api does not listen")
    return f"sent to {to}"


def attempt() -> None:
    try:
        print(send_mail("bob"))
    except ConnectionRefusedError:
        print("failed")
    except actguard.CircuitOpenError as error:
        print("left alone:", error.to_prompt().split(":")[0])


def main() -> None:
    global up
    for _ in range(4):
        attempt()
    up = True
    time.sleep(0.25)
    attempt()
    print("the circuit is", actguard.circuits.state("mail_api").state)


if __name__ == "__main__":
    main()
