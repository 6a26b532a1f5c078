"""Small tools, by the names that programs written for pyzmq import."""
