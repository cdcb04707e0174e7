"""Panels, operators, preferences and the error log. Thin: the work is in `scene` and `engine`."""
