"""A fleet in virtual time: traces of jobs, the real plan, the real life cycle, and what became of it all."""
