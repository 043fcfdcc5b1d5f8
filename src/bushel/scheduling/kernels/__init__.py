"""The inner loops of a plan, over arrays: each once as plain Python, and compiled as soon as a machine has compiled it.

Guarantees: the compiled twin is made of the very same code, works on integers and on floats in the same order, and so gives the
same result bit for bit. Which of the two runs decides nothing but the time it takes.
"""
