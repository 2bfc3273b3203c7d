"""Custody: a write may only use what a read really returned."""
