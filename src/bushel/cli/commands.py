"""Every command, with the module that carries it out and the line that says what it does.

The lines stand here so that `bushel --help` imports none of those modules.
"""

from __future__ import annotations


class Entry:
    """Where a command or a group of commands is found."""

    __slots__ = ("help", "module", "section")

    def __init__(self, section: str, module: str, help: str) -> None:
        self.section = section
        self.module = f"bushel.cli.{module}"
        self.help = help


INSTALLATION, JOBS, CHANGES, DATA, PLATFORM, TENANCY, SELF = (
    "This machine",
    "Jobs",
    "Change jobs",
    "Pipelines and data",
    "Where jobs run",
    "Who may do what",
    "This command",
)

COMMANDS = {
    "up": Entry(INSTALLATION, "installation", "start Bushel on this machine"),
    "down": Entry(INSTALLATION, "installation", "stop Bushel on this machine; running tasks go on"),
    "doctor": Entry(INSTALLATION, "installation", "check each part and say how to mend it"),
    "submit": Entry(JOBS, "submit", "submit jobs from files, standard input or flags"),
    "run": Entry(JOBS, "run", "submit a job, follow its output and take its exit code"),
    "ls": Entry(JOBS, "ls", "list jobs"),
    "get": Entry(JOBS, "get", "show a job as it is now"),
    "describe": Entry(JOBS, "describe", "tell a job's story in the order of time"),
    "explain": Entry(JOBS, "explain", "say why a job does not run yet"),
    "estimate": Entry(JOBS, "estimate", "say when a job is likely to start"),
    "logs": Entry(JOBS, "logs", "show what a job prints"),
    "events": Entry(JOBS, "events", "show what happened"),
    "wait": Entry(JOBS, "wait", "wait for jobs to end"),
    "top": Entry(JOBS, "top", "show what runs and how far it is"),
    "cancel": Entry(CHANGES, "change", "stop jobs, or indices of an array"),
    "hold": Entry(CHANGES, "change", "keep queued jobs from starting"),
    "release": Entry(CHANGES, "change", "let held jobs start"),
    "retry": Entry(CHANGES, "change", "submit what failed again, as a new job"),
    "simulate": Entry(PLATFORM, "simulate", "replay a trace in virtual time under one policy or several"),
    "what-if": Entry(PLATFORM, "what_if", "replay the past under a changed policy, quota or fleet"),
    "whoami": Entry(TENANCY, "whoami", "show who you are and what you may do"),
    "audit": Entry(TENANCY, "audit", "show who changed what"),
    "completion": Entry(SELF, "completion", "print the completion script of a shell"),
    "version": Entry(SELF, "version", "print the version"),
}

GROUPS = {
    "pipeline": Entry(DATA, "pipeline", "pipelines: plan, apply, run, follow, do again"),
    "dataset": Entry(DATA, "dataset", "data sets: versions, differences, lineage"),
    "storage": Entry(DATA, "storage", "places where data sets are kept"),
    "queue": Entry(PLATFORM, "queue", "queues: shares, quotas, what waits"),
    "node": Entry(PLATFORM, "fleet", "nodes: capacity, limits, cordon"),
    "site": Entry(PLATFORM, "fleet", "sites: places under one operator and jurisdiction"),
    "cluster": Entry(PLATFORM, "cluster", "clusters: list, add, remove"),
    "scope": Entry(TENANCY, "scope", "organisations, teams and projects"),
    "principal": Entry(TENANCY, "principal", "users and service accounts"),
    "role": Entry(TENANCY, "role", "who has which role where"),
    "token": Entry(TENANCY, "token", "tokens: add, list, revoke"),
    "secret": Entry(TENANCY, "secret", "secrets that jobs are given"),
    "context": Entry(SELF, "context", "which Bushel this command talks to"),
    "schema": Entry(SELF, "schema", "JSON Schemas of what you write"),
}

SECTIONS = (JOBS, CHANGES, DATA, PLATFORM, TENANCY, INSTALLATION, SELF)

SYNONYMS = {"create": "add", "new": "add", "delete": "remove", "rm": "remove", "list": "ls", "show": "get", "update": "set"}
"""What people also call the commands of a group. Not shown; there is one name for each."""
