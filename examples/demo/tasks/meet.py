"""Four ranks meet at the address that each was told: rank 0 listens, the others introduce themselves."""

import os
import socket
import time

rank, size = int(os.environ["BUSHEL_RANK"]), int(os.environ["BUSHEL_WORLD_SIZE"])
address = os.environ["BUSHEL_MASTER_ADDRESS"], int(os.environ["BUSHEL_MASTER_PORT"])


def call() -> socket.socket:
    """Rank 0 may start a moment later than we do."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(address, timeout=20)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


if rank == 0:
    with socket.create_server(address) as server:
        server.settimeout(20)
        guests = [server.accept()[0] for _ in range(size - 1)]
    numbers = [int(guest.recv(100)) for guest in guests]
    for guest in guests:
        guest.sendall(str(sum(numbers)).encode())
        guest.close()
    print(f"ranks {sorted([0, *numbers])} met on {address[0]}, port {address[1]}")
else:
    with call() as host:
        host.sendall(str(rank).encode())
        print(f"rank {rank} of {size}: the sum of all ranks is {int(host.recv(100))}")
