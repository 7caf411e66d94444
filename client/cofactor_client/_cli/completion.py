"""Shell completion, written from the parser itself: subcommands, options and the choices of an option."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

SHELLS = ("bash", "zsh")

_SCRIPT = """_cofactor() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} command= words= each
  for each in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case $each in -*) ;; *) command=$each; break ;; esac
  done
  case "$command $previous" in
{choices}
    *) case "$command" in
{options}
      *) words="{commands}" ;;
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _cofactor cofactor"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """What `eval "$(cofactor completion SHELL)"` needs."""
    commands = dict(_commands(parser))
    choices = [
        f'    "{name} {option}") words="{" ".join(map(str, action.choices))}" ;;'
        for name, command in commands.items()
        for action in command._actions
        if action.choices
        for option in action.option_strings or [name]
    ]
    options = [
        f'      {name}) words="{" ".join(o for action in command._actions for o in action.option_strings)}" ;;'
        for name, command in commands.items()
    ]
    body = _SCRIPT.format(choices="\n".join(choices), options="\n".join(options), commands=" ".join(commands))
    return f"autoload -U +X bashcompinit && bashcompinit\n{body}" if shell == "zsh" else body


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()
