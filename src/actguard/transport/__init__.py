"""The way to the gateway: requests with a deadline, and a spool on disk for what could not be delivered."""
