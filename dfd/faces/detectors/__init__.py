"""One module per face detector, used through :mod:`dfd.faces.detect`."""
