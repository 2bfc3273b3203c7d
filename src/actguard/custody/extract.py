"""What a read proves: the values at a path of its result, and which of them stand in one record."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from actguard.custody.kinds import own_kind
from actguard.custody.normalise import Normaliser
from actguard.custody.paths import EACH, Index, follow, parse
from actguard.custody.values import Unfit, encode, is_blank, is_list
from actguard.exceptions import ActGuardUsageError
from actguard.pipeline.guard import called
from actguard.stores.keys import LONGEST

Extract = str | Callable[[Any], Any]


class Found(NamedTuple):
    """A value that a read proves. *place*: which element of each list on the way it stood in."""

    kind: str
    value: Any
    encoded: str
    place: Index


class Reader:
    """What one `prove` looks for in a result.

    Args:
        extracts: for each kind, where it stands.
        normal: how spellings are evened out.

    Raises:
        ActGuardUsageError: a kind or a path is none.
    """

    def __init__(self, extracts: Mapping[str, Extract], normal: Normaliser | None) -> None:
        if not extracts:
            raise ActGuardUsageError("kind must name one kind at least", argument="kind")
        self._paths: list[tuple[str, tuple[str, ...] | None, Callable[[Any], Any] | None]] = []
        for kind, extract in extracts.items():
            own_kind("kind", kind)
            if callable(extract):
                called("extract", extract)
                self._paths.append((kind, None, extract))
            else:
                self._paths.append((kind, parse("extract", extract), None))
        self._normal = normal
        self.kinds = tuple(extracts)
        kind, path, _ = self._paths[0]
        self.only = (kind, path) if len(self._paths) == 1 and path is not None else None
        """The kind and the path, where there is one, and no function."""

    def read(self, result: Any, *, most: int, item: bool = False) -> Iterator[Found]:
        """Everything that *result* proves.

        Args:
            most: values of one kind; one more is given, to say that there are more, and none after it.
            item: *result* is one of the things that a generator yields, and a path may begin with `[]` for that.

        Raises:
            Unfit: it is not built as the paths say.
        """
        for kind, path, function in self._paths:
            if path is None:
                assert function is not None
                ends = _returned(function(result))
            else:
                ends = follow(result, path[1:] if item and path[:1] == (EACH,) else path, parse_json=True)
            count = 0
            for value, place in ((value, place) for end, index in ends for value, place in _spread(end, index)):
                normal = value if self._normal is None or value is None else self._normal(value)
                if normal is not None and not is_blank(normal):
                    yield Found(kind, normal, encode(normal), place)
                    count += 1
                    if count > most:
                        break


def extracts_of(kind: str | Mapping[str, Extract], extract: Extract | None) -> dict[str, Extract]:
    """Where each kind of fact stands, said of one or as a mapping of several.

    Raises:
        ActGuardUsageError: *extract* is missing, or stands beside a mapping.
    """
    if isinstance(kind, Mapping):
        if extract is not None:
            raise ActGuardUsageError("extract is part of kind already, where kind is a mapping", argument="extract")
        return dict(kind)
    own_kind("kind", kind)
    if extract is None:
        raise ActGuardUsageError(
            "extract must say where the values stand; '.' is the result itself", argument="extract"
        )
    return {kind: extract}


def plainly(value: Any, path: tuple[str, ...], taken: int, found: list[str], most: int) -> bool:
    """Add to *found* what stands at *path*, as `Reader.read` finds it, if it is nothing but mappings, lists and short
    values, and at most *most* of them; else say False."""
    kind = cast("Any", type(value))
    if kind is dict:
        if taken == len(path) or path[taken] == EACH:
            return False
        return plainly(value.get(path[taken]), path, taken + 1, found, most)
    if kind is list:
        if taken == len(path):
            return False
        each = taken + (path[taken] == EACH)
        for single in value:
            if (each == taken and type(single) is list) or not plainly(single, path, each, found, most):
                return False
        return True
    if value is None:
        return True
    if taken < len(path):
        return False
    if kind is str and len(value) <= LONGEST and value.isascii():
        if value.strip():
            found.append("s:" + value)
    elif kind is int:
        found.append(encode(value))
    else:
        return False
    return len(found) <= most


def records(found: Sequence[Found], source: str) -> dict[Index, tuple[str, ...]]:
    """For each place the names of the records that it is part of: the same content has the same name, wherever."""
    places = {each.place for each in found}
    inside = any(places)
    contents: dict[Index, list[str]] = {}
    for each in found:
        for prefix in _prefixes(each.place, inside):
            contents.setdefault(prefix, []).append(f"{len(each.kind)}:{each.kind}{each.encoded}")
    named = {prefix: _name(source, content) for prefix, content in contents.items()}
    return {place: tuple(sorted({named[prefix] for prefix in _prefixes(place, inside)})) for place in places}


def _prefixes(index: Index, inside: bool) -> list[Index]:
    """The records a place is part of: each element it is in; the whole only where there are no elements."""
    return [index[:length] for length in range(1, len(index) + 1)] if inside else [()]


def _name(source: str, content: list[str]) -> str:
    return hashlib.blake2b("\n".join([source, *sorted(content)]).encode("utf-8", "replace"), digest_size=9).hexdigest()


def _returned(value: Any) -> Iterator[tuple[Any, Index]]:
    """What a function of the user's returned: one value, or several."""
    if not (is_list(value) or hasattr(value, "__next__")):
        yield value, ()
        return
    for count, single in enumerate(value):
        yield single, (count,)


def _spread(value: Any, index: Index) -> Iterator[tuple[Any, Index]]:
    """A list at the end of a path is as many values as it holds; what has parts otherwise is no value."""
    if isinstance(value, Mapping):
        raise Unfit("a mapping stands where a value should; the path must go into it")
    if is_list(value):
        for count, single in enumerate(value):
            yield from _spread(single, (*index, count))
    else:
        yield value, index
