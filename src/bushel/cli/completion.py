"""`bushel completion`: the completion script of a shell, made of the parsers themselves. Ids of jobs are asked for when they are needed."""

from __future__ import annotations

import argparse

from bushel.cli.catalogue import Item, catalogue
from bushel.cli.command import Command
from bushel.cli.commands import COMMANDS as ENTRIES
from bushel.cli.commands import GROUPS
from bushel.cli.session import Session

SHELLS = ("bash", "zsh", "fish")

_DYNAMIC = {
    "JOB": "ls --limit 50 -o name",
    "QUEUE": "queue ls -o name",
    "CLUSTER": "cluster ls -o name",
    "SITE": "site ls -o name",
    "[CLUSTER/]NODE": "node ls -o name",
}
"""What a value is called in the parsers → the command that lists what there is."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")


def _run(options: argparse.Namespace, session: Session) -> None:
    items = list(catalogue())
    session.say({"bash": bash, "zsh": zsh, "fish": fish}[options.shell](items))


# bash --------------------------------------------------------------------------------------------------------------


_BASH = """# Completion of bushel for bash. Load it: source <(bushel completion bash)
_bushel_ask() { COMPREPLY=($(compgen -W "$(bushel $1 2>/dev/null)" -- "$cur")); }
_bushel_words() { COMPREPLY=($(compgen -W "$1" -- "$cur")); }
_bushel() {
    local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command= word at
    COMPREPLY=()
    for ((at = 1; at < COMP_CWORD; at++)); do
        word=${COMP_WORDS[at]}
        [[ $word == -- ]] && { COMPREPLY=($(compgen -c -- "$cur")); return; }
        [[ $word == -* ]] && break
        case $command in
            "") command=$word ;;
            @GROUPS@) command="$command $word"; break ;;
            *) break ;;
        esac
    done
    case $command in
        "") _bushel_words "@TOP@"; return ;;
@GROUP_CASES@
@VALUE_CASES@
    esac
    case $command in
@OPTION_CASES@
    esac
}
complete -o default -F _bushel bushel"""


def bash(items: list[Item]) -> str:
    """A script that needs no other completion helpers."""
    values, options = [], []
    for item in items:
        cases = [f"                {'|'.join(action.option_strings)}) {_bash_value(action)}; return ;;" for action in _valued(item)]
        if cases:
            values.append(f'        "{item.name}")\n            case $previous in\n' + "\n".join(cases) + "\n            esac ;;")
        flags = " ".join(flag for action in item.options for flag in action.option_strings if flag.startswith("--"))
        positional = _bash_value(item.arguments[0]) if item.arguments else ":"
        options.append(f'        "{item.name}") if [[ $cur == -* ]]; then _bushel_words "{flags}"; else {positional}; fi ;;')
    groups = "|".join(GROUPS)
    group_cases = [f'        {group}) _bushel_words "{_verbs(items, group)}"; return ;;' for group in GROUPS]
    script = _BASH.replace("@GROUPS@", groups).replace("@TOP@", " ".join([*ENTRIES, *GROUPS, "help"]))
    script = script.replace("@GROUP_CASES@", "\n".join(group_cases)).replace("@VALUE_CASES@", "\n".join(values))
    return script.replace("@OPTION_CASES@", "\n".join(options))


def _verbs(items: list[Item], group: str) -> str:
    return " ".join(item.name.split()[1] for item in items if item.name.startswith(group + " "))


def _valued(item: Item) -> list[argparse.Action]:
    """Options that take a value."""
    return [action for action in item.options if action.nargs != 0]


def _bash_value(action: argparse.Action) -> str:
    if action.choices:
        return f'_bushel_words "{" ".join(str(choice) for choice in action.choices)}"'
    if action.metavar in _DYNAMIC:
        return f'_bushel_ask "{_DYNAMIC[str(action.metavar)]}"'
    if action.metavar in ("FILE", "FOLDER"):
        return f'COMPREPLY=($(compgen -{"d" if action.metavar == "FOLDER" else "f"} -- "$cur"))'
    return ":"


def zsh(items: list[Item]) -> str:
    """The bash script, in zsh's own emulation."""
    head = "#compdef bushel\n# Completion of bushel for zsh. Load it: source <(bushel completion zsh)\n"
    return head + "autoload -U +X bashcompinit && bashcompinit\n" + bash(items).partition("\n")[2]


# fish --------------------------------------------------------------------------------------------------------------


def fish(items: list[Item]) -> str:
    """A script with descriptions."""
    lines = ["# Completion of bushel for fish. Load it: bushel completion fish | source", "complete -c bushel -f"]
    for name, entry in {**ENTRIES, **GROUPS}.items():
        lines.append(f"complete -c bushel -n __fish_use_subcommand -a {name} -d {_quoted(entry.help)}")
    for item in items:
        group, _, verb = item.name.partition(" ")
        condition = f"__fish_seen_subcommand_from {group}"
        if verb:
            first = f"{condition}; and not __fish_seen_subcommand_from {_verbs(items, group)}"
            lines.append(f"complete -c bushel -n '{first}' -a {verb} -d {_quoted(item.command.help)}")
            condition += f"; and __fish_seen_subcommand_from {verb}"
        lines += [_fish_option(condition, action) for action in item.options if action.help != argparse.SUPPRESS]
        if item.arguments:
            values = _fish_values(item.arguments[0])
            if values:
                lines.append(f"complete -c bushel -n '{condition}' {values}")
    return "\n".join(lines)


def _fish_option(condition: str, action: argparse.Action) -> str:
    names = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in action.option_strings)
    value = "" if action.nargs == 0 else f" -x {_fish_values(action)}".rstrip()
    return f"complete -c bushel -n '{condition}' {names}{value} -d {_quoted((action.help or '').replace('%%', '%'))}"


def _fish_values(action: argparse.Action) -> str:
    if action.choices:
        return f"-a {_quoted(' '.join(str(choice) for choice in action.choices))}"
    if action.metavar in _DYNAMIC:
        return f"-a '(bushel {_DYNAMIC[str(action.metavar)]} 2>/dev/null)'"
    return "-F" if action.metavar in ("FILE", "FOLDER") else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


COMMANDS = {
    "completion": Command(
        "print the completion script of a shell",
        _run,
        _arguments,
        examples="  source <(bushel completion bash)\n  bushel completion fish > ~/.config/fish/completions/bushel.fish",
        output=False,
        connects=False,
    )
}
