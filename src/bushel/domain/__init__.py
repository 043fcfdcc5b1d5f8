"""Entities, life cycles, quantities and errors: the rules that hold everywhere. Imports nothing else of Bushel."""
