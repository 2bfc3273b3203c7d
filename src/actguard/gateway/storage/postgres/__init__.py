"""Postgres: several gateways over one database."""
