"""`python -m actguard.cli`, the same as `actguard`."""

from actguard.cli import main

if __name__ == "__main__":
    main()
