"""What every part of Dressform agrees on: messages, limits, errors, joints, cameras, captures.

A leaf: standard library, numpy and msgpack only; imports nothing of ours; imported by all.
"""
