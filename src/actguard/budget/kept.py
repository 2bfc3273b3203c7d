"""What a provider keeps of earlier replies, and adds to the prompt of a call that builds on one of them."""

_MOST = 4096


class KeptReplies:
    """How long the prompts and outputs of replies were, by their ids: at most that, in tokens, comes back with them.

    Takes no lock, as a finalizer may remember too: the oldest go all at once.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, int]] = {}
        self._kept_before: dict[str, tuple[str, int]] = {}

    def remember(self, response_id: str, model: str, tokens: int) -> None:
        """A reply of *model* came to so many tokens, input and output together."""
        kept = self._kept
        kept[response_id] = model, tokens
        if len(kept) >= _MOST:
            self._kept_before, self._kept = kept, {}

    def tokens(self, ids: tuple[str, ...], model: str) -> int | None:
        """What all of *ids* add to a prompt of *model* at most.

        None if that is not known of one of them: it is no reply, or one of another model, which counts otherwise.
        """
        total = 0
        for response_id in ids:
            whose, tokens = self._kept.get(response_id) or self._kept_before.get(response_id) or ("", 0)
            if whose != model:
                return None
            total += tokens
        return total
