"""The render engine: final frames (`final`), the rendered viewport (`viewport`), pixels without bpy."""
