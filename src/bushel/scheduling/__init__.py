"""Who starts next, and where: `plan(snapshot, now, policy)` and its parts. Pure: no input, output, clock or chance."""
