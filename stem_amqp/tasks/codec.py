"""Write values as JSON and read them back by their annotations; refuse what would be read changed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from stem_amqp.tasks.difference import difference
from stem_amqp.tasks.fail_fast import fail_fast
from stem_amqp.tasks.fidelity import Fidelity

_FORMS: tuple[dict[str, Any], ...] = (
    {},
    {"round_trip": True},
    {"round_trip": True, "by_alias": False},
)
"""Serializer options to try in turn where the usual form is not read back equal: NaN as a string, then
without computed fields, then by field names instead of aliases."""


_SHOWN = 20
"""Validation errors that a message lists."""
_LISTED = 2000
"""Validation errors above which only their number is reported."""


class LossyError(ValueError):
    """A value would not be read back equal; the message says what would differ."""


class Codec:
    """Writes and reads the values of an annotation.

    Types that `Fidelity` proves safe are written without a check. Other values are read back as the
    reader will read them, and compared. Models are read by aliases and by field names.

    Args:
        adapter: pydantic's adapter of the annotation.
        fidelity: the checks that the annotation needs.
        tuples: whether to refuse a tuple that would be read as a list.
    """

    def __init__(
        self, adapter: TypeAdapter[Any], fidelity: Fidelity, *, tuples: bool = True
    ) -> None:
        self._adapter = adapter
        self._floats = fidelity.floats
        self._verified = fidelity.values or fidelity.types
        self._typed = fidelity.types
        self._as_text = fidelity.text
        self._tuples = tuples
        self._bounded: Any = None

    def validate(self, value: Any) -> Any:
        """Convert a caller's value to the annotation's type.

        Raises:
            ValidationError: the value does not fit the annotation.
        """
        return self._adapter.validator.validate_python(value)

    def packed(self, value: Any) -> Any:
        """Convert a validated value to JSON values.

        Raises:
            LossyError: it would be read back as another value.
            PydanticSerializationError: JSON cannot carry it.
            ValueError: it contains itself, or is nested too deep.
        """
        if self._verified:
            return self._verified_form(value)
        packed = self._adapter.serializer.to_python(value, mode="json")
        # NaN and infinities are written as null
        if self._floats and b"null" in orjson.dumps(packed):
            return self._verified_form(value)
        return packed

    def unpacked(self, values: Any, *, large: bool = False) -> Any:
        """Convert JSON values to the annotation's type.

        Args:
            values: the JSON values.
            large: whether there may be so many values that only the first errors are collected.

        Raises:
            ValidationError: the values do not fit the annotation.
        """
        if large and not self._as_text:
            return self._first_mistakes().validate_python(values, by_alias=True, by_name=True)
        if self._as_text:
            return self._read_wire(values)
        return self._adapter.validator.validate_python(values, by_alias=True, by_name=True)

    def _first_mistakes(self) -> Any:
        if self._bounded is None:
            self._bounded = fail_fast(self._adapter) or self._adapter.validator
        return self._bounded

    def write(self, value: Any) -> bytes:
        """Write a value that a task returned.

        Raises:
            ValidationError: it does not fit the annotation.
            LossyError: it would be read back as another value.
            PydanticSerializationError: JSON cannot carry it.
        """
        if not self._verified:
            if not self._adapter.validator.isinstance_python(value, strict=True):
                refuse_unawaited(value)
                value = self.validate(value)
            text = self._adapter.serializer.to_json(value, warnings=False)
            if not self._floats or b"null" not in text:
                return text
        refuse_unawaited(value)
        return self._verified_text(self.validate(value))

    def read(self, text: bytes) -> Any:
        """Read what `write` wrote, also in an earlier or later release of the application.

        Raises:
            ValidationError: the value does not fit the annotation.
        """
        return self._adapter.validator.validate_json(text, by_alias=True, by_name=True)

    def _verified_form(self, value: Any) -> Any:
        """Return the first form of a value that the worker would read as the same value."""
        problems: list[str] = []
        for form in self._forms(value):
            try:
                came = self._read_wire(form)
            except ValidationError as error:
                problems.append(f": it could not be read back ({describe_errors(error)})")
                continue
            if (found := self._difference(value, came)) is None:
                return form
            problems.append(found)
        raise LossyError(problems[0])

    def _verified_text(self, value: Any) -> bytes:
        """Return the first text of a value that the producer would read as the same value."""
        problems: list[str] = []
        for text in self._texts(value):
            try:
                came = self.read(text)
            except ValidationError as error:
                problems.append(f": it could not be read back ({describe_errors(error)})")
                continue
            if (found := self._difference(value, came)) is None:
                return text
            problems.append(found)
        raise LossyError(problems[0])

    def _forms(self, value: Any) -> Iterator[Any]:
        yield self._adapter.serializer.to_python(value, mode="json", warnings=False)
        for options in _FORMS:
            dumped = self._adapter.serializer.to_python(
                value, mode="json", warnings=False, **options
            )
            yield from_json(to_json(dumped, inf_nan_mode="strings"))

    def _texts(self, value: Any) -> Iterator[bytes]:
        yield self._adapter.serializer.to_json(value, warnings=False)
        for options in _FORMS:
            dumped = self._adapter.serializer.to_python(
                value, mode="json", warnings=False, **options
            )
            yield to_json(dumped, inf_nan_mode="strings")

    def _read_wire(self, form: Any) -> Any:
        try:
            text = orjson.dumps(form)
        except TypeError:  # an integer beyond 64 bits, or a lone surrogate
            text = to_json(form)
        if self._as_text:
            return self.read(text)
        values = orjson.loads(text)
        return self._adapter.validator.validate_python(values, by_alias=True, by_name=True)

    def _difference(self, value: Any, came: Any) -> str | None:
        if not self._typed and _equal(value, came):
            return None
        return difference(value, came, tuples=self._tuples)


def refuse_unawaited(value: Any) -> None:
    """Refuse a coroutine or generator in place of a value: it would be lost, or written as a list.

    Raises:
        LossyError: the value is a coroutine or a generator.
    """
    if inspect.iscoroutine(value):
        value.close()
        raise LossyError(": it is a coroutine that was not awaited")
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise LossyError(": it is a generator that was not iterated")


def _equal(value: Any, came: Any) -> bool:
    try:
        return bool(value == came)
    except Exception:  # noqa: BLE001 - for example, an array has no truth value
        return False


def describe_errors(error: ValidationError) -> str:
    """Describe validation errors without the values, which may be secret.

    Only the first errors are listed. Pydantic builds a dictionary for each, so above a limit only their
    number is returned.
    """
    count = error.error_count()
    if count > _LISTED:
        return f"{count} values do not fit"
    lines = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        name = ".".join(str(part) for part in problem["loc"]) or "arguments"
        lines.append(f"{name:.200}: {problem['msg']:.500}")
    more = [f"and {count - _SHOWN} more"] if count > _SHOWN else []
    return "; ".join([*lines[:_SHOWN], *more])
