"""Jobs: their life in the database, and the processes that score them."""
