"""People, cameras and motions of a Blender scene.

Modules without bpy hold the maths and the file readers and are tested without Blender:
`pose_math`, `stand_in`, `projection`, `motion_files`.
"""
