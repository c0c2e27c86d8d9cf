"""Networks defined here, so that the packages that provide them need not be imported."""
