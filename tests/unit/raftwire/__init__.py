"""Each module of raftwire by itself; the clients against a scripted node."""
