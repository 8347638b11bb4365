"""timeloop-mapper and Timeloop's own exercises beside this project."""
