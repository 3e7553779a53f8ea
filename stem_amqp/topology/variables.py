"""Variables of the environment in a file's values: ``${NAME}`` and ``${NAME:-default}``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from stem_amqp.topology.mistake import Mistake, Place

_REFERENCE = re.compile(r"\$(?:(\$)(?=\{)|\{([^{}]*)\})")
_INNER = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_LEAST_HIDDEN = 4
"""Characters from which a value is taken out of messages about other keys, too: a shorter one
stands in many words by chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """A value that came from the environment, so that no message may show it.

    Args:
        name: the variable.
        value: what it holds.
    """

    name: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Substituted:
    """A text with the variables' values in it.

    Args:
        text: the text.
        taken: the variables that the environment has; a default of the file is no secret.
        problem: what is wrong with a reference, if anything is.
        remedy: what to do about it.
    """

    text: str
    taken: tuple[Variable, ...] = ()
    problem: str = ""
    remedy: str = ""


def substitute(text: str, environment: Mapping[str, str]) -> Substituted:
    """Put the values of variables into a text; ``$${`` stands for ``${``.

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
                    f"{match[0]} names no variable",
                    "Write ${NAME} or ${NAME:-default}; $${ stands for a dollar and a brace.",
                )
            )
            return match[0]
        name, default = inner[1], inner[2]
        # as in a shell, an empty variable with a default is as good as none
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
    """Return a mistake that shows no value of the environment.

    Args:
        mistake: the mistake.
        variables: what came from the environment, by the key that has it.
        about: what the model says of the mistake's key.
    """
    for place, taken in variables.items():
        near = place[: len(mistake.place)] == mistake.place or mistake.place[: len(place)] == place
        for variable in taken:
            shown = variable.value and variable.value in f"{mistake.problem}\n{mistake.remedy}"
            if shown and near:
                mistake = dataclasses.replace(
                    mistake,
                    problem=f"what the variable {variable.name} holds is refused here; it is not"
                    " shown",
                    remedy=f"Look at {variable.name}. {about}",
                )
            elif shown and len(variable.value) >= _LEAST_HIDDEN:
                mistake = dataclasses.replace(
                    mistake,
                    problem=mistake.problem.replace(variable.value, f"${{{variable.name}}}"),
                    remedy=mistake.remedy.replace(variable.value, f"${{{variable.name}}}"),
                )
    return mistake
