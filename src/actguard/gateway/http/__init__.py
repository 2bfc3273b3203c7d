"""The gateway's wire: what comes in is checked here, and what the ledger says goes out."""
