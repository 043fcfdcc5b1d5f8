"""The agent of one cluster: `python -m bushel.agent --config FILE`.

FILE is JSON or TOML; `bushel.agent.config` describes its fields. One agent owns one state folder: a second one is
refused.

Signals:

- SIGUSR1, or SIGTERM when there is a file `park` in the state folder: **park**. The control plane is told that the
  tasks go on by themselves and that nothing may start elsewhere; once it has agreed the lease is lifted and the agent
  exits 0. Without an answer within ten seconds the lease stays as it is and the exit code is 3.
- SIGTERM or SIGINT otherwise: exit at once. Tasks go on running, and so does the lease: unless an agent comes back
  within it, each task stops itself.
- SIGUSR2: **stop the tasks**. Each gets the signal, its grace, then the kill; when all have ended and the control plane knows it,
  or after sixty seconds without it, the agent exits 0.

When its state folder is taken away, or another put in its place, it exits 4: it can neither take over what runs nor renew
its lease, and the next agent has to wait until nothing of this one can be running.

`--stop-tasks` does what SIGUSR2 does, by the running agent of this state folder if there is one, by itself otherwise, and
returns when it is done. SIGKILL at any moment loses nothing: the next agent takes over what runs.
"""

from __future__ import annotations

import sys

from bushel.agent.service import main

if __name__ == "__main__":
    sys.exit(main())
