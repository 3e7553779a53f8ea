"""Build the codec of a function's arguments: a typed dictionary with a key for each parameter."""

from __future__ import annotations

import inspect
from typing import Any, NotRequired, Required, Unpack, get_args, get_origin
from typing import NotRequired as OldNotRequired
from typing import Required as OldRequired

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from typing_extensions import TypedDict, is_typeddict
from typing_extensions import Unpack as OldUnpack

from stem_amqp.errors import TaskDefinitionError
from stem_amqp.tasks.codec import Codec
from stem_amqp.tasks.fidelity import fidelity_of_adapter
from stem_amqp.tasks.signature import hints_of

_KEY_MARKS = {Required, NotRequired, OldRequired, OldNotRequired}


def arguments_codec(parameters: list[inspect.Parameter], where: str) -> Codec:
    """Return the codec that writes and reads all arguments of a function by name.

    Args:
        parameters: the parameters with resolved annotations.
        where: the function, for messages.

    Raises:
        TaskDefinitionError: an annotation is not supported.
    """
    fields: dict[str, Any] = {}
    more: Any = None
    for parameter in parameters:
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            needed = parameter.default is inspect.Parameter.empty
            wrapped = Required if needed else NotRequired
            fields[parameter.name] = wrapped[parameter.annotation]
        elif get_origin(parameter.annotation) in (Unpack, OldUnpack):
            fields |= _unpacked_fields(parameter, where)
        else:
            more = parameter.annotation
    adapter = _adapter(fields, where, more)
    return Codec(adapter, fidelity_of_adapter(adapter))


def _unpacked_fields(parameter: inspect.Parameter, where: str) -> dict[str, Any]:
    shape = get_args(parameter.annotation)[0]
    if not is_typeddict(shape):
        raise TaskDefinitionError(
            f"{where}: {parameter.name!r} unpacks {shape!r}, which is not a TypedDict"
        )
    fields = {}
    for name, hint in hints_of(shape, where).items():
        inner = get_args(hint)[0] if get_origin(hint) in _KEY_MARKS else hint
        fields[name] = (Required if name in shape.__required_keys__ else NotRequired)[inner]
    return fields


def _adapter(fields: dict[str, Any], where: str, more: Any) -> TypeAdapter[dict[str, Any]]:
    # The functional form accepts any name; the fields of a model do not
    functional_form: Any = TypedDict
    extra = {} if more is None else {"extra_items": more}
    shape = functional_form("Arguments", fields, **extra)
    config = ConfigDict(extra="forbid" if more is None else "allow", arbitrary_types_allowed=False)
    shape.__pydantic_config__ = config
    try:
        return TypeAdapter(shape)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        problem = str(error).split("\n", 1)[0]
        raise TaskDefinitionError(
            f"{where}: the type of an argument is not supported in JSON: {problem}"
        ) from error
