"""Substitute environment variables in a file's values: ``${NAME}`` and ``${NAME:-default}``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from stem_amqp.topology.spec.mistake import Mistake, Place

_REFERENCE = re.compile(r"\$(?:(\$)(?=\{)|\{([^{}]*)\})")
_INNER = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_SHORTEST_CONCEALED = 4
"""The shortest value, in characters, that is concealed in messages about other keys; a shorter one
occurs in many words by chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """A value from the environment, which no message may show.

    Args:
        name: the name of the variable.
        value: its value.
    """

    name: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Substituted:
    """A text with substituted variables.

    Args:
        text: the text.
        taken: the variables from the environment; a default in the file is not secret.
        problem: the problem with a reference, if any.
        remedy: how to correct it.
    """

    text: str
    taken: tuple[Variable, ...] = ()
    problem: str = ""
    remedy: str = ""


def substitute(text: str, environment: Mapping[str, str]) -> Substituted:
    """Substitute variables in a text; ``$${`` is an escaped ``${``.

    Args:
        text: a value of the file.
        environment: the variables.
    """
    taken: list[Variable] = []
    problems: list[tuple[str, str]] = []

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        inner = _INNER.fullmatch(match[2])
        if inner is None:
            problems.append(
                (
                    f"{match[0]} is not a valid reference to a variable",
                    "Write ${NAME} or ${NAME:-default}; $${ stands for a dollar and a brace.",
                )
            )
            return match[0]
        name, default = inner[1], inner[2]
        # as in a shell, the default replaces an empty variable
        if environment.get(name) or (name in environment and default is None):
            taken.append(Variable(name=name, value=environment[name]))
            return environment[name]
        if default is None:
            problems.append(
                (
                    f"the variable {name} is not set",
                    f"Set {name} in the environment, or give a default: ${{{name}:-…}}.",
                )
            )
            return match[0]
        return default

    result = _REFERENCE.sub(value, text)
    problem, remedy = problems[0] if problems else ("", "")
    return Substituted(text=result, taken=tuple(taken), problem=problem, remedy=remedy)


def concealed(
    mistake: Mistake, variables: Mapping[Place, tuple[Variable, ...]], about: str
) -> Mistake:
    """Return a mistake with the values of environment variables concealed.

    Args:
        mistake: the mistake.
        variables: the environment variables by the place of their key.
        about: the model's description of the mistake's key.
    """
    for place, taken in variables.items():
        near = place[: len(mistake.place)] == mistake.place or mistake.place[: len(place)] == place
        for variable in taken:
            shown = variable.value and variable.value in f"{mistake.problem}\n{mistake.remedy}"
            if shown and near:
                mistake = dataclasses.replace(
                    mistake,
                    problem=f"the value of the variable {variable.name} is not valid here; it is not"
                    " shown",
                    remedy=f"Check {variable.name}. {about}",
                )
            elif shown and len(variable.value) >= _SHORTEST_CONCEALED:
                mistake = dataclasses.replace(
                    mistake,
                    problem=mistake.problem.replace(variable.value, f"${{{variable.name}}}"),
                    remedy=mistake.remedy.replace(variable.value, f"${{{variable.name}}}"),
                )
    return mistake
