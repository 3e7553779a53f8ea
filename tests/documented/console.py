"""Blocks of commands: `sh` has one per line, `console` has them after `$`, with their output."""

from documented.commands import check


def joined(text):
    """Return the lines of a block, with continued lines joined."""
    return text.replace("\\\n", " ").splitlines()


def run_script(example):
    """Check every line of a script."""
    lines = [line for line in joined(str(example.parsed)) if line.strip()]
    wrong = [found for found in map(check, lines) if found]
    return "\n".join(wrong) or None


def run_console(example):
    """Check every command of a session; on a page with a shell, run it and compare its output."""
    page = example.namespace["page"]
    steps = []
    for line in joined(str(example.parsed)):
        command, _, shown = line.strip().partition("$ ")
        if not command and shown:
            steps.append((shown, []))
        elif not steps:
            return f"a session begins with a command after '$': {line}"
        else:
            steps[-1][1].append(line.rstrip())
    for command, expected in steps:
        wrong = check(command)
        if not wrong and page.shell is not None:
            wrong = page.shell.run(command, expected)
        if wrong:
            return wrong
    return None
