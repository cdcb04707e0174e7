"""The model server: a broker that talks to clients and workers that own a device each."""
