"""Runs, and the client that they belong to."""
