"""Hard edges for LLM agents: budgets that hold, over the SDKs you already use."""

__version__ = "2.0.0.dev0"
