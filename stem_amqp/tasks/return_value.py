"""The return value of a task: written by the worker, read by the caller."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from stem_amqp.errors import ResultError, TaskDefinitionError
from stem_amqp.tasks.codec import Codec, LossyError, describe_errors
from stem_amqp.tasks.fidelity import fidelity_of_adapter
from stem_amqp.tasks.signature import refuse_secrets, wire_annotation


class ReturnValue:
    """Writes and reads the values that a task returns.

    Args:
        annotation: the return annotation.
        where: the function, for messages.

    Raises:
        TaskDefinitionError: the return type is not supported in JSON.
    """

    def __init__(self, annotation: Any, where: str) -> None:
        refuse_secrets(f"{where}: the return type", annotation)
        annotation = wire_annotation(f"{where}: the return type", annotation)
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            problem = str(error).split("\n", 1)[0]
            raise TaskDefinitionError(
                f"{where}: the return type is not supported in JSON: {problem}"
            ) from error
        self.annotation = annotation
        """The resolved annotation; `Any` if the function has none."""
        self._takes_none = annotation is Any or annotation in (None, type(None))
        # Without an annotation, a tuple may be read back as a list
        self._codec = Codec(adapter, fidelity_of_adapter(adapter), tuples=annotation is not Any)
        self.read = self._codec.read

    def write(self, value: Any) -> bytes:
        """Write the value that a run returned.

        Args:
            value: the value.

        Raises:
            ResultError: it does not fit the annotation, or would be read back as another value.
            PydanticSerializationError: JSON cannot represent it.
        """
        if value is None and self._takes_none:
            return b"null"
        try:
            return self._codec.write(value)
        except ValidationError as error:
            raise ResultError(
                f"the returned value does not fit the return annotation: {describe_errors(error)}"
            ) from error
        except LossyError as error:
            raise ResultError(
                f"the returned value would be read back changed: result{error}."
                " Return a value that JSON can represent, or annotate the return type"
            ) from error
