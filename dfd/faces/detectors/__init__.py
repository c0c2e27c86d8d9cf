"""One module per face detector. Use them through :mod:`dfd.faces.detect`."""
