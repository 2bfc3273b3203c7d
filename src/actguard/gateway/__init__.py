"""The gateway: one budget for many processes. `ledger/` decides, `storage/` remembers, `http/` speaks the wire.

A client reserves before a run and settles after it; docs/gateway.md is the guide, docs/protocol.md the wire. Needs the
extra: `pip install 'actguard[gateway]'`.
"""
