"""How large and how often a rendered viewport asks for frames; shared with who measures it. No bpy."""

LONGEST_SIDE = 640
"""Images for the viewport are at most this many pixels long; they are stretched to the region."""

POLL_SECONDS = 0.02
"""Between two looks at the socket."""

ATTEMPT_SECONDS = 45.0
"""That one frame may take."""
