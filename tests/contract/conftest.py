"""Random tests on shared machines: no example fails for being slow."""

from hypothesis import HealthCheck, settings

settings.register_profile("dressform", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dressform")
