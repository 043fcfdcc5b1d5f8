"""Add up what the slices found, and say at which sites they were counted."""

import collections
import os
import pathlib

slices = [file.read_text().split() for file in pathlib.Path(os.environ["RESULTS"]).glob("slice-*")]
sites = collections.Counter(site for _, site in slices)
counted = ", ".join(f"{count} at {site}" for site, count in sorted(sites.items()))
print(f"{sum(int(found) for found, _ in slices):,} primes in {len(slices)} slices: {counted}")
