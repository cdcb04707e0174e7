"""Real captures: readers of what public tools make of a video, and their way into the format.

`people_snapshot` and `smplify_x` read a folder into a `fits.Take`; `frames`, `masks`, `lens`
and `openpose` read what lies beside the fits; `command` writes the capture.
"""
