"""Add up what the slices found."""

import os

folder = os.environ["RESULTS"]
names = sorted(name for name in os.listdir(folder) if name.startswith("slice-"))
total = sum(int(open(os.path.join(folder, name)).read()) for name in names)
print(f"{total:,} primes in {len(names)} slices")
