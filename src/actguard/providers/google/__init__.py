"""Google: what is sent, what comes back, how the SDK is watched."""
