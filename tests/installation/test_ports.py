"""Ports: who holds one is told from the kernel's tables."""

from __future__ import annotations

import os
import socket

from bushel.installation.ports import free_port, holder, is_free


def test_the_holder_of_a_port_is_named_by_pid_and_command() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        found = holder(port)
        assert not is_free("127.0.0.1", port)
        assert found is not None
        assert found.pid == os.getpid()
        assert "python" in str(found) or "pytest" in str(found)


def test_a_free_port_has_no_holder() -> None:
    port = free_port("127.0.0.1")
    assert is_free("127.0.0.1", port)
    assert holder(port) is None
