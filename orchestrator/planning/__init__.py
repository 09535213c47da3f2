"""Planning: from the cells of an experiment to artifacts and runs, and from a search to its folds and its study."""
