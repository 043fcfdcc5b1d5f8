"""Count the primes in one slice of [0, LIMIT), and leave the count in RESULTS."""

import json
import math
import os

limit = int(os.environ["LIMIT"])
index, count = int(os.environ["BUSHEL_TASK_INDEX"]), int(os.environ["BUSHEL_TASK_COUNT"])
start, stop = limit * index // count, limit * (index + 1) // count

sieve = bytearray([1]) * (math.isqrt(limit) + 1)
sieve[:2] = b"\0\0"
for number in range(2, math.isqrt(len(sieve)) + 1):
    if sieve[number]:
        sieve[number * number :: number] = bytes(len(range(number * number, len(sieve), number)))
small = [number for number, prime in enumerate(sieve) if prime]

segment = bytearray([1]) * (stop - start)
for number in (0, 1):
    if start <= number < stop:
        segment[number - start] = 0
for done, prime in enumerate(small, 1):
    first = max(prime * prime, -(-start // prime) * prime)
    if first < stop:
        segment[first - start :: prime] = bytes(len(range(first, stop, prime)))
    if done % 100 == 0:
        with open(os.environ["BUSHEL_PROGRESS_FILE"], "a") as file:
            print(json.dumps({"done": done, "total": len(small), "unit": "primes sieved with"}), file=file)

found = sum(segment)
partial = os.path.join(os.environ["RESULTS"], f".slice-{index}")
with open(partial, "w") as file:
    print(found, os.environ["BUSHEL_SITE"], file=file)
os.replace(partial, os.path.join(os.environ["RESULTS"], f"slice-{index}"))
print(f"{found:,} primes from {start:,} to {stop:,}, counted on {os.environ['BUSHEL_CLUSTER']} of site {os.environ['BUSHEL_SITE']}")
