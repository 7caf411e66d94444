"""Shell completion scripts, generated from the argument parser.

They complete subcommands, options and the choices of an option. The package shtab would add a dependency to every
install, or, as generated files in the wheel, more than 600 lines.
"""

from __future__ import annotations

import argparse

SHELLS = ("bash", "zsh")

_SCRIPT = """_cofactor() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} command= words= typed
  for typed in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case $typed in -*) ;; *) command=$typed; break ;; esac
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


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for `eval "$(cofactor completion SHELL)"`."""
    commands = _subparsers(parser)
    choices = [
        f'    "{name} {option}") words="{" ".join(map(str, action.choices))}" ;;'
        for name, command in commands.items()
        for action in command._actions
        if action.choices
        for option in action.option_strings or [name]
    ]
    options = [f'      {name}) words="{" ".join(_options(command))}" ;;' for name, command in commands.items()]
    script = _SCRIPT.format(choices="\n".join(choices), options="\n".join(options), commands=" ".join(commands))
    return f"autoload -U +X bashcompinit && bashcompinit\n{script}" if shell == "zsh" else script


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: subparser for action in actions for name, subparser in action.choices.items()}


def _options(command: argparse.ArgumentParser) -> dict[str, None]:
    """Return the options of a subcommand and of the actions under it, such as `models promote`, in order."""
    parsers = (command, *_subparsers(command).values())
    return dict.fromkeys(option for p in parsers for action in p._actions for option in action.option_strings)
