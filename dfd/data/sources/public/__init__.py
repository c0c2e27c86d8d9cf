"""Public data sets, listed as their owners ship them."""
