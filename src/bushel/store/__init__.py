"""PostgreSQL: the only store. One module an aggregate; SQL written as SQL."""
