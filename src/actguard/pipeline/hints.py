"""The hints of a function, of which not every name need be known when it is guarded.

Up to Python 3.13 such a name is quoted, or stands in a module with `from __future__ import annotations`. From 3.14 on
every hint is looked up when somebody asks for it: a function may be guarded above the class that it names, and until
that is there, its signature cannot be told as it will be.
"""

import inspect
import sys
import typing
from collections.abc import Callable
from types import FunctionType
from typing import Any

if sys.version_info >= (3, 14):
    from annotationlib import Format, get_annotations

    def signature_of(function: Callable[..., Any]) -> inspect.Signature:
        """Its signature; with `ForwardRef`s where it cannot be told yet.

        Raises:
            ValueError, TypeError: it does not tell, as it is not written in Python.
        """
        try:
            return inspect.signature(function)
        except (NameError, AttributeError):
            return inspect.signature(function, annotation_format=Format.FORWARDREF)

    def hints_of(function: Any) -> dict[str, Any]:
        """Its hints, those that are not known yet as `ForwardRef`s."""
        try:
            return typing.get_type_hints(function, include_extras=True, format=Format.FORWARDREF)
        except Exception:  # noqa: BLE001 - whatever the text of a hint raises when it is read
            return get_annotations(function, format=Format.FORWARDREF)

    def show(one: Any, signature: inspect.Signature, written: FunctionType | None) -> None:
        """Let *one* read as *signature*, where *written* is the function that has its hints."""
        one.__signature__, one.__annotations__ = signature, _hints_in(signature)
        if written is None:
            return
        try:
            get_annotations(written)
        except (NameError, AttributeError):
            names = tuple(one.__annotations__)

            def annotate(format: Format, /) -> dict[str, Any]:
                if format is Format.VALUE_WITH_FAKE_GLOBALS:
                    raise NotImplementedError
                hints = get_annotations(written, format=format)
                return {name: hints[name] for name in names if name in hints}

            one.__annotate__ = annotate
else:

    def signature_of(function: Callable[..., Any]) -> inspect.Signature:
        """Its signature.

        Raises:
            ValueError, TypeError: it does not tell, as it is not written in Python.
        """
        return inspect.signature(function)

    def hints_of(function: Any) -> dict[str, Any]:
        """Its hints; as they are written, where one of them is not known yet."""
        try:
            return typing.get_type_hints(function, include_extras=True)
        except Exception:  # noqa: BLE001 - whatever the text of a hint raises when it is read
            return getattr(function, "__annotations__", {})

    def show(one: Any, signature: inspect.Signature, written: FunctionType | None) -> None:
        """Let *one* read as *signature*, where *written* is the function that has its hints."""
        one.__signature__, one.__annotations__ = signature, _hints_in(signature)


def _hints_in(signature: inspect.Signature) -> dict[str, Any]:
    """The hints in *signature*, as `__annotations__` has them."""
    hints = {name: one.annotation for name, one in signature.parameters.items() if one.annotation is not one.empty}
    if signature.return_annotation is not signature.empty:
        hints["return"] = signature.return_annotation
    return hints
