"""Our task plugins and the shipped studies. They use the entry points that anybody's do."""
