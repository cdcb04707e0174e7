"""From any Blender character to a capture: the sweep over poses and cameras, by Cycles.

`command` is the entry (scripts/capture_character.py calls it). `plan` says which frames there
are, `generate` makes a plan, `character` finds what to render, `posing` and `studio` set the
stage, `masks` and `shaders` make hands and face visible to the renderer, `sweep` renders and
writes, and can go on where it was interrupted. Needs bpy and numpy alone.
"""
