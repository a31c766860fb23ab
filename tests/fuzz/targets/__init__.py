"""One file per target. It has

INPUTS          a hypothesis strategy of `bytes`: what an input looks like, hostile ones included
run(data)       takes any bytes; returns where they were handled, or refused as they should be, and raises otherwise

Whatever `run` raises is a fault, and so is taking longer than `tests.fuzz.engine.limit_s` allows.
"""
