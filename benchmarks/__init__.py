"""The numbers of docs/reference/benchmarks.md, each beside a peer or a baseline from the same run."""
